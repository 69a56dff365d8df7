"""Counts by the hour of a table that grows: kept beside it by a periodic job, so that a chart reads no big table."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Model, QuerySet

HOUR, DAYS, KEEP = timedelta(hours=1), 7, timedelta(days=400)


def hour_of(at: datetime) -> datetime:
    """When the hour of this moment began."""
    return at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def last_hours(now: datetime, number: int) -> dict[datetime, int]:
    """The last so many hours by their beginnings, this one last, each with its place from 0."""
    first = hour_of(now) - HOUR * (number - 1)
    return {first + HOUR * at: at for at in range(number)}


def count(model: type[Model], rows: QuerySet[Any], now: datetime, *, kind: str, at: str) -> Iterator[int]:
    """Count the hours that have come since the last time, and the last two again; yields how many rows each wrote.

    `model` has the columns `hour`, `kind` and `count`, unique by the first two; `kind` and `at` name the columns of
    `rows` that say which, and when. Of the past at most seven days.
    """
    table = model._default_manager
    newest = table.order_by("-hour").values_list("hour", flat=True).first()
    this, week = hour_of(now), hour_of(now) - timedelta(days=DAYS)
    hour = max(newest - HOUR, week) if newest else week
    while hour <= this:
        of_hour = rows.filter(**{f"{at}__gte": hour, f"{at}__lt": hour + HOUR}).order_by()
        numbers = of_hour.values_list(kind).annotate(Count("pk"))
        found = [model(hour=hour, kind=value, count=number) for value, number in numbers]
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
    hours = last_hours(now, DAYS * 24)
    counts: dict[str, Any] = {kind: [0] * len(hours) for _model, kinds in wanted for kind in kinds}
    first, *others = (
        model._default_manager.filter(hour__gte=min(hours), kind__in=kinds).values_list("hour", "kind", "count")
        for model, kinds in wanted
    )
    for hour, kind, number in first.union(*others, all=True) if others else first:
        if hour in hours:
            counts[kind][hours[hour]] = number
    return list(hours), counts
