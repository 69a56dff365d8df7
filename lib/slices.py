"""Long lists read a slice at a time, so that neither memory nor a transaction grows with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import Model, Q, QuerySet

SLICE = 500


def newest_first(rows: QuerySet[Any], *, by: str = "pk") -> Iterator[list[Any]]:
    """The rows in descending order of `by` and key, in lists of at most SLICE; each is a query of its own."""
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
