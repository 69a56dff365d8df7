"""One clock for a queue that several hosts work on."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone


def moment(after: timedelta = timedelta(0)) -> Any:
    """Now, plus `after`, as a value to write or to compare with: the clock of PostgreSQL, because hosts disagree."""
    if connection.vendor == "postgresql":
        return Now() + after if after else Now()
    return timezone.now() + after
