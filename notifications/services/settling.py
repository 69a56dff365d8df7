"""Noting what a try came to: the row's next state and the Attempt, in one short transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import F

from notifications import outcomes, registry
from notifications.models import Attempt, Message
from notifications.outcomes import Result
from notifications.services.claims import Claim
from notifications.services.clock import moment

Outcome, State = Attempt.Outcome, Message.State

_FINAL = {
    Outcome.ACCEPTED: (State.SENT, ""),
    Outcome.PERMANENT: (State.FAILED, "refused"),
    Outcome.RENDER_ERROR: (State.FAILED, "render_error"),
    Outcome.WORKER_KILLER: (State.FAILED, "worker_killer"),
    Outcome.EXPIRED: (State.EXPIRED, "expired"),
    Outcome.INTERRUPTED: (State.UNKNOWN, "interrupted"),
}


@transaction.atomic
def settle(claim: Claim, result: Result, *, began: datetime, duration_ms: int) -> Message.State | None:
    """Write the outcome; None when the message is no longer this worker's, and then only the Attempt is written."""
    message, outcome = claim.message, result.outcome
    fields = {} if outcome == Outcome.LOST_LEASE else _next(claim, result)
    held = Message.objects.filter(pk=message.pk, lease_token=claim.token)
    kept = bool(fields and held.update(lease_token=None, lease_owner="", **fields))
    text = result.text
    if not kept and outcome != Outcome.LOST_LEASE:
        outcome, text = Outcome.LOST_LEASE, f"{outcome.value}: {text}"[: outcomes.TEXT_LIMIT]
    Attempt.objects.create(
        message=message,
        n=message.attempts,
        worker=message.lease_owner,
        created_at=began,
        duration_ms=duration_ms,
        outcome=outcome,
        code=result.code[:64],
        response=text,
    )
    return fields["state"] if kept else None


def _next(claim: Claim, result: Result) -> dict[str, Any]:
    """The columns that follow from an outcome."""
    said = {"last_code": result.code[:64], "last_error": result.text}
    if result.outcome == Outcome.TRANSPORT_DOWN:
        return said | _unburnt(claim)
    if result.outcome == Outcome.WITHDRAWN:
        return said | _final(State.CANCELLED, result.code)
    if result.outcome == Outcome.SUPPRESSED:
        return said | _final(State.SUPPRESSED, result.code)
    if result.outcome == Outcome.AMBIGUOUS and registry.get(claim.message.type).on_ambiguous == "hold":
        return said | _final(State.UNKNOWN, "ambiguous")
    if result.outcome in {Outcome.TEMPORARY, Outcome.AMBIGUOUS}:
        return said | _again(claim)
    return said | _final(*_FINAL[result.outcome])


def _final(state: Message.State, reason: str) -> dict[str, Any]:
    now = moment()
    fields = {"state": state, "reason": reason[:40], "due_at": None, "finished_at": now}
    if state == State.SENT:
        fields["sent_at"] = now
    # Of an unknown one staff want to know when it was handed over.
    return fields if state == State.UNKNOWN else {**fields, "handed_at": None}


def _again(claim: Claim) -> dict[str, Any]:
    message = claim.message
    if message.attempts >= message.max_attempts:
        return _final(State.FAILED, "attempts_used")
    # Never past its end: there it is due once more, and expires.
    wait = min(outcomes.wait_after(message.attempts, _backoff(message)), message.expires_at - claim.now())
    return {"state": State.QUEUED, "due_at": moment(wait), "handed_at": None}


def _unburnt(claim: Claim) -> dict[str, Any]:
    # One the server hung up on goes to the end of the line, lest it keep all others waiting.
    due_at = moment() if claim.is_handed else F("created_at")
    return {"state": State.QUEUED, "due_at": due_at, "handed_at": None, "attempts": F("attempts") - 1}


def _backoff(message: Message) -> registry.Backoff:
    try:
        return registry.get(message.type).backoff
    except registry.UnknownType:
        return "standard"
