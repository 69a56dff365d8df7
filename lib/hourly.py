"""Counts by the hour of a table that grows: kept beside it by a periodic job, so that a chart reads no big table."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Model

HOUR, DAYS, KEEP = timedelta(hours=1), 7, timedelta(days=400)

#: Given begin and end of an hour: how many of each kind.
Count = Callable[[datetime, datetime], Iterable[tuple[str, int]]]


def _begin(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)


def count(model: type[Model], rows: Count, now: datetime) -> Iterator[int]:
    """Count the hours that have come since the last time, and the last two again; yields how many rows each wrote.

    `model` has the columns `hour`, `kind` and `count`, unique by the first two. Of the past at most seven days.
    """
    table = model._default_manager
    newest = table.order_by("-hour").values_list("hour", flat=True).first()
    this, week = _begin(now), _begin(now) - timedelta(days=DAYS)
    hour = max(newest - HOUR, week) if newest else week
    while hour <= this:
        found = [model(hour=hour, kind=kind, count=number) for kind, number in rows(hour, hour + HOUR)]
        table.bulk_create(found, update_conflicts=True, update_fields=["count"], unique_fields=["hour", "kind"])
        yield len(found)
        hour += HOUR
    # Also of hours without anything it is known that they were counted.
    table.get_or_create(hour=this, kind="", defaults={"count": 0})
    table.filter(hour__lt=now - KEEP).delete()


def last_week(
    wanted: Sequence[tuple[type[Model], Sequence[str]]], now: datetime
) -> tuple[list[datetime], dict[str, list[int]]]:
    """The hours of the last seven days, and the counts of each kind in them, of all tables by one statement.

    The kinds of one table have other names than those of another.
    """
    begin = _begin(now) - timedelta(days=DAYS) + HOUR
    hours = [begin + HOUR * at for at in range(DAYS * 24)]
    counts: dict[str, Any] = {kind: [0] * len(hours) for _model, kinds in wanted for kind in kinds}
    first, *others = (
        model._default_manager.filter(hour__gte=begin, kind__in=kinds).values_list("hour", "kind", "count")
        for model, kinds in wanted
    )
    for hour, kind, number in first.union(*others, all=True) if others else first:
        if (at := int((hour - begin) / HOUR)) < len(hours):
            counts[kind][at] = number
    return hours, counts
