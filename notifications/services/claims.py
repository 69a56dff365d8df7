"""Claiming messages, handing them over and giving them back: one statement each, so that no crash leaves half of one.

`due_at` is when a queued message may leave and, while it is being sent, when its lease ends. A worker that dies
needs no repair: its messages simply become due again.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.utils import timezone

from lib.db import adapted
from notifications.models import Message
from notifications.registry import PRIORITIES
from notifications.services.clock import moment

CHANNELS = tuple(Message.Channel.values)

_TABLE = Message._meta.db_table
# The channels are no part of the index: few rows are due, and all of them are read anyway.
# An array, not a join: PostgreSQL takes a LIMIT it does not see for a tenth of the table, and would read all of it.
_CLAIM_LOCKING = f"""
WITH due AS (
  SELECT id FROM {_TABLE} WHERE priority = %s AND due_at <= statement_timestamp() - %s AND channel = ANY(%s)
  ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)
UPDATE {_TABLE} m SET state = 'sending', lease_token = %s, lease_owner = %s, attempts = attempts + 1,
  due_at = statement_timestamp() + %s
WHERE m.id = ANY(ARRAY(SELECT id FROM due)) RETURNING m.*
"""  # noqa: S608  (the table's name is our own)
# SQLite: one statement is atomic, and writers queue up.
_CLAIM_QUEUING = f"""
UPDATE {_TABLE} SET state = 'sending', lease_token = %s, lease_owner = %s, attempts = attempts + 1, due_at = %s
WHERE id IN (
  SELECT id FROM {_TABLE} WHERE priority = %s AND due_at <= %s AND channel IN (SELECT value FROM json_each(%s))
  ORDER BY due_at LIMIT %s)
RETURNING *
"""  # noqa: S608


_HAND_OVER = f"""
UPDATE {_TABLE} SET handed_at = {{}}, due_at = {{}}, provider = %s
WHERE id = %s AND lease_token = %s AND state = 'sending'
"""  # noqa: S608
# The server's time, or ours where the database is a local file.
_HAND_OVER_THERE = _HAND_OVER.format("statement_timestamp()", "statement_timestamp() + %s")
_HAND_OVER_HERE = _HAND_OVER.format("%s", "%s")


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
    #: Columns that describe what was handed over: provider, subject, template_source.
    as_sent: dict[str, str] = field(default_factory=dict)

    def now(self) -> datetime:
        """The time of the database, without a query."""
        return self.claimed_at + timedelta(seconds=time.monotonic() - self.started)

    def time_left(self) -> float:
        return self.deadline - time.monotonic()

    def hand_over(self, provider: str) -> bool:
        """Fence, cancel check and lease renewal in one, just before the bytes leave; False: nothing may be sent."""
        deadline = time.monotonic() + settings.NOTIFICATIONS_LEASE
        with connection.cursor() as cursor:
            cursor.execute(*self._hand_over(provider))
            if not cursor.rowcount:
                return False
        self.deadline, self.is_handed = deadline, True
        return True

    def _hand_over(self, provider: str) -> tuple[str, list[Any]]:
        # Runs once for every mail: building it with the ORM takes longer than running it (benchmarks/NOTIFICATIONS.md).
        if connection.vendor == "postgresql":
            return _HAND_OVER_THERE, [lease(), provider, self.message.pk, self.token]
        now = timezone.now()
        return _HAND_OVER_HERE, adapted(now, now + lease(), provider, self.message.pk, self.token)


def is_anything_due(channels: Sequence[str] = CHANNELS, overdue: timedelta = timedelta(0)) -> bool:
    """What an idle poll runs: it reads one row of an index and takes no lock."""
    due = Message.objects.filter(priority__in=PRIORITIES, due_at__lte=moment(-overdue), channel__in=channels)
    return due.exists()


def claim(
    worker: str,
    limit: int,
    *,
    channels: Sequence[str] = CHANNELS,
    overdue: timedelta = timedelta(0),
    bulk_first: bool = False,
) -> list[Claim]:
    """Take up to `limit` due messages, one priority class at a time: each class is then one range of the index."""
    claims: list[Claim] = []
    for priority in reversed(PRIORITIES) if bulk_first else PRIORITIES:
        if len(claims) < limit:
            claims += _take(worker, priority, limit - len(claims), channels, overdue)
    return claims


def claim_these(worker: str, pks: Sequence[int]) -> list[Claim]:
    """Take exactly these messages, as far as they are due and not claimed by another worker."""
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
    """Return messages that were not begun: no attempt is counted, and they keep their place in the queue."""
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


def statement(
    worker: str,
    priority: int,
    limit: int,
    channels: Sequence[str],
    token: uuid.UUID,
    overdue: timedelta = timedelta(0),
) -> tuple[str, list[Any]]:
    """The SQL that claims messages of one priority on this database."""
    if connection.vendor == "postgresql":
        return _CLAIM_LOCKING, [priority, overdue, list(channels), limit, token, worker, lease()]
    now = timezone.now()
    wanted = (priority, now - overdue, json.dumps(list(channels)), limit)
    return _CLAIM_QUEUING, adapted(token, worker, now + lease(), *wanted)


def _take(worker: str, priority: int, limit: int, channels: Sequence[str], overdue: timedelta) -> list[Claim]:
    token, started = uuid.uuid4(), time.monotonic()
    sql, values = statement(worker, priority, limit, channels, token, overdue)
    return _claims(Message.objects.raw(sql, values), token, started)


def _claims(rows: Iterable[Message], token: uuid.UUID, started: float) -> list[Claim]:
    deadline = started + settings.NOTIFICATIONS_LEASE
    return [
        Claim(row, token, claimed_at=row.due_at - lease(), started=started, deadline=deadline)
        for row in sorted(rows, key=lambda row: row.pk)
        if row.due_at is not None
    ]
