"""What staff do to a message. Each is confirmed on a page that says what will happen."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from django import forms
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.admin.verbs import ReasonForm, Verb, staff
from notifications import registry
from notifications.models import Message, Suppression
from notifications.services import staff_actions, suppressions
from notifications.services.staff_actions import RETRIABLE, require_reach

if TYPE_CHECKING:
    from users.models import User

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
    request: HttpRequest, address: str, *, scope: str, reason: str, days: int | None, user_id: UUID | None = None
) -> bool:
    """Whose mail is stopped sees no warning any more: it asks for the same rank as acting on the account."""
    require_reach(by(request), address=address, user_id=user_id)
    return suppressions.suppress(
        address,
        scope=scope,
        reason=Suppression.Reason.STAFF,
        source=reason,
        expires_at=timezone.now() + timedelta(days=days) if days else None,
    )


def by(request: HttpRequest) -> User:
    return cast("User", staff(request))


def _of(message: Message) -> dict[str, Any]:
    """What the audit trail is told of a message: its type, and whose it is."""
    return {"kind": message.type, "user_id": message.user_id, "email": message.to_address}


def _retry(message: Message, /, *, request: HttpRequest, reason: str) -> bool:
    staff_actions.retry(message, by=by(request))
    return True


def _cancel(message: Message, /, *, request: HttpRequest, reason: str) -> bool:
    staff_actions.cancel(message, by=by(request))
    return True


def _resend(message: Message, /, *, request: HttpRequest, reason: str) -> str:
    copy = staff_actions.resend(message, by=by(request))
    return f"queued again as {copy.uid}"


def _suppress(message: Message, /, *, request: HttpRequest, reason: str, scope: str, days: int | None) -> bool | str:
    if not put_on_list(request, message.to_address, scope=scope, reason=reason, days=days, user_id=message.user_id):
        return False
    return f"address suppressed ({scope}{f', {days} days' if days else ''})"


def _to(message: Message) -> str:
    return f"{message.type} to {message.to_address}"


def _retry_says(message: Message) -> str:
    twice = " It may have arrived before: then it arrives twice." if message.state == Message.State.UNKNOWN else ""
    return f"{_to(message)} is tried anew, with the same Message-ID.{twice}"


RETRY = Verb(
    name="retry",
    label="Retry",
    permission="notifications.retry_message",
    event="message.retried",
    about=_of,
    run=_retry,
    done="queued again",
    asks_reason=True,
    reason_required=False,
    says=_retry_says,
    in_row=True,
    applies=lambda message: message.state in RETRIABLE,
)
VERBS = (
    RETRY,
    Verb(
        name="cancel",
        label="Cancel",
        permission="notifications.cancel_message",
        event="message.cancelled",
        about=_of,
        run=_cancel,
        done="cancelled",
        asks_reason=True,
        reason_required=False,
        says=lambda message: f"{_to(message)} is not sent.",
        in_row=True,
        applies=lambda message: message.state in Message.OPEN,
    ),
    Verb(
        name="resend",
        label="Resend as new",
        permission="notifications.resend_message",
        event="message.resent",
        about=_of,
        run=_resend,
        done="queued again as new messages",
        asks_reason=True,
        reason_required=False,
        says=lambda message: f"A copy of {_to(message)} is queued, with a Message-ID of its own.",
        applies=lambda message: message.state not in Message.OPEN,
    ),
    Verb(
        name="suppress",
        label="Suppress address",
        permission="notifications.add_suppression",
        sensitive=True,
        event="suppression.added",
        about=lambda message: {"email": message.to_address},
        run=_suppress,
        done="address suppressed",
        already="on the list already, for at least as long",
        asks_reason=True,
        form=SuppressForm,
        says=lambda message: f"{message.to_address} is written to no more.",
        applies=lambda message: bool(message.to_address),
    ),
)
