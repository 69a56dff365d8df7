"""Claiming messages, handing them over, giving them back and recording what came of them: no crash leaves half of one.
`due_at` is when a queued message may leave and, while it is being sent, when its lease ends: a dead worker's are due.
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
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from lib.db import adapted
from notifications import registry
from notifications.models import Attempt, Message, Refusal, moment
from notifications.providers.base import TEXT_LIMIT, Result, wait_after
from notifications.registry import PRIORITIES
from notifications.services import recipients

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


# Filled with the server's time, or ours where the database is a local file.
_HAND_OVER = f"""
UPDATE {_TABLE} SET handed_at = {{}}, due_at = {{}}, provider = %s
WHERE id = %s AND lease_token = %s AND state = 'sending'
"""  # noqa: S608
_HELD = f"UPDATE {_TABLE} SET {{}} WHERE id = %s AND lease_token = %s"  # noqa: S608
_TRIED = f"""
INSERT INTO {Attempt._meta.db_table}
  (message_id, n, worker, provider, created_at, duration_ms, outcome, code, response)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""  # noqa: S608

Outcome, State = Attempt.Outcome, Message.State
_FINAL = {
    Outcome.PERMANENT: (State.FAILED, "refused"),
    Outcome.RENDER_ERROR: (State.FAILED, "render_error"),
    Outcome.WORKER_KILLER: (State.FAILED, "worker_killer"),
    Outcome.EXPIRED: (State.EXPIRED, "expired"),
    Outcome.INTERRUPTED: (State.UNKNOWN, "interrupted"),
}


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
        # Runs once for every mail: building it with the ORM takes longer than running it (benchmarks/NOTIFICATIONS.md).
        if connection.vendor == "postgresql":
            sql = _HAND_OVER.format("statement_timestamp()", "statement_timestamp() + %s")
            values: list[Any] = [lease(), provider, self.message.pk, self.token]
        else:
            now, sql = timezone.now(), _HAND_OVER.format("%s", "%s")
            values = adapted(now, now + lease(), provider, self.message.pk, self.token)
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            if not cursor.rowcount:
                return False
        self.deadline, self.is_handed = deadline, True
        return True


def is_anything_due(channels: Sequence[str] = CHANNELS, overdue: timedelta = timedelta(0)) -> bool:
    """What an idle poll runs: it reads one row of an index and takes no lock."""
    waiting = Message.objects.filter(priority__in=PRIORITIES, channel__in=channels)
    return waiting.filter(due_at__lte=moment(-overdue)).exists()


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
            token, started = uuid.uuid4(), time.monotonic()
            sql, values = statement(worker, priority, limit - len(claims), channels, token, overdue)
            claims += _claims(Message.objects.raw(sql, values), token, started)
    return claims


def claim_these(worker: str, pks: Sequence[int]) -> list[Claim]:
    """Take exactly these messages, as far as they are due and not claimed by another worker."""
    token, started = uuid.uuid4(), time.monotonic()
    ours = {"state": State.SENDING, "lease_token": token, "lease_owner": worker, "due_at": moment(lease())}
    due = Message.objects.filter(pk__in=pks, due_at__lte=moment())
    taken = due.update(**ours, attempts=F("attempts") + 1)
    rows = Message.objects.filter(pk__in=pks, lease_token=token) if taken else ()
    return _claims(rows, token, started)


def give_back(claims: Iterable[Claim]) -> None:
    """Return messages that were not begun: no attempt is counted, and they keep their place in the queue."""
    by_token: dict[uuid.UUID, list[int]] = {}
    for claimed in claims:
        by_token.setdefault(claimed.token, []).append(claimed.message.pk)
    for token, pks in by_token.items():
        # They were due, so any past moment will do; this one also shows health() how long they have waited.
        back = {"state": State.QUEUED, "lease_token": None, "lease_owner": "", "due_at": F("created_at")}
        held = Message.objects.filter(pk__in=pks, lease_token=token, state=State.SENDING)
        held.update(**back, attempts=F("attempts") - 1)


def statement(
    worker: str, priority: int, limit: int, channels: Sequence[str], token: uuid.UUID, overdue: timedelta = timedelta(0)
) -> tuple[str, list[Any]]:
    """The SQL that claims messages of one priority on this database."""
    if connection.vendor == "postgresql":
        return _CLAIM_LOCKING, [priority, overdue, list(channels), limit, token, worker, lease()]
    now = timezone.now()
    wanted = (priority, now - overdue, json.dumps(list(channels)), limit)
    return _CLAIM_QUEUING, adapted(token, worker, now + lease(), *wanted)


