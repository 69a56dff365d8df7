"""One clock for a queue that several hosts work on."""

from datetime import datetime, timedelta
from typing import Any, cast

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone


def moment(after: timedelta = timedelta(0)) -> Any:
    """Now, plus `after`, as a value to write or to compare with: the clock of PostgreSQL, because hosts disagree."""
    if connection.vendor == "postgresql":
        return Now() + after if after else Now()
    return timezone.now() + after


def read() -> datetime:
    """The time on the same clock."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT statement_timestamp()")
            return cast(datetime, cursor.fetchone()[0])
    return timezone.now()
