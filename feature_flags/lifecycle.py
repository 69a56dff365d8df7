"""When a flag has outlived its purpose: asked by the admin, the list command and the checks."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta

from django.db.models import Sum

from feature_flags.models import FeatureFlag, FlagSeen, FlagUsage

SAME_ANSWER_DAYS = 14
UNSEEN_DAYS = 30


@dataclass(frozen=True, slots=True)
class Life:
    """What is known about the use of one flag. `yes` and `no` count the last 24 hours."""

    last_seen_at: datetime | None
    yes: int
    no: int
    #: Why it is stale, as sentences' ends: "older than the 40 days of a release flag". Empty: it is not.
    stale: tuple[str, ...]
    stale_since: datetime | None = None


def lives(flags: Collection[FeatureFlag], now: datetime) -> dict[int, Life]:
    """By primary key, with three queries for any number of flags."""
    names = [flag.codename for flag in flags]
    seen = {row.codename: row for row in FlagSeen.objects.filter(codename__in=names)}
    day, fortnight = _answers(names, now - timedelta(days=1)), _answers(names, now - timedelta(days=SAME_ANSWER_DAYS))
    found = {}
    for flag in flags:
        last = seen.get(flag.codename)
        reasons = _reasons(flag, last, fortnight.get(flag.codename, (0, 0)), now)
        found[flag.pk] = Life(
            last.last_seen_at if last else None,
            *day.get(flag.codename, (0, 0)),
            tuple(reason for _, reason in reasons),
            min((since for since, _ in reasons), default=None),
        )
    return found


def _answers(names: Collection[str], since: datetime) -> dict[str, tuple[int, int]]:
    rows = FlagUsage.objects.filter(codename__in=names, hour__gte=since, variant="").values("codename")
    return {row["codename"]: (row["yes"], row["no"]) for row in rows.annotate(yes=Sum("yes"), no=Sum("no")).order_by()}


def _reasons(
    flag: FeatureFlag, seen: FlagSeen | None, fortnight: tuple[int, int], now: datetime
) -> list[tuple[datetime, str]]:
    """Since when at least, and why."""
    if flag.is_archived:
        return []
    reasons = []
    days = FeatureFlag.EXPECTED_DAYS.get(flag.kind)
    if days is not None and now - flag.created_at > timedelta(days=days):
        since = flag.created_at + timedelta(days=days)
        reasons.append((since, f"older than the {days} days of its kind ({flag.get_kind_display()})"))
    is_old = seen is not None and now - seen.first_seen_at > timedelta(days=SAME_ANSWER_DAYS)
    # Kinds that may stay for good are meant to give the same answer.
    if days is not None and is_old and any(fortnight) and not all(fortnight):
        # When the other answer was last given is not known for sure: hours are forgotten.
        reasons.append((now, f"the same answer for {SAME_ANSWER_DAYS} days ({'yes' if fortnight[0] else 'no'})"))
    last = seen.last_seen_at if seen else flag.created_at
    if now - last > timedelta(days=UNSEEN_DAYS):
        reasons.append((last + timedelta(days=UNSEEN_DAYS), f"not asked for in {UNSEEN_DAYS} days"))
    if flag.review_on is not None and flag.review_on < now.date():
        since = datetime.combine(flag.review_on + timedelta(days=1), time(), UTC)
        reasons.append((since, f"its review was due on {flag.review_on:%Y-%m-%d}"))
    return reasons
