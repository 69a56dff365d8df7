"""Periodic jobs: of all processes one takes the job's row, with a lease, by one conditional UPDATE.

That works behind connection poolers, where a session's advisory lock would not.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from notifications.models import Chore, moment

logger = logging.getLogger("switchboard.jobs")

HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=10)

# Given the time of the last good run; yields (what, how many) after each slice of work.
Work = Callable[[datetime | None], Iterator[tuple[str, int]]]


@dataclass(frozen=True, slots=True)
class Job:
    work: Work
    every: timedelta


_jobs: dict[str, Job] = {}


def register(name: str, work: Work, *, every: timedelta = HOUR) -> None:
    """Run `work` every `every`. Keep its slices short: between them others can write to the database."""
    _jobs[name] = Job(work, every)


def run_due(go_on: Callable[[], bool] = lambda: True) -> list[str]:
    """Run the jobs that are due and not taken; `go_on` is called after each slice. Return the names of those done."""
    known = set(Chore.objects.values_list("name", flat=True))
    Chore.objects.bulk_create([Chore(name=name) for name in _jobs if name not in known], ignore_conflicts=True)
    due = Chore.objects.filter(_free(), name__in=_jobs, next_run_at__lte=moment())
    return [name for name in due.values_list("name", flat=True) if go_on() and _take(name) and _run(name, go_on)]


def _free() -> Q:
    return Q(lease_until=None) | Q(lease_until__lte=moment())


def _take(name: str) -> bool:
    due = Chore.objects.filter(_free(), name=name, next_run_at__lte=moment())
    return bool(due.update(lease_until=moment(LEASE)))


def _run(name: str, go_on: Callable[[], bool]) -> bool:
    job, mine = _jobs[name], Chore.objects.filter(name=name)
    done: Counter[str] = Counter()
    try:
        for what, count in job.work(mine.get().last_run_at):
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
            lease_until=None, next_run_at=moment(job.every), last_result=f"failed: {type(error).__name__}"[:200]
        )
        logger.error("job failed", extra={"job": name, "error": type(error).__name__})
        return False
    result = ", ".join(f"{count} {what}" for what, count in done.items() if count) or "nothing to do"
    mine.update(lease_until=None, next_run_at=moment(job.every), last_run_at=moment(), last_result=result[:200])
    logger.log(logging.INFO if done.total() else logging.DEBUG, "job", extra={"job": name, "result": result})
    return True
