"""Who may send a message now: claim, hand-over, give back. Each is one statement, so no crash leaves half of one.

`due_at` says when a queued message may leave and, while it is being sent, when its lease ends. A worker that dies
needs no repair: its messages simply become due again.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection
from django.db.models import F

from notifications.models import Message
from notifications.registry import PRIORITIES
from notifications.services.clock import moment

_TABLE = Message._meta.db_table
_CLAIM = f"""
WITH due AS (
  SELECT id FROM {_TABLE} WHERE priority = %s AND due_at <= statement_timestamp() - %s AND channel = ANY(%s)
  ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)
UPDATE {_TABLE} m SET state = 'sending', lease_token = %s, lease_owner = %s, attempts = attempts + 1,
  due_at = statement_timestamp() + %s
FROM due WHERE m.id = due.id RETURNING m.*
"""  # noqa: S608  (the table's name is our own)


def lease() -> timedelta:
    return timedelta(seconds=settings.NOTIFICATIONS_LEASE)


@dataclass(slots=True)
class Claim:
    """A message this worker holds until the lease ends."""

    message: Message
    token: uuid.UUID
    claimed_at: datetime
    started: float
    deadline: float
    is_handed: bool = False

    def now(self) -> datetime:
        """The queue's clock, without asking it."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.started)

    def time_left(self) -> float:
        return self.deadline - time.monotonic()

    def hand_over(self) -> bool:
        """Fence, cancel check and lease renewal in one, just before the bytes leave; False: nothing may be sent."""
        deadline = time.monotonic() + settings.NOTIFICATIONS_LEASE
        held = Message.objects.filter(pk=self.message.pk, lease_token=self.token, state=Message.State.SENDING)
        if not held.update(handed_at=moment(), due_at=moment(lease())):
            return False
        self.deadline, self.is_handed = deadline, True
        return True


def claim(
    worker: str,
    limit: int,
    *,
    bulk_first: bool = False,
    channel: str | None = None,
    overdue: timedelta = timedelta(0),
) -> list[Claim]:
    """Take up to `limit` due messages, one priority class at a time: each class is then one range of the index."""
    due = Message.objects.filter(priority__in=PRIORITIES, due_at__lte=moment(-overdue))
    if channel is not None:
        due = due.filter(channel=channel)
    # An idle poll reads and takes no lock.
    if not due.exists():
        return []
    channels = [channel] if channel else list(Message.Channel.values)
    claims: list[Claim] = []
    for priority in reversed(PRIORITIES) if bulk_first else PRIORITIES:
        if len(claims) < limit:
            take = _take_locking if connection.vendor == "postgresql" else _take_comparing
            claims += take(worker, priority, limit - len(claims), channels, overdue)
    return claims


def claim_these(worker: str, pks: Sequence[int]) -> list[Claim]:
    """Take exactly these messages, as far as they are due and nobody else holds them."""
    token, started = uuid.uuid4(), time.monotonic()
    taken = Message.objects.filter(pk__in=pks, due_at__lte=moment()).update(
        state=Message.State.SENDING,
        lease_token=token,
        lease_owner=worker,
        attempts=F("attempts") + 1,
        due_at=moment(lease()),
    )
    rows = Message.objects.filter(pk__in=pks, lease_token=token) if taken else ()
    return _claims(rows, token, started)


def give_back(claims: Iterable[Claim]) -> None:
    """Return messages nobody began to send: no attempt is burnt, and they keep their place in the line."""
    by_token: dict[uuid.UUID, list[int]] = {}
    for claimed in claims:
        by_token.setdefault(claimed.token, []).append(claimed.message.pk)
    for token, pks in by_token.items():
        Message.objects.filter(pk__in=pks, lease_token=token, state=Message.State.SENDING).update(
            state=Message.State.QUEUED,
            lease_token=None,
            lease_owner="",
            attempts=F("attempts") - 1,
            # They were due, so any past moment will do; this one also shows health() how long they have waited.
            due_at=F("created_at"),
        )


def _take_locking(worker: str, priority: int, limit: int, channels: list[str], overdue: timedelta) -> list[Claim]:
    token, started = uuid.uuid4(), time.monotonic()
    rows = Message.objects.raw(_CLAIM, [priority, overdue, channels, limit, token, worker, lease()])
    return _claims(rows, token, started)


def _take_comparing(worker: str, priority: int, limit: int, channels: list[str], overdue: timedelta) -> list[Claim]:
    due = Message.objects.filter(priority=priority, due_at__lte=moment(-overdue), channel__in=channels)
    due = due.order_by("due_at")
    while pks := list(due.values_list("pk", flat=True)[:limit]):
        # Another worker may have been quicker for some or all of them; only when none is left there is nothing due.
        if claims := claim_these(worker, pks):
            return claims
    return []


def _claims(rows: Iterable[Message], token: uuid.UUID, started: float) -> list[Claim]:
    deadline = started + settings.NOTIFICATIONS_LEASE
    return [
        Claim(row, token, claimed_at=row.due_at - lease(), started=started, deadline=deadline)
        for row in sorted(rows, key=lambda row: row.pk)
        if row.due_at is not None
    ]
