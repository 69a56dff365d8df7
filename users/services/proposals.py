"""Proposals: changes that an API key asks for and a person says yes or no to.

What is kept is an operation for staff, by its id, and what it would be called with; project/agents/ knows them and
carries one out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import events
from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from users.models import ApiKey, Proposal
from users.services import audit

#: How long one waits, how long what it holds is kept, how many of a key wait at once, and how large one is.
WAITS, KEPT, LIMIT, MOST_BYTES, MOST_LEVELS = timedelta(days=7), timedelta(days=30), 50, 100_000, 50
State = Proposal.State
#: Refusals that are about who says yes, or about now: the proposal goes on waiting.
_NOT_ITS_FAULT = frozenset({401, 403, 429, 503})


@transaction.atomic
def propose(
    *,
    actor: Actor,
    operation: str,
    parameters: Mapping[str, Any],
    body: Any = None,
    if_match: str = "",
    reason: str = "",
) -> tuple[Proposal, bool]:
    """What waits for a yes, and whether it is new: a key that asks for the same again gets what waits already.

    Raises:
        KEY_NEEDED (403): people make changes themselves.
        PROPOSAL_TOO_LARGE (413): over 100 kB.
        PROPOSAL_INVALID (422): as `require_plain` has it.
        PROPOSAL_LIMIT (409): 50 of the key wait already.
    """
    key = actor.user and actor.user.api_key
    if key is None:
        raise ProductError("KEY_NEEDED", _("API keys propose; people make changes themselves."), status=403)
    require_plain([parameters, body, if_match, reason])
    asked = json.dumps([operation, parameters, body, if_match], sort_keys=True)
    if len(asked) > MOST_BYTES:
        raise ProductError("PROPOSAL_TOO_LARGE", _("A proposal has at most 100 kB."), status=413)
    now = timezone.now()
    # One proposal of a key after the other.
    row = ApiKey.objects.select_for_update(of=("self",)).get(pk=key.pk)
    mine = Proposal.objects.filter(key_prefix=row.prefix)
    mine.filter(state=State.PENDING, lapses_at__lte=now).update(state=State.LAPSED)
    fingerprint = sha256(asked.encode()).digest()
    if (known := mine.filter(state=State.PENDING, fingerprint=fingerprint).first()) is not None:
        return known, False
    if mine.filter(state=State.PENDING).count() >= LIMIT:
        message = _("%(limit)d proposals of this key wait already.") % {"limit": LIMIT}
        raise ProductError("PROPOSAL_LIMIT", message, status=409)
    made = Proposal.objects.create(
        operation=operation,
        parameters=parameters,
        body=body,
        if_match=if_match,
        fingerprint=fingerprint,
        reason=reason,
        user_id=row.user_id,
        key=row,
        key_prefix=row.prefix,
        created_at=now,
        lapses_at=now + WAITS,
    )
    audit.record("proposal.created", actor=actor, name=str(made)[:200])
    _publish("proposal.created", made)
    return made, True


def require_plain(value: Any) -> None:
    """Raises: PROPOSAL_INVALID (422): text that cannot be stored, a number beyond floats (`1e400`), over 50 levels."""
    if not _is_plain(value, MOST_LEVELS):
        message = _("It holds text that cannot be stored, a number too large, or too many levels.")
        raise ProductError("PROPOSAL_INVALID", message, status=422)


def _is_plain(value: Any, levels: int) -> bool:
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, list):
        return levels > 0 and all(_is_plain(each, levels - 1) for each in value)
    return is_storable(value) if isinstance(value, str) else not isinstance(value, float) or math.isfinite(value)


def _publish(event: str, row: Proposal) -> None:
    about = {"id": row.pk.hex, "operation": row.operation, "key": row.key_prefix, "state": row.state}
    events.publish(event, subject=f"proposal:{row.pk.hex}", **about, actor=row.decided_by or row.user_id.hex)


def approve(
    proposal: Proposal, *, actor: Actor, run: Callable[[Proposal], tuple[str, Any]], reason: str = ""
) -> tuple[str, Any] | None:
    """Say yes: `run` carries it out, as the actor and in the transaction of this, and answers in words and with what
    else it made. None where it does not wait any more.

    What `run` refuses for good makes the proposal `failed`, and a key that has ended makes it `lapsed`; the text says
    why, and nothing was changed.

    Raises:
        PEOPLE_DECIDE (403): an API key.
        What `run` raises about who says yes, or about now; the proposal goes on waiting.
    """
    with transaction.atomic():
        row = _held(proposal, actor)
        if row is None:
            return None
        made = None
        if not (row.key and row.key.is_live(timezone.now()) and row.key.user.is_active):
            row.state, row.outcome_code = State.LAPSED, "KEY_ENDED"
            row.outcome = _("The API key that proposed it has ended.")
        else:
            try:
                with transaction.atomic():
                    row.outcome, made = run(row)
                row.state = State.APPROVED
            except ProductError as error:
                if error.status in _NOT_ITS_FAULT:
                    raise
                row.state, row.outcome, row.outcome_code = State.FAILED, error.message, error.code
        _decide(row, proposal, "proposal.approved", actor=actor, reason=reason)
    return proposal.outcome, made


def decline(proposal: Proposal, *, actor: Actor, reason: str = "") -> bool:
    """Say no; whether it still waited. Raises: PEOPLE_DECIDE (403): an API key."""
    with transaction.atomic():
        row = _held(proposal, actor)
        if row is None:
            return False
        row.state = State.DECLINED
        _decide(row, proposal, "proposal.declined", actor=actor, reason=reason)
    return True


def _held(proposal: Proposal, actor: Actor) -> Proposal | None:
    """The row, locked: of two who decide at once the second finds it decided."""
    if actor.user is None or actor.request.api_key:
        raise ProductError("PEOPLE_DECIDE", _("Only people decide about proposals."), status=403)
    rows = Proposal.objects.select_for_update(of=("self",)).select_related("key__user")
    row = rows.get(pk=proposal.pk)
    return row if row.is_pending(timezone.now()) else None


def _decide(row: Proposal, shown: Proposal, event: str, *, actor: Actor, reason: str) -> None:
    row.decided_at, row.decided_by, row.decision_reason = timezone.now(), actor.label, reason.strip()[:200]
    row.outcome = row.outcome[:500]
    row.save()
    outcome = "ok" if row.state in {State.APPROVED, State.DECLINED} else "refused"
    details: dict[str, Any] = {"why": row.outcome_code} if row.outcome_code else {}
    details |= {"reason": row.decision_reason} if row.decision_reason else {}
    about = {"name": str(row)[:200], "proposed_by": row.key_prefix, **details}
    audit.record(event, actor=actor, outcome=outcome, **about)
    _publish("proposal.decided", row)
    for name in ("state", "outcome", "outcome_code", "decided_at", "decided_by", "decision_reason"):
        setattr(shown, name, getattr(row, name))


def empty(rows: QuerySet[Proposal]) -> int:
    """Forget what the proposals held; those that still wait lapse. Return how many."""
    rows.filter(state=State.PENDING).update(state=State.LAPSED)
    return rows.update(parameters={}, body=None, if_match="", reason="", fingerprint=b"")


# --- What ends with time (users/services/deletion.py) -----------------------------------------------------------------


def lapsed(now: datetime) -> QuerySet[Proposal]:
    return Proposal.objects.filter(state=State.PENDING, lapses_at__lte=now)


def lapse(keys: Sequence[Any], now: datetime) -> int:
    return lapsed(now).filter(pk__in=keys).update(state=State.LAPSED)


def to_empty(now: datetime) -> QuerySet[Proposal]:
    return Proposal.objects.filter(created_at__lt=now - KEPT).exclude(fingerprint=b"")


def forget(keys: Sequence[Any], now: datetime) -> int:
    return empty(to_empty(now).filter(pk__in=keys))
