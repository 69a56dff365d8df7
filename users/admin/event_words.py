"""The events of the audit trail in words: a label for lists, and a sentence of who did what to whom."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _

from users.models import AuditEvent

#: What a filter and a row call each event.
LABELS: dict[str, Any] = {
    "user.registered": _("Registered"),
    "user.created": _("Account created"),
    "user.imported": _("Account imported"),
    "user.code_sent": _("Registration code sent"),
    "user.verified": _("Address verified"),
    "user.activated": _("Account activated"),
    "user.unlocked": _("Pause lifted"),
    "user.deactivated": _("Account deactivated"),
    "user.updated": _("Account changed"),
    "user.deletion_requested": _("Deletion requested"),
    "user.deletion_undone": _("Deletion undone"),
    "user.deleted": _("Account deleted"),
    "login.ok": _("Signed in"),
    "login.failed": _("Sign-in failed"),
    "login.paused": _("Sign-in paused"),
    "login.factor_required": _("Second factor asked for"),
    "session.ended": _("Signed out"),
    "session.replay": _("Copied session ended"),
    "session.resumed": _("Session resumed"),
    "password.changed": _("Password changed"),
    "password.reset_requested": _("Password reset requested"),
    "password.reset": _("Password reset"),
    "email.change_requested": _("New address requested"),
    "email.changed": _("Address changed"),
    "email.undone": _("Old address restored"),
    "mfa.added": _("Second factor added"),
    "mfa.removed": _("Second factor removed"),
    "mfa.failed": _("Second factor failed"),
    "recovery.made": _("Recovery codes made"),
    "recovery.used": _("Recovery code used"),
    "user.reauthenticated": _("Identity proved again"),
    "admin.reauthenticated": _("Identity proved again in the admin"),
    "export.made": _("Personal data exported"),
    "group.saved": _("Group changed"),
    "group.deleted": _("Group deleted"),
    "list.exported": _("List exported"),
    "template.saved": _("Mail template changed"),
    "template.restored": _("Mail template put back"),
    "announcement.sent": _("Announcement sent"),
    "announcement.paused": _("Announcement paused"),
    "announcement.resumed": _("Announcement resumed"),
    "announcement.cancelled": _("Announcement cancelled"),
    "message.sent": _("Message sent by staff"),
    "message.retried": _("Message retried"),
    "message.cancelled": _("Message cancelled"),
    "message.resent": _("Message sent anew"),
    "suppression.added": _("Address suppressed"),
    "suppression.lifted": _("Suppression lifted"),
    "provider.paused": _("Mail paused"),
    "provider.resumed": _("Mail resumed"),
    "flags.exported": _("Flags exported"),
    "flag_token.created": _("Flag token created"),
    "flag_token.revoked": _("Flag token revoked"),
}
#: What owners do themselves, and what is done to them by others. A sentence without {who} names no one: anyone may have
#: tried.
SENTENCES: dict[str, tuple[Any, Any]] = {
    "user.registered": (_("{who} registered"), _("{who} registered {whom}")),
    "user.created": (_("{who} created their account"), _("{who} created the account of {whom}")),
    "user.imported": (_("{who} was imported"), _("{who} imported the account of {whom}")),
    "user.code_sent": (_("{who} asked for a registration code"), _("{who} sent {whom} a registration code")),
    "user.verified": (_("{who} verified their address"), _("{who} marked the address of {whom} as verified")),
    "user.activated": (_("{who} activated their account"), _("{who} activated the account of {whom}")),
    "user.unlocked": (_("{who} lifted their own pause"), _("{who} lifted the pause of {whom}")),
    "user.deactivated": (_("{who} deactivated their account"), _("{who} deactivated the account of {whom}")),
    "user.updated": (_("{who} changed their account: {what}"), _("{who} changed the account of {whom}: {what}")),
    "user.deletion_requested": (
        _("{who} asked for their account to be deleted"),
        _("{who} asked for the account of {whom} to be deleted"),
    ),
    "user.deletion_undone": (_("{who} keeps their account after all"), _("{who} undid the deletion of {whom}")),
    "user.deleted": (_("{who} deleted their account"), _("{who} deleted the account of {whom}")),
    "login.ok": (_("{who} signed in"), _("{who} signed {whom} in")),
    "login.failed": (_("Sign-in as {whom} failed"), _("Sign-in as {whom} failed")),
    "login.paused": (
        _("Sign-in as {whom} is paused for {seconds} seconds after wrong passwords"),
        _("Sign-in as {whom} is paused for {seconds} seconds after wrong passwords"),
    ),
    "login.factor_required": (_("{who} was asked for a second factor"), _("{whom} was asked for a second factor")),
    "session.ended": (_("{who} signed out"), _("{who} signed {whom} out")),
    "session.replay": (
        _("A session of {whom} was ended, because a copy of it was used"),
        _("A session of {whom} was ended, because a copy of it was used"),
    ),
    "session.resumed": (
        _("{who} went on with a session whose last answer was lost"),
        _("{whom} went on with a session whose last answer was lost"),
    ),
    "password.changed": (_("{who} changed their password"), _("{who} changed the password of {whom}")),
    "password.reset_requested": (_("{who} asked for a password reset"), _("{who} sent {whom} a password reset")),
    "password.reset": (_("{who} set a new password"), _("{who} set a new password for {whom}")),
    "email.change_requested": (
        _("{who} asked to change their address"),
        _("{who} asked to change the address of {whom}"),
    ),
    "email.changed": (_("{who} changed their address"), _("{who} changed the address of {whom}")),
    "email.undone": (_("{who} took their old address back"), _("{who} gave {whom} their old address back")),
    "mfa.added": (_("{who} added a second factor"), _("{who} added a second factor for {whom}")),
    "mfa.removed": (_("{who} removed a second factor"), _("{who} removed a second factor of {whom}")),
    "mfa.failed": (_("A second factor of {whom} was refused"), _("A second factor of {whom} was refused")),
    "recovery.made": (_("{who} made new recovery codes"), _("{who} made new recovery codes for {whom}")),
    "recovery.used": (_("{who} used a recovery code"), _("{who} used a recovery code of {whom}")),
    "user.reauthenticated": (_("{who} proved their identity again"), _("{who} proved the identity of {whom} again")),
    "admin.reauthenticated": (
        _("{who} proved their identity again in the admin"),
        _("{who} proved the identity of {whom} again in the admin"),
    ),
    "export.made": (_("{who} exported their personal data"), _("{who} exported the personal data of {whom}")),
    "group.saved": (_("{who} changed the group {thing}"),) * 2,
    "group.deleted": (_("{who} deleted the group {thing}"),) * 2,
    "list.exported": (_("{who} exported a list"), _("{who} exported a list")),
    "template.saved": (_("{who} changed the mail template {thing}: {what}"),) * 2,
    "template.restored": (_("{who} put an older mail template {thing} back: {what}"),) * 2,
    "announcement.sent": (_("{who} announced {thing} to {count} people"),) * 2,
    "announcement.paused": (_("{who} paused the announcement {thing}"),) * 2,
    "announcement.resumed": (_("{who} resumed the announcement {thing}"),) * 2,
    "announcement.cancelled": (_("{who} cancelled the announcement {thing}"),) * 2,
    "message.sent": (_("{who} sent themselves the message {thing}"), _("{who} sent {whom} the message {thing}")),
    "message.retried": (
        _("{who} retried their message {thing}"),
        _("{who} retried the message {thing} to {whom}"),
    ),
    "message.cancelled": (
        _("{who} cancelled their message {thing}"),
        _("{who} cancelled the message {thing} to {whom}"),
    ),
    "message.resent": (
        _("{who} sent themselves the message {thing} anew"),
        _("{who} sent {whom} the message {thing} anew"),
    ),
    "suppression.added": (_("{who} stopped mail to their address"), _("{who} stopped mail to {whom}")),
    "suppression.lifted": (_("{who} allowed mail to their address again"), _("{who} allowed mail to {whom} again")),
    "provider.paused": (_("{who} paused {thing}"),) * 2,
    "provider.resumed": (_("{who} resumed {thing}"),) * 2,
    "flags.exported": (_("{who} exported {count} flags"),) * 2,
    "flag_token.created": (_("{who} created the flag token {thing}"),) * 2,
    "flag_token.revoked": (_("{who} revoked the flag token {thing}"),) * 2,
}
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


#: The members of `data`; see users/services/audit.py.
_DETAILS: dict[str, Any] = {
    "amr": _("proved by"),
    "changed": _("changed"),
    "count": _("number"),
    "door": _("door"),
    "ended": _("ended"),
    "factor": _("factor"),
    "flags": _("flags"),
    "groups": _("groups"),
    "is_staff": _("staff"),
    "is_superuser": _("superuser"),
    "kind": _("kind"),
    "mark": _("mark"),
    "name": _("name"),
    "note": _("note"),
    "pause_seconds": _("pause seconds"),
    "permissions": _("permissions"),
    "reason": _("reason"),
    "released": _("released"),
    "scope": _("scope"),
    "session_id": _("session"),
    "why": _("why"),
}


def detail(name: str) -> str:
    return str(_DETAILS.get(name, name.replace("_", " ")))


def label(name: str) -> str:
    """`Sign-in failed`; an event of another release by its own name."""
    return str(LABELS.get(name, name))


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
    """With {who}, {whom}, {thing}, {what}, {count} and {seconds} to be filled in, each where it makes sense."""
    if event.outcome != AuditEvent.Outcome.OK and event.event in _UNSUCCESSFUL:
        return str(_UNSUCCESSFUL[event.event])
    own, others = SENTENCES.get(event.event, (None, None))
    if own is None:
        return "{who}: " + label(event.event).replace("{", "{{").replace("}", "}}")
    return str(own if is_own else others)
