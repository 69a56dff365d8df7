"""Periodic jobs: of all processes one takes the job's row, with a lease, by one conditional UPDATE, which works behind
connection poolers, where an advisory lock would not. And this app's own jobs: the purge, and counts.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from lib import hourly
from lib.db import slices
from notifications.models import (
    DeliveryEvent,
    InAppNotification,
    Message,
    MessageCount,
    PeriodicJob,
    Suppression,
    WebhookDelivery,
    WebhookEndpoint,
    Worker,
    moment,
)

logger = logging.getLogger("switchboard.jobs")

HOUR = timedelta(hours=1)
LEASE = timedelta(minutes=10)

# Given the time of the last good run; yields (what, how many) after each slice of work.
Work = Callable[[datetime | None], Iterator[tuple[str, int]]]


_jobs: dict[str, tuple[Work, timedelta, timedelta]] = {}


def register(name: str, work: Work, *, every: timedelta = HOUR, lease: timedelta = LEASE) -> None:
    """Run `work` every `every`. Keep its slices short: between them others can write to the database, and one that
    takes longer than the `lease` may meet a second worker."""
    _jobs[name] = work, every, lease


def hasten(name: str) -> None:
    """Make a job due at the commit, whenever its next turn would be."""
    PeriodicJob.objects.update_or_create(name=name, defaults={"next_run_at": moment()})


def run_due(go_on: Callable[[], bool] = lambda: True, *, only: str = "") -> list[str]:
    """Run the jobs that are due and not taken, or this one of them; `go_on` is called after each slice. Return the
    names of those done."""
    known = set(PeriodicJob.objects.values_list("name", flat=True))
    PeriodicJob.objects.bulk_create(
        [PeriodicJob(name=name) for name in _jobs if name not in known], ignore_conflicts=True
    )
    return [
        name
        for name in _due(name__in=[only] if only else _jobs).values_list("name", flat=True)
        if go_on() and _take(name, _jobs[name][2]) and _run(name, go_on)
    ]


def _due(**which: Any) -> QuerySet[PeriodicJob]:
    is_free = Q(lease_until=None) | Q(lease_until__lte=moment())
    return PeriodicJob.objects.filter(is_free, next_run_at__lte=moment(), **which)


def _take(name: str, lease: timedelta = LEASE) -> bool:
    return bool(_due(name=name).update(lease_until=moment(lease)))


def _run(name: str, go_on: Callable[[], bool]) -> bool:
    (work, every, lease), mine = _jobs[name], PeriodicJob.objects.filter(name=name)
    done: Counter[str] = Counter()
    try:
        for what, count in work(mine.get().last_run_at):
            done[what] += count
            if not go_on():
                # Still due: another process goes on with it.
                mine.update(lease_until=None)
                return False
            # A process that slept past its lease may meet a second one here: what both delete is deleted once.
            mine.update(lease_until=moment(lease))
    except Exception as error:
        # Only the kind: a driver repeats rows in its messages.
        failure = f"failed: {type(error).__name__}"[:200]
        mine.update(lease_until=None, next_run_at=moment(every), last_result=failure)
        logger.error("job failed", extra={"job": name, "error": type(error).__name__})
        return False
    result = ", ".join(f"{count} {what}" for what, count in done.items() if count) or "nothing to do"
    mine.update(lease_until=None, next_run_at=moment(every), last_run_at=moment(), last_result=result[:200])
    logger.log(logging.INFO if done.total() else logging.DEBUG, "job", extra={"job": name, "result": result})
    return True


# --- The purge --------------------------------------------------------------------------------------------------------

SLICE = 500
KEEP_CONTEXT = timedelta(days=30)
KEEP_TROUBLE = timedelta(days=365)
KEEP_EVENTS = timedelta(days=180)
KEEP_READ = timedelta(days=90)
KEEP_SILENT_WORKER = timedelta(days=1)

State = Message.State
#: What is not deleted, and what it becomes.
_EMPTIED: dict[str, dict[str, Any]] = {
    "contexts": {"context": {}},
    "old secrets": {"old_secret": "", "old_secret_until": None},
}
_TROUBLE = (State.FAILED, State.UNKNOWN, State.SUPPRESSED, State.CANCELLED, State.EXPIRED)


def purge(since: datetime | None = None, *, is_trial: bool = False) -> Iterator[tuple[str, int]]:
    """Delete what is past its time, a slice and a transaction at a time; yields what and how many. A trial only counts.

    `since` is the time of the last full run: contexts emptied then are not looked at again.
    """
    for what, rows, by in _rules(since):
        if is_trial:
            yield what, rows.count()
            continue
        for keys in slices(rows, by=by, size=SLICE):
            with transaction.atomic():
                batch = rows.model._default_manager.filter(pk__in=keys)
                if what in _EMPTIED:
                    batch.update(**_EMPTIED[what])
                else:
                    batch.delete()
            yield what, len(keys)


def _rules(since: datetime | None) -> Iterator[tuple[str, QuerySet[Any], str]]:
    """What, which rows, and the column whose index finds them."""
    now = timezone.now()
    keep_sent = timedelta(days=settings.NOTIFICATIONS_RETENTION_DAYS)
    for state in (State.SENT, *_TROUBLE):
        keep = keep_sent if state == State.SENT else max(KEEP_TROUBLE, keep_sent)
        yield "messages", Message.objects.filter(state=state, finished_at__lt=now - keep), "finished_at"
        full = Message.objects.filter(state=state, finished_at__lt=now - KEEP_CONTEXT).exclude(context={})
        if since is not None:
            # An hour more, for clocks that disagree. Without this each run would read two months of emptied rows.
            full = full.filter(finished_at__gte=since - KEEP_CONTEXT - timedelta(hours=1))
        yield "contexts", full, "finished_at"
    yield "delivery events", DeliveryEvent.objects.filter(received_at__lt=now - KEEP_EVENTS), "received_at"
    yield "in-app notifications", InAppNotification.objects.filter(read_at__lt=now - KEEP_READ), "read_at"
    yield "suppressions", Suppression.objects.filter(expires_at__lt=now), "expires_at"
    old = now - timedelta(days=settings.WEBHOOKS_RETENTION_DAYS)
    # What waits for an endpoint that no one has resumed goes, too.
    over = Q(due_at=None) | Q(endpoint__paused_at__isnull=False)
    yield "webhook deliveries", WebhookDelivery.objects.filter(over, created_at__lt=old), "created_at"
    # The last to hold the address of who is gone.
    delivered = WebhookDelivery.objects.filter(event="user.deleted", state=WebhookDelivery.State.DELIVERED)
    yield "webhook deliveries", delivered, "created_at"
    yield "old secrets", WebhookEndpoint.objects.filter(old_secret_until__lt=now), "old_secret_until"
    yield "workers", Worker.objects.filter(beat_at__lt=now - KEEP_SILENT_WORKER), "beat_at"


def count_messages(now: datetime) -> Iterator[int]:
    """How messages ended, by the hour, for the chart on the first page; see `lib.hourly.count`."""
    ended = Message.objects.filter(state__in=(State.SENT, *_TROUBLE))
    return hourly.count(MessageCount, ended, now, kind="state", at="finished_at")
