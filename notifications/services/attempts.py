"""Recording the outcome of an attempt: the row's next state and the Attempt, in one short transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from lib.db import adapted
from notifications import outcomes, registry
from notifications.models import Attempt, Message, Refusal
from notifications.outcomes import Result
from notifications.services import suppressions
from notifications.services.claims import Claim
from notifications.services.clock import moment

Outcome, State = Attempt.Outcome, Message.State

# The names of tables and columns are our own.
_HELD = f"UPDATE {Message._meta.db_table} SET {{}} WHERE id = %s AND lease_token = %s"  # noqa: S608
_TRIED = f"""
INSERT INTO {Attempt._meta.db_table}
  (message_id, n, worker, provider, created_at, duration_ms, outcome, code, response)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)
"""  # noqa: S608
_FINAL = {
    Outcome.PERMANENT: (State.FAILED, "refused"),
    Outcome.RENDER_ERROR: (State.FAILED, "render_error"),
    Outcome.WORKER_KILLER: (State.FAILED, "worker_killer"),
    Outcome.EXPIRED: (State.EXPIRED, "expired"),
    Outcome.INTERRUPTED: (State.UNKNOWN, "interrupted"),
}


@transaction.atomic
def record(claim: Claim, result: Result, *, began: datetime, duration_ms: int) -> Message.State | None:
    """Write the outcome; None when the message is no longer this worker's, and then only the Attempt is written."""
    message, outcome = claim.message, result.outcome
    fields = {} if outcome == Outcome.LOST_LEASE else claim.as_sent | _next(claim, result)
    kept = bool(fields) and _write(claim, {"lease_token": None, "lease_owner": "", **fields})
    text = result.text
    if not kept and outcome != Outcome.LOST_LEASE:
        outcome, text = Outcome.LOST_LEASE, f"{outcome.value}: {text}"[: outcomes.TEXT_LIMIT]
    with connection.cursor() as cursor:
        cursor.execute(
            _TRIED,
            adapted(
                message.pk,
                message.attempts,
                message.lease_owner,
                claim.as_sent.get("provider", ""),
                began,
                duration_ms,
                str(outcome),
                result.code[:64],
                text,
            ),
        )
    if result.refusal == Refusal.DEAD:
        suppressions.suppress_dead(message.to_address, source=f"{result.code} {result.text}", channel=message.channel)
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
            values.append(value)
    with connection.cursor() as cursor:
        cursor.execute(_HELD.format(", ".join(columns)), adapted(*map(_plain, values), claim.message.pk, claim.token))
        return bool(cursor.rowcount)


def _plain(value: Any) -> Any:
    # The text of a choice, not its name in Python.
    return str(value) if isinstance(value, str) else value


def _next(claim: Claim, result: Result) -> dict[str, Any]:
    """The columns that follow from an outcome."""
    last = {"last_code": result.code[:64], "last_error": result.text}
    if result.outcome == Outcome.TRANSPORT_DOWN:
        return last | _retry_uncounted(claim)
    if result.outcome == Outcome.WITHDRAWN:
        return last | _final(State.CANCELLED, result.code)
    if result.outcome == Outcome.SUPPRESSED:
        return last | _final(State.SUPPRESSED, result.code)
    if result.outcome == Outcome.ACCEPTED:
        # The text of a plain acceptance is no error; the attempt keeps it.
        accepted = {
            "last_error": result.text if result.reason else "",
            "provider_message_id": result.provider_message_id,
        }
        return last | accepted | _final(State.SENT, result.reason)
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
    try:
        backoff = registry.get(message.type).backoff
    except registry.UnknownType:
        backoff = "standard"
    wait = outcomes.wait_after(tries, backoff) if result.wait is None else result.wait
    # Never past its end: there it is due once more, and expires.
    wait = max(min(wait, message.expires_at - claim.now()), timedelta(0))
    again = {"state": State.QUEUED, "due_at": moment(wait), "handed_at": None}
    return again if result.counts else {**again, "attempts": F("attempts") - 1}


def _retry_uncounted(claim: Claim) -> dict[str, Any]:
    # One the server hung up on goes to the end of the line, so that it does not keep all others waiting.
    due_at = moment() if claim.is_handed else F("created_at")
    return {"state": State.QUEUED, "due_at": due_at, "handed_at": None, "attempts": F("attempts") - 1}
