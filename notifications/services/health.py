"""Whether mail is delivered: for readiness, metrics and `notifications_status`; each query reads an index."""

from __future__ import annotations

import os
import socket
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Count, Max, Min, Q, QuerySet

from notifications import metrics, registry
from notifications.metrics import Labels
from notifications.models import Message, ProviderState, Worker
from notifications.services import clock
from notifications.services.clock import moment

LATE = timedelta(minutes=5)
#: Seconds between two heartbeats of a process; after three missed ones it counts as silent.
BEAT = 10.0
SILENCE = timedelta(seconds=3 * BEAT)


def check() -> dict[str, str]:
    """`{"status": "ok"}` or `{"status": "degraded", "reason": …}`; mail never takes the product down."""
    if settings.NOTIFICATIONS_ENGINE == "off":
        return _degraded("Mail is off: set EMAIL_URL and NOTIFICATIONS_ENGINE.")
    if names := sorted(paused_providers().values_list("alias", flat=True)):
        return _degraded(f"The provider is paused: {', '.join(names)}.")
    if not _is_due_for(SILENCE):
        return {"status": "ok"}
    if not Worker.objects.filter(beat_at__gt=moment(-SILENCE)).exists():
        return _degraded("A message is due, and no worker gives a sign of life.")
    if _is_due_for(LATE):
        return _degraded("A message has been due for more than 5 minutes.")
    return {"status": "ok"}


def status() -> dict[str, Any]:
    """Depth by state, the age of the oldest due message, providers and workers, as JSON can hold them."""
    now = clock.read()
    counted = Message.objects.order_by().values_list("state").annotate(n=Count("pk"))
    found = dict(counted)
    paused = set(paused_providers().values_list("alias", flat=True))
    return {
        "states": {state.value: found.get(state, 0) for state in Message.State},
        "oldest_due_seconds": oldest_due_seconds(),
        "providers": [
            {
                "alias": row.alias,
                "paused": row.alias in paused,
                "paused_until": _iso(row.paused_until) if row.alias in paused else None,
                "reason": row.reason if row.alias in paused else "",
                "failures": row.failures,
                "last_ok_at": _iso(row.last_ok_at),
            }
            for row in ProviderState.objects.order_by("alias")
        ],
        "workers": [
            {
                "host": row.host,
                "pid": row.pid,
                "engine": row.engine,
                "version": row.version,
                "started_at": _iso(row.started_at),
                "beat_seconds": _seconds(now - row.beat_at),
                "sent": row.sent,
                "failed": row.failed,
            }
            for row in Worker.objects.all()
        ],
    }


def gauges() -> list[tuple[str, str, dict[Labels, float]]]:
    """What the tables know, for Prometheus: name, help, values by labels."""
    depth: dict[Labels, float] = {
        (("state", state.value),): Message.objects.filter(state=state).count() for state in Message.OPEN
    }
    last_beat = Worker.objects.aggregate(at=Max("beat_at"))["at"]
    beats: dict[Labels, float] = {} if last_beat is None else {(): _seconds(clock.read() - last_beat)}
    return [
        ("notifications_queue_depth", "Messages that are not through.", depth),
        ("notifications_oldest_due_seconds", "How long the oldest due message waits.", {(): oldest_due_seconds()}),
        ("notifications_worker_last_beat_seconds", "Seconds since any worker gave a sign of life.", beats),
        ("notifications_provider_paused", "Whether a provider is paused.", {(): int(paused_providers().exists())}),
    ]


def oldest_due_seconds() -> float:
    """How long the oldest due message has waited; 0 when none is due."""
    oldest = [
        at
        for priority in registry.PRIORITIES
        if (at := Message.objects.filter(priority=priority, due_at__lte=moment()).aggregate(at=Min("due_at"))["at"])
    ]
    return _seconds(clock.read() - min(oldest)) if oldest else 0


def paused_providers() -> QuerySet[ProviderState]:
    return ProviderState.objects.filter(Q(paused_until=None) | Q(paused_until__gt=moment()), paused=True)


def _is_due_for(wait: timedelta) -> bool:
    return Message.objects.filter(priority__in=registry.PRIORITIES, due_at__lte=moment(-wait)).exists()


def _degraded(reason: str) -> dict[str, str]:
    return {"status": "degraded", "reason": reason}


def _seconds(span: timedelta) -> float:
    return max(0.0, round(span.total_seconds(), 1))


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


class Heartbeat:
    """The Worker row of this process; `engine` is its NOTIFICATIONS_ENGINE."""

    def __init__(self, engine: str) -> None:
        self.id = uuid.uuid4()
        self.engine = engine

    def beat(self) -> None:
        values = {
            "beat_at": moment(),
            "sent": metrics.finished(Message.State.SENT),
            "failed": metrics.finished(Message.State.FAILED),
        }
        if Worker.objects.filter(pk=self.id).update(**values):
            return
        # New, or silent for so long (a laptop that slept) that the row was purged.
        Worker.objects.create(
            id=self.id,
            host=socket.gethostname()[:255],
            pid=os.getpid(),
            version=settings.RELEASE,
            engine=self.engine,
            started_at=moment(),
            **values,
        )

    def stop(self) -> None:
        Worker.objects.filter(pk=self.id).delete()