def _claims(rows: Iterable[Message], token: uuid.UUID, started: float) -> list[Claim]:
    deadline = started + settings.NOTIFICATIONS_LEASE
    return [
        Claim(row, token, claimed_at=row.due_at - lease(), started=started, deadline=deadline)
        for row in sorted(rows, key=lambda row: row.pk)
        if row.due_at is not None
    ]


# --- Recording an outcome ---------------------------------------------------------------------------------------------


@transaction.atomic
def record(claim: Claim, result: Result, *, began: datetime, duration_ms: int) -> Message.State | None:
    """Write the outcome; None when the message is no longer this worker's, and then only the Attempt is written."""
    message, outcome = claim.message, result.outcome
    fields = {} if outcome == Outcome.LOST_LEASE else claim.as_sent | _next(claim, result)
    kept = bool(fields) and _write(claim, {"lease_token": None, "lease_owner": "", **fields})
    text = result.text
    if not kept and outcome != Outcome.LOST_LEASE:
        outcome, text = Outcome.LOST_LEASE, f"{outcome.value}: {text}"[:TEXT_LIMIT]
    with connection.cursor() as cursor:
        tried = message.pk, message.attempts, message.lease_owner, claim.as_sent.get("provider", ""), began, duration_ms
        cursor.execute(_TRIED, adapted(*tried, str(outcome), result.code[:64], text))
    if result.refusal == Refusal.DEAD:
        recipients.suppress_dead(message.to_address, source=f"{result.code} {result.text}", channel=message.channel)
    return fields["state"] if kept else None


def _write(claim: Claim, fields: dict[str, Any]) -> bool:
    """Give the row these values; False when the message is no longer this worker's.

    Runs once for every mail, so plain values and database times are SQL by hand (benchmarks/NOTIFICATIONS.md).
    """
    columns, values = [], []
    for name, value in fields.items():
        if isinstance(value, Now):
            columns.append(f"{name} = statement_timestamp()")
        elif hasattr(value, "resolve_expression"):
            return bool(Message.objects.filter(pk=claim.message.pk, lease_token=claim.token).update(**fields))
        else:
            columns.append(f"{name} = %s")
            # The text of a choice, not its name in Python.
            values.append(str(value) if isinstance(value, str) else value)
    with connection.cursor() as cursor:
        cursor.execute(_HELD.format(", ".join(columns)), adapted(*values, claim.message.pk, claim.token))
        return bool(cursor.rowcount)


def _next(claim: Claim, result: Result) -> dict[str, Any]:
    """The columns that follow from an outcome."""
    last = {"last_code": result.code[:64], "last_error": result.text}
    if result.outcome == Outcome.TRANSPORT_DOWN:
        # One the server hung up on goes to the end of the line, so that it does not keep all others waiting.
        due_at = moment() if claim.is_handed else F("created_at")
        return last | {"state": State.QUEUED, "due_at": due_at, "handed_at": None, "attempts": F("attempts") - 1}
    if result.outcome in {Outcome.WITHDRAWN, Outcome.SUPPRESSED}:
        state = State.CANCELLED if result.outcome == Outcome.WITHDRAWN else State.SUPPRESSED
        return last | _final(state, result.code)
    if result.outcome == Outcome.ACCEPTED:
        # The text of a plain acceptance is no error; the attempt keeps it.
        last["last_error"] = result.text if result.reason else ""
        return last | {"provider_message_id": result.provider_message_id} | _final(State.SENT, result.reason)
    if result.outcome == Outcome.AMBIGUOUS and not result.may_repeat:
        return last | _final(State.UNKNOWN, "ambiguous")
    if result.outcome in {Outcome.TEMPORARY, Outcome.AMBIGUOUS}:
        return last | _retry(claim, result)
    return last | _final(*_FINAL[result.outcome])


def _final(state: Message.State, reason: str) -> dict[str, Any]:
    now = moment()
    fields = {"state": state, "reason": reason[:40], "due_at": None, "finished_at": now}
    if state == State.SENT:
        fields["sent_at"] = now
    # Of an unknown one staff want to know when it was handed over.
    return fields if state == State.UNKNOWN else {**fields, "handed_at": None}


def _retry(claim: Claim, result: Result) -> dict[str, Any]:
    message = claim.message
    if result.counts and message.attempts >= message.max_attempts:
        return _final(State.FAILED, "attempts_used")
    # Attempts that do not count lengthen the wait all the same.
    tries = message.attempts if result.counts else message.tries.count() + 1
    kind = registry.find(message.type)
    wait = wait_after(tries, kind.backoff if kind else "standard") if result.wait is None else result.wait
    # Never past its end: there it is due once more, and expires.
    wait = max(min(wait, message.expires_at - claim.now()), timedelta(0))
    again = {"state": State.QUEUED, "due_at": moment(wait), "handed_at": None}
    return again if result.counts else {**again, "attempts": F("attempts") - 1}
