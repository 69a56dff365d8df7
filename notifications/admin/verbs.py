"""The verbs of messages. Each is confirmed on a page that explains what will happen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin.verbs import ReasonForm, Verb
from notifications import registry
from notifications.models import Message, Suppression
from notifications.services import recipients, staff_actions
from notifications.services.staff_actions import RETRIABLE, require_reach

FOR_EVER, DAYS = "", (30, 90, 365)


def scopes() -> list[tuple[str, Any]]:
    """What may be kept from an address. A fixed category is stopped by `all` alone."""
    optional = [(category.code, category.label) for category in registry.categories() if not category.is_fixed]
    return [
        (Suppression.ALL, _("Everything, sign-in codes too")),
        (Suppression.OPTIONAL, _("Everything optional")),
        *optional,
    ]


class SuppressForm(ReasonForm):
    """What is kept from the address, and for how long."""

    scope = forms.ChoiceField(label="What", choices=scopes, initial=Suppression.OPTIONAL)
    days = forms.TypedChoiceField(
        label="For",
        choices=[(FOR_EVER, "ever"), *((str(days), f"{days} days") for days in DAYS)],
        coerce=int,
        empty_value=None,
        required=False,
    )

    field_order: tuple[str, ...] = ("scope", "days", "reason")


def put_on_list(
    address: str, *, actor: Actor, scope: str, reason: str, days: int | None, user_id: UUID | None = None
) -> bool:
    """Suppress an address; ask for the rank to act on its account, since its owner gets no warning any more."""
    require_reach(actor, address=address, user_id=user_id)
    return recipients.suppress(
        address,
        scope=scope,
        reason=Suppression.Reason.STAFF,
        source=reason,
        expires_at=timezone.now() + timedelta(days=days) if days else None,
    )


def _audit_details(message: Message) -> dict[str, Any]:
    return {"kind": message.type, "user_id": message.user_id, "email": message.to_address}


def _suppress(message: Message, *, actor: Actor, reason: str, scope: str, days: int | None) -> str:
    address, user_id = message.to_address, message.user_id
    if not put_on_list(address, actor=actor, scope=scope, reason=reason, days=days, user_id=user_id):
        return ""
    return f"address suppressed ({scope}{f', {days} days' if days else ''})"


def _to(message: Message) -> str:
    return f"{message.type} to {message.to_address}"


def _explain_retry(message: Message) -> str:
    twice = " It may have arrived before: then it arrives twice." if message.state == Message.State.UNKNOWN else ""
    return f"{_to(message)} is tried anew, with the same Message-ID.{twice}"


RETRY = Verb(
    name="retry",
    label="Retry",
    permission="notifications.retry_message",
    audit_event="message.retried",
    audit_details=_audit_details,
    run=lambda message, *, actor, reason="": staff_actions.retry(message, actor=actor),
    done="queued again",
    asks_reason=True,
    reason_required=False,
    explain=_explain_retry,
    in_row=True,
    applies=lambda message: message.state in RETRIABLE,
)
VERBS = (
    RETRY,
    Verb(
        name="cancel",
        label="Cancel",
        permission="notifications.cancel_message",
        audit_event="message.cancelled",
        audit_details=_audit_details,
        run=lambda message, *, actor, reason="": staff_actions.cancel(message, actor=actor),
        done="cancelled",
        asks_reason=True,
        reason_required=False,
        explain=lambda message: f"{_to(message)} is not sent.",
        in_row=True,
        applies=lambda message: message.state in Message.OPEN,
    ),
    Verb(
        name="resend",
        label="Resend as new",
        permission="notifications.resend_message",
        audit_event="message.resent",
        audit_details=_audit_details,
        run=lambda message, *, actor, reason="": f"queued again as {staff_actions.resend(message, actor=actor).uid}",
        done="queued again as new messages",
        asks_reason=True,
        reason_required=False,
        explain=lambda message: f"A copy of {_to(message)} is queued, with a Message-ID of its own.",
        applies=lambda message: message.state not in Message.OPEN,
    ),
    Verb(
        name="suppress",
        label="Suppress address",
        permission="notifications.add_suppression",
        sensitive=True,
        audit_event="suppression.added",
        audit_details=lambda message: {"email": message.to_address},
        run=_suppress,
        done="address suppressed",
        already="on the list already, for at least as long",
        asks_reason=True,
        form=SuppressForm,
        explain=lambda message: f"{message.to_address} is written to no more.",
        applies=lambda message: bool(message.to_address),
    ),
)
