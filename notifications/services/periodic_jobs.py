"""What is done regularly by one process, whichever: each takes the chore's row with one conditional UPDATE.

So it works behind connection poolers, where a lock that belongs to a session would not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from notifications.models import Chore
from notifications.services.clock import moment

logger = logging.getLogger("switchboard.chores")

HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=10)

# Given the time of the last good run; yields (what, how many) after each slice of work.
Work = Callable[[datetime | None], Iterator[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Regular:
    work: Work
    every: timedelta


_regular: dict[str, Regular] = {}


def register(name: str, work: Work, *, every: timedelta = HOUR) -> None:
    """Have `work` done every so often. Keep its slices short: between them others get the database."""
    _regular[name] = Regular(work, every)


def run_due(go_on: Callable[[], bool] = lambda: True) -> list[str]:
    """Do what is due and nobody else does; `go_on` is asked after each slice. Return the names of what was done."""
    known = set(Chore.objects.values_list("name", flat=True))
    Chore.objects.bulk_create([Chore(name=name) for name in _regular if name not in known], ignore_conflicts=True)
    due = Chore.objects.filter(_free(), name__in=_regular, next_run_at__lte=moment())
    return [name for name in due.values_list("name", flat=True) if go_on() and _take(name) and _run(name, go_on)]


def _free() -> Q:
    return Q(lease_until=None) | Q(lease_until__lte=moment())


def _take(name: str) -> bool:
    due = Chore.objects.filter(_free(), name=name, next_run_at__lte=moment())
    return bool(due.update(lease_until=moment(LEASE)))


def _run(name: str, go_on: Callable[[], bool]) -> bool:
    regular, mine = _regular[name], Chore.objects.filter(name=name)
    done: Counter[str] = Counter()
    try:
        for what, count in regular.work(mine.get().last_run_at):
            done[what] += count
            if not go_on():
                # Still due: another process goes on with it.
                mine.update(lease_until=None)
                return False
            # A process that slept past its lease may meet a second one here: what both delete is deleted once.
            mine.update(lease_until=moment(LEASE))
    except Exception as error:
        # Only the kind: a driver repeats rows in its messages.
        mine.update(
            lease_until=None, next_run_at=moment(regular.every), last_result=f"failed: {type(error).__name__}"[:200]
        )
        logger.error("chore failed", extra={"chore": name, "error": type(error).__name__})
        return False
    result = ", ".join(f"{count} {what}" for what, count in done.items() if count) or "nothing to do"
    mine.update(lease_until=None, next_run_at=moment(regular.every), last_run_at=moment(), last_result=result[:200])
    logger.log(logging.INFO if done.total() else logging.DEBUG, "chore", extra={"chore": name, "result": result})
    return True
