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

from lib import events
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
"""
_TRY = "%s, %s, %s, %s, %s, %s, %s, %s"
# PostgreSQL: one round trip and one commit for each mail, for what became of it and the fence of the next.
_RECORD_AT_ONCE = f"""
WITH held AS ({_HELD} RETURNING id),
  tried AS ({_TRIED} SELECT id, {_TRY} FROM held),
  handed AS ({_HAND_OVER.format("statement_timestamp()", "statement_timestamp() + %s")} RETURNING id)
SELECT (SELECT count(*) FROM held), (SELECT count(*) FROM handed)
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
        started = time.monotonic()
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
        self.renew(started)
        return True

    def renew(self, started: float) -> None:
        """It was handed over by a statement sent at `started`."""
        self.deadline, self.is_handed = started + settings.NOTIFICATIONS_LEASE, True


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


def record(
    claim: Claim, result: Result, *, began: datetime, duration_ms: int, following: Claim | None = None
) -> Message.State | None:
    """Write the outcome; None when the message is no longer this worker's, and then only the Attempt is written.

    The one `following` is handed over to the same provider in the same transaction, so that a crash at any moment
    leaves one message in doubt; whether it was still ours, its `is_handed` tells.
    """
    if following:
        # What an earlier call wrote may have been rolled back.
        following.is_handed = False
    fields = {} if result.outcome == Outcome.LOST_LEASE else claim.as_sent | _next(claim, result)
    if fields:
        fields = {"lease_token": None, "lease_owner": "", **fields}
    provider = claim.as_sent.get("provider", "")
    tried = [claim.message.attempts, claim.message.lease_owner, provider, began, duration_ms]
    # What fails is published, and what is dead listed, in the same transaction.
    in_steps = result.refusal == Refusal.DEAD or fields.get("state") == State.FAILED
    if connection.vendor == "postgresql" and not in_steps and (columns := _columns(fields)):
        if _record_at_once(claim, result, columns, tried, following):
            return Message.State(fields["state"])
        fields = {}
    return _record_in_steps(claim, result, fields, tried, following)


def _record_at_once(
    claim: Claim, result: Result, columns: tuple[str, list[Any]], tried: list[Any], following: Claim | None
) -> bool:
    """All of it, or nothing of what concerns this message when it is no longer this worker's."""
    names, values = columns
    values = [*values, claim.message.pk, claim.token, *tried, result.outcome.value, result.code[:64], result.text]
    values += [lease(), tried[2], *((following.message.pk, following.token) if following else (None, None))]
    started = time.monotonic()
    with connection.cursor() as cursor:
        cursor.execute(_RECORD_AT_ONCE.format(names), values)
        held, handed = cursor.fetchone()
    if following and handed:
        following.renew(started)
    return bool(held)


@transaction.atomic
def _record_in_steps(
    claim: Claim, result: Result, fields: dict[str, Any], tried: list[Any], following: Claim | None
) -> Message.State | None:
    outcome, text = result.outcome, result.text
    kept = bool(fields) and _write(claim, fields)
    if not kept and outcome != Outcome.LOST_LEASE:
        outcome, text = Outcome.LOST_LEASE, f"{outcome.value}: {text}"[:TEXT_LIMIT]
    with connection.cursor() as cursor:
        values = adapted(claim.message.pk, *tried, outcome.value, result.code[:64], text)
        cursor.execute(f"{_TRIED} VALUES (%s, {_TRY})", values)
    if result.refusal == Refusal.DEAD:
        source, message = f"{result.code} {result.text}", claim.message
        recipients.suppress_dead(message.to_address, source=source, channel=message.channel)
    if kept and fields["state"] == State.FAILED:
        publish_failure(claim.message, fields["reason"], result.code)
    if following and not following.is_handed:
        following.hand_over(tried[2])
    return fields["state"] if kept else None


def publish_failure(message: Message, reason: str, code: str) -> None:
    """Call it in the transaction that ends the message as failed."""
    about = {"id": str(message.uid), "type": message.type, "to": message.to_address}
    user_id = message.user_id.hex if message.user_id else None
    events.publish(
        "message.failed", subject=f"message:{message.uid}", **about, user_id=user_id, reason=reason, code=code[:64]
    )


def _write(claim: Claim, fields: dict[str, Any]) -> bool:
    """Give the row these values; False when the message is no longer this worker's."""
    if (columns := _columns(fields)) is None:
        return bool(Message.objects.filter(pk=claim.message.pk, lease_token=claim.token).update(**fields))
    names, values = columns
    with connection.cursor() as cursor:
        cursor.execute(_HELD.format(names), adapted(*values, claim.message.pk, claim.token))
        return bool(cursor.rowcount)


def _columns(fields: dict[str, Any]) -> tuple[str, list[Any]] | None:
    """SQL by hand for plain values and database times, since it runs for every mail; None when the ORM is needed."""
    names, values = [], []
    for name, value in fields.items():
        if isinstance(value, Now):
            names.append(f"{name} = statement_timestamp()")
        elif hasattr(value, "resolve_expression"):
            return None
        else:
            names.append(f"{name} = %s")
            # The text of a choice, not its name in Python.
            values.append(str(value) if isinstance(value, str) else value)
    return (", ".join(names), values) if names else None


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
