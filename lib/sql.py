"""For statements worded by hand: those of which the ORM takes longer to word than the database to do them."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection


def adapted(*values: Any) -> list[Any]:
    """The values as this database's driver takes them; moments and UUIDs change, all others pass as they are."""
    return [_adapted(value) for value in values]


def _adapted(value: Any) -> Any:
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    if isinstance(value, uuid.UUID) and not connection.features.has_native_uuid_field:
        return value.hex
    return value


def marks(values: Sequence[Any]) -> str:
    """As many placeholders as there are values, for `IN (...)`."""
    return ", ".join(["%s"] * len(values))
