"""One event of the audit trail in words."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from users.audit_events import DETAILS, EVENTS
from users.models import AuditEvent

_UNSUCCESSFUL: dict[str, Any] = {
    "user.registered": _("Someone tried to register {whom}, which has an account already"),
    "user.verified": _("A wrong code was typed for {whom}"),
}
#: `data["why"]`, where the sentence does not say it already.
WHY: dict[str, Any] = {
    "wrong": _("wrong password"),
    "unknown": _("no such account"),
    "inactive": _("the account is deactivated"),
    "must_reset": _("the password has to be reset first"),
    "unverified": _("the address is not verified"),
    "abandoned": _("the client left before the answer"),
    "wrong_at_reauthentication": _("wrong password when asked once more"),
    "wrong_at_change": _("wrong old password while changing it"),
    "exists": _("the address has an account"),
    "other_person": _("it belongs to another person"),
    "sign_count": _("it may be a copy"),
    "address_proved_by_another": _("another person proved to own the address"),
    "requested": _("as its owner asked"),
    "never verified": _("the address was never verified"),
    "everybody": _("everybody was signed out"),
    "replay": _("a copy of the session was used"),
}
_MFA_WRONG = _("wrong code or passkey")


def detail(name: str) -> str:
    return str(DETAILS.get(name, name.replace("_", " ")))


def label(name: str) -> str:
    """`Sign-in failed`; an event of another release by its own name."""
    return str(EVENTS[name].label if name in EVENTS else name)


def why(event: AuditEvent) -> str:
    """`wrong password`; empty where there is nothing to add."""
    found = event.data.get("why", "")
    if event.event == "mfa.failed" and found in {"", "wrong"}:
        return str(_MFA_WRONG)
    return str(WHY.get(found, ""))


def title(event: AuditEvent) -> str:
    """`Sign-in failed: wrong password`."""
    return f"{label(event.event)}: {reason}" if (reason := why(event)) else label(event.event)


def sentence(event: AuditEvent, *, is_own: bool) -> str:
    """The sentence with the names in braces to be filled in; see `users.audit_events.Event`."""
    if event.outcome != AuditEvent.Outcome.OK and event.event in _UNSUCCESSFUL:
        return str(_UNSUCCESSFUL[event.event])
    if (found := EVENTS.get(event.event)) is None:
        return "{who}: " + label(event.event).replace("{", "{{").replace("}", "}}")
    return str(found.own if is_own else found.of_others or found.own)
