"""Every event of the audit trail, with its words: a label for lists, and a sentence of who did what to whom."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.utils.translation import gettext_lazy as _


class Event(NamedTuple):
    """Sentences hold {who}, {whom}, {thing}, {what}, {count} and {seconds}, each where it makes sense.

    One without {who} names no one: anyone may have tried.
    """

    label: Any
    own: Any  #: Of owners who do it to their own account.
    of_others: Any = None  #: Of what is done to them by others, where it is another sentence.


#: What only staff do. The index `audit_by_staff` lists these, so that a new one needs a migration that makes it anew.
STAFF_EVENTS = {
    "template.saved": Event(_("Mail template changed"), _("{who} changed the mail template {thing}: {what}")),
    "template.restored": Event(_("Mail template put back"), _("{who} put an older mail template {thing} back: {what}")),
    "announcement.sent": Event(_("Announcement sent"), _("{who} announced {thing} to {count} people")),
    "announcement.paused": Event(_("Announcement paused"), _("{who} paused the announcement {thing}")),
    "announcement.resumed": Event(_("Announcement resumed"), _("{who} resumed the announcement {thing}")),
    "announcement.cancelled": Event(_("Announcement cancelled"), _("{who} cancelled the announcement {thing}")),
    "message.sent": Event(
        _("Message sent by staff"),
        _("{who} sent themselves the message {thing}"),
        _("{who} sent {whom} the message {thing}"),
    ),
    "message.retried": Event(
        _("Message retried"), _("{who} retried their message {thing}"), _("{who} retried the message {thing} to {whom}")
    ),
    "message.cancelled": Event(
        _("Message cancelled"),
        _("{who} cancelled their message {thing}"),
        _("{who} cancelled the message {thing} to {whom}"),
    ),
    "message.resent": Event(
        _("Message sent anew"),
        _("{who} sent themselves the message {thing} anew"),
        _("{who} sent {whom} the message {thing} anew"),
    ),
    "suppression.added": Event(
        _("Address suppressed"), _("{who} stopped mail to their address"), _("{who} stopped mail to {whom}")
    ),
    "suppression.lifted": Event(
        _("Suppression lifted"), _("{who} allowed mail to their address again"), _("{who} allowed mail to {whom} again")
    ),
    "provider.paused": Event(_("Mail paused"), _("{who} paused {thing}")),
    "provider.resumed": Event(_("Mail resumed"), _("{who} resumed {thing}")),
    "flags.exported": Event(_("Flags exported"), _("{who} exported {count} flags")),
    "flag_token.created": Event(_("Flag token created"), _("{who} created the flag token {thing}")),
    "flag_token.revoked": Event(_("Flag token revoked"), _("{who} revoked the flag token {thing}")),
    "webhook.added": Event(_("Webhook endpoint added"), _("{who} added the webhook endpoint {thing}")),
    "webhook.changed": Event(_("Webhook endpoint changed"), _("{who} changed the webhook endpoint {thing}: {what}")),
    "webhook.secret_rotated": Event(
        _("Webhook secret rotated"), _("{who} rotated the secret of the webhook endpoint {thing}")
    ),
    "webhook.paused": Event(_("Webhook endpoint paused"), _("{who} paused the webhook endpoint {thing}")),
    "webhook.resumed": Event(_("Webhook endpoint resumed"), _("{who} resumed the webhook endpoint {thing}")),
    "webhook.tested": Event(_("Webhook tested"), _("{who} sent a test to the webhook endpoint {thing}")),
    "webhook.resent": Event(_("Webhook sent again"), _("{who} sent an event to the webhook endpoint {thing} again")),
    "webhook.deleted": Event(_("Webhook endpoint deleted"), _("{who} deleted the webhook endpoint {thing}")),
}
EVENTS = {
    "user.registered": Event(_("Registered"), _("{who} registered"), _("{who} registered {whom}")),
    "user.created": Event(
        _("Account created"), _("{who} created their account"), _("{who} created the account of {whom}")
    ),
    "user.imported": Event(_("Account imported"), _("{who} was imported"), _("{who} imported the account of {whom}")),
    "user.code_sent": Event(
        _("Registration code sent"),
        _("{who} asked for a registration code"),
        _("{who} sent {whom} a registration code"),
    ),
    "user.verified": Event(
        _("Address verified"), _("{who} verified their address"), _("{who} marked the address of {whom} as verified")
    ),
    "user.activated": Event(
        _("Account activated"), _("{who} activated their account"), _("{who} activated the account of {whom}")
    ),
    "user.unlocked": Event(_("Pause lifted"), _("{who} lifted their own pause"), _("{who} lifted the pause of {whom}")),
    "user.deactivated": Event(
        _("Account deactivated"), _("{who} deactivated their account"), _("{who} deactivated the account of {whom}")
    ),
    "user.updated": Event(
        _("Account changed"), _("{who} changed their account: {what}"), _("{who} changed the account of {whom}: {what}")
    ),
    "user.deletion_requested": Event(
        _("Deletion requested"),
        _("{who} asked for their account to be deleted"),
        _("{who} asked for the account of {whom} to be deleted"),
    ),
    "user.deletion_undone": Event(
        _("Deletion undone"), _("{who} keeps their account after all"), _("{who} undid the deletion of {whom}")
    ),
    "user.deleted": Event(
        _("Account deleted"), _("{who} deleted their account"), _("{who} deleted the account of {whom}")
    ),
    "login.ok": Event(_("Signed in"), _("{who} signed in"), _("{who} signed {whom} in")),
    "login.failed": Event(_("Sign-in failed"), _("Sign-in as {whom} failed")),
    "login.paused": Event(
        _("Sign-in paused"), _("Sign-in as {whom} is paused for {seconds} seconds after wrong passwords")
    ),
    "login.factor_required": Event(
        _("Second factor asked for"),
        _("{who} was asked for a second factor"),
        _("{whom} was asked for a second factor"),
    ),
    "session.ended": Event(_("Signed out"), _("{who} signed out"), _("{who} signed {whom} out")),
    "session.replay": Event(
        _("Copied session ended"), _("A session of {whom} was ended, because a copy of it was used")
    ),
    "session.resumed": Event(
        _("Session resumed"),
        _("{who} went on with a session whose last answer was lost"),
        _("{whom} went on with a session whose last answer was lost"),
    ),
    "password.changed": Event(
        _("Password changed"), _("{who} changed their password"), _("{who} changed the password of {whom}")
    ),
    "password.reset_requested": Event(
        _("Password reset requested"), _("{who} asked for a password reset"), _("{who} sent {whom} a password reset")
    ),
    "password.reset": Event(
        _("Password reset"), _("{who} set a new password"), _("{who} set a new password for {whom}")
    ),
    "email.change_requested": Event(
        _("New address requested"),
        _("{who} asked to change their address"),
        _("{who} asked to change the address of {whom}"),
    ),
    "email.changed": Event(
        _("Address changed"), _("{who} changed their address"), _("{who} changed the address of {whom}")
    ),
    "email.undone": Event(
        _("Old address restored"), _("{who} took their old address back"), _("{who} gave {whom} their old address back")
    ),
    "mfa.added": Event(
        _("Second factor added"), _("{who} added a second factor"), _("{who} added a second factor for {whom}")
    ),
    "mfa.removed": Event(
        _("Second factor removed"), _("{who} removed a second factor"), _("{who} removed a second factor of {whom}")
    ),
    "mfa.failed": Event(_("Second factor failed"), _("A second factor of {whom} was refused")),
    "recovery.made": Event(
        _("Recovery codes made"), _("{who} made new recovery codes"), _("{who} made new recovery codes for {whom}")
    ),
    "recovery.used": Event(
        _("Recovery code used"), _("{who} used a recovery code"), _("{who} used a recovery code of {whom}")
    ),
    "user.reauthenticated": Event(
        _("Identity proved again"),
        _("{who} proved their identity again"),
        _("{who} proved the identity of {whom} again"),
    ),
    "admin.reauthenticated": Event(
        _("Identity proved again in the admin"),
        _("{who} proved their identity again in the admin"),
        _("{who} proved the identity of {whom} again in the admin"),
    ),
    "export.made": Event(
        _("Personal data exported"),
        _("{who} exported their personal data"),
        _("{who} exported the personal data of {whom}"),
    ),
    "list.exported": Event(_("List exported"), _("{who} exported a list")),
    "view.shared": Event(_("View of a list shared"), _("{who} shared a view of a list with all staff")),
    "view.removed": Event(_("Shared view removed"), _("{who} removed a shared view of a list")),
    "group.saved": Event(_("Group changed"), _("{who} changed the group {thing}")),
    "group.deleted": Event(_("Group deleted"), _("{who} deleted the group {thing}")),
    "api_key.created": Event(
        _("API key created"), _("{who} created the API key {thing}"), _("{who} created the API key {thing} of {whom}")
    ),
    "api_key.rotated": Event(
        _("API key rotated"), _("{who} rotated the API key {thing}"), _("{who} rotated the API key {thing} of {whom}")
    ),
    "api_key.revoked": Event(
        _("API key revoked"), _("{who} revoked the API key {thing}"), _("{who} revoked the API key {thing} of {whom}")
    ),
    "proposal.created": Event(_("Change proposed"), _("{who} proposed by an API key: {thing}")),
    "proposal.approved": Event(_("Proposal approved"), _("{who} approved the proposal {thing}")),
    "proposal.declined": Event(_("Proposal declined"), _("{who} declined the proposal {thing}")),
    "service_account.created": Event(_("Service account created"), _("{who} created the service account {thing}")),
    **STAFF_EVENTS,
}
#: What `data` of an event may hold, with its label. Nothing here is typed by a stranger or opens anything.
DETAILS: dict[str, Any] = {
    "amr": _("proved by"),
    "changed": _("changed"),
    "count": _("number"),
    "door": _("door"),
    "ended": _("ended"),
    "factor": _("factor"),
    "flags": _("flags"),
    "groups": _("groups"),
    "key": _("API key"),
    "is_staff": _("staff"),
    "is_superuser": _("superuser"),
    "kind": _("kind"),
    "mark": _("mark"),
    "name": _("name"),
    "note": _("note"),
    "pause_seconds": _("pause seconds"),
    "permissions": _("permissions"),
    "proposed_by": _("proposed by"),
    "reason": _("reason"),
    "released": _("released"),
    "scope": _("scope"),
    "scopes": _("scopes"),
    "session_id": _("session"),
    "why": _("why"),
}
