"""Deleting old rows, in slices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from notifications.models import DeliveryEvent, InAppNotification, Message, Suppression, Worker

SLICE = 1000
KEEP_CONTEXT = timedelta(days=30)
KEEP_TROUBLE = timedelta(days=365)
KEEP_EVENTS = timedelta(days=180)
KEEP_READ = timedelta(days=90)
KEEP_SILENT_WORKER = timedelta(days=1)

State = Message.State
_TROUBLE = (State.FAILED, State.UNKNOWN, State.SUPPRESSED, State.CANCELLED, State.EXPIRED)


@dataclass(frozen=True, slots=True)
class _Rule:
    what: str
    rows: QuerySet[Any]
    #: The column whose index finds them; a slice goes on where the last one ended.
    by: str
    act: Callable[[QuerySet[Any]], object] = QuerySet.delete


def run(since: datetime | None = None) -> Iterator[tuple[str, int]]:
    """Delete what is past its time, a slice and a transaction at a time; yields what and how many.

    `since` is the time of the last full run: contexts emptied then are not looked at again.
    """
    for rule in _rules(since):
        rows = rule.rows
        while found := list(rows.order_by(rule.by).values_list("pk", rule.by)[:SLICE]):
            with transaction.atomic():
                rule.act(rule.rows.model._default_manager.filter(pk__in=[pk for pk, _ in found]))
            yield rule.what, len(found)
            rows = rule.rows.filter(**{f"{rule.by}__gte": found[-1][1]})


def counts() -> dict[str, int]:
    """How many of each `run` would delete now."""
    found: dict[str, int] = {}
    for rule in _rules(None):
        found[rule.what] = found.get(rule.what, 0) + rule.rows.count()
    return found


def _rules(since: datetime | None) -> Iterator[_Rule]:
    now = timezone.now()
    keep_sent = timedelta(days=settings.NOTIFICATIONS_RETENTION_DAYS)
    for state in (State.SENT, *_TROUBLE):
        keep = keep_sent if state == State.SENT else max(KEEP_TROUBLE, keep_sent)
        yield _Rule("messages", Message.objects.filter(state=state, finished_at__lt=now - keep), "finished_at")
        full = Message.objects.filter(state=state, finished_at__lt=now - KEEP_CONTEXT).exclude(context={})
        if since is not None:
            # An hour more, for clocks that disagree. Without this each run would read two months of emptied rows.
            full = full.filter(finished_at__gte=since - KEEP_CONTEXT - timedelta(hours=1))
        yield _Rule("contexts", full, "finished_at", lambda rows: rows.update(context={}))
    yield _Rule("delivery events", DeliveryEvent.objects.filter(received_at__lt=now - KEEP_EVENTS), "received_at")
    yield _Rule("in-app notifications", InAppNotification.objects.filter(read_at__lt=now - KEEP_READ), "read_at")
    yield _Rule("suppressions", Suppression.objects.filter(expires_at__lt=now), "expires_at")
    yield _Rule("workers", Worker.objects.filter(beat_at__lt=now - KEEP_SILENT_WORKER), "beat_at")
