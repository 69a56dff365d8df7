"""Queries in pieces, and values for SQL written by hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.db import connection
from django.db.models import Model, Q, QuerySet

T = TypeVar("T")

#: Rows of one query, of one transaction, or values in one statement: databases take only so many.
SLICE = 500


def batches(items: Sequence[T], size: int = SLICE) -> Iterator[Sequence[T]]:
    """The items in order, at most `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def newest_first(rows: QuerySet[Any], *, by: str = "pk") -> Iterator[list[Any]]:
    """The rows in descending order of `by` and key, in lists of at most SLICE.

    Each list is a query of its own, so that neither memory nor a transaction grows with the rows.
    """
    ordered = rows.order_by(f"-{by}", "-pk") if by != "pk" else rows.order_by("-pk")
    found = list(ordered[:SLICE])
    while found:
        yield found
        if len(found) < SLICE:
            return
        found = list(ordered.filter(_after(found[-1], by))[:SLICE])


def _after(last: Model, by: str) -> Q:
    if by == "pk":
        return Q(pk__lt=last.pk)
    value = getattr(last, by)
    # The first condition is the one an index answers.
    return Q(**{f"{by}__lte": value}) & (Q(**{f"{by}__lt": value}) | Q(pk__lt=last.pk))


def adapted(*values: Any) -> list[Any]:
    """The values as this database's driver takes them: datetimes and UUIDs change, all others stay."""
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
