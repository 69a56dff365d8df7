"""What an API key may be given: scopes by name, each good for permissions that its owner has to have as well."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.utils.translation import gettext_lazy as _

from users.models import User

#: A right that only superusers have: no row of the permissions table says so.
GIVE_RIGHTS = "users.give_rights"


@dataclass(frozen=True, slots=True)
class Scope:
    """`permissions` with their app; none for what everybody may do with their own account."""

    label: Any
    permissions: tuple[str, ...] = ()


def _of(app: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{app}.{name}" for name in names)


#: By name. A permission of staff stands in one scope, but that to send a message: announcements do, too.
SCOPES: dict[str, Scope] = {
    "account:read": Scope(_("Read one's own profile")),
    "inbox": Scope(_("Read one's own notifications, mark them, choose what is sent")),
    "people:read": Scope(
        _("Read people and their sessions"), _of("users", "view_user", "view_usersession", "view_mfadevice")
    ),
    "people:write": Scope(_("Create accounts, change names"), _of("users", "add_user", "change_user")),
    "people:activate": Scope(_("Activate and unlock people"), _of("users", "activate_user")),
    "people:deactivate": Scope(_("Deactivate people"), _of("users", "deactivate_user")),
    "people:verify": Scope(_("Verify addresses, send codes"), _of("users", "verify_user")),
    "people:send-reset": Scope(_("Send password resets"), _of("users", "send_reset_user")),
    "people:sign-out": Scope(_("Sign people out"), _of("users", "sign_out_user")),
    "people:remove-factors": Scope(_("Remove second factors"), _of("users", "remove_factor_user")),
    "people:export": Scope(_("Export what is held of people"), _of("users", "export_user", "export_list")),
    "people:rights": Scope(_("Give rights, create service accounts"), (GIVE_RIGHTS,)),
    "groups:read": Scope(_("Read groups"), _of("auth", "view_group")),
    "groups:write": Scope(_("Change groups"), _of("auth", "add_group", "change_group", "delete_group")),
    "audit:read": Scope(_("Read the audit log"), _of("users", "view_auditevent")),
    "keys:read": Scope(_("Read API keys"), _of("users", "view_apikey", "view_serviceaccount")),
    "agents:read": Scope(_("Read proposals"), _of("users", "view_proposal")),
    "agents:propose": Scope(_("Propose changes, which wait for a person's yes"), _of("users", "add_proposal")),
    "agents:act": Scope(
        _("Make changes as an agent without asking, within the other scopes"), _of("users", "act_proposal")
    ),
    "keys:revoke": Scope(_("Revoke API keys"), _of("users", "revoke_apikey")),
    "flags:read": Scope(
        _("Read flags, segments and their history"),
        _of(
            "feature_flags",
            "view_featureflag",
            "view_segment",
            "view_flagrevision",
            "view_flagusage",
            "view_unknownflag",
        ),
    ),
    "flags:write": Scope(
        _("Create and edit flags"), _of("feature_flags", "add_featureflag", "change_featureflag", "delete_featureflag")
    ),
    "flags:switch": Scope(_("Switch flags"), _of("feature_flags", "switch_featureflag")),
    "flags:archive": Scope(_("Archive and delete flags"), _of("feature_flags", "archive_featureflag")),
    "segments:write": Scope(
        _("Create, edit and delete segments"), _of("feature_flags", "add_segment", "change_segment", "delete_segment")
    ),
    "flag-tokens:read": Scope(_("Read flag tokens"), _of("feature_flags", "view_flagtoken")),
    "flag-tokens:write": Scope(_("Create and revoke flag tokens"), _of("feature_flags", "manage_flagtoken")),
    "messages:read": Scope(
        _("Read messages and their state"),
        _of(
            "notifications",
            *("view_message", "view_attempt", "view_deliveryevent", "view_preference", "view_suppression"),
            *("view_inappnotification", "view_providerstate", "view_worker", "view_periodicjob"),
        ),
    ),
    "messages:read-bodies": Scope(_("Read the texts of messages"), _of("notifications", "view_message_body")),
    "messages:send": Scope(_("Send messages"), _of("notifications", "add_message")),
    "messages:write": Scope(
        _("Retry, cancel and resend messages"),
        _of("notifications", "retry_message", "cancel_message", "resend_message", "change_message"),
    ),
    "messages:suppress": Scope(
        _("Suppress addresses and lift that"),
        _of("notifications", "add_suppression", "change_suppression", "delete_suppression"),
    ),
    "templates:read": Scope(_("Read mail templates"), _of("notifications", "view_templateoverride")),
    "templates:write": Scope(
        _("Change mail templates"),
        _of("notifications", "add_templateoverride", "change_templateoverride", "delete_templateoverride"),
    ),
    "announcements:read": Scope(_("Read announcements"), _of("notifications", "view_announcement")),
    "announcements:write": Scope(
        _("Write and send announcements"), _of("notifications", "add_inappnotification", "add_message")
    ),
    "webhooks:read": Scope(
        _("Read webhook endpoints and what was sent"),
        _of("notifications", "view_webhookendpoint", "view_webhookdelivery"),
    ),
    "webhooks:write": Scope(
        _("Add, change, test, pause and delete webhook endpoints"),
        _of(
            "notifications",
            *("add_webhookendpoint", "change_webhookendpoint", "delete_webhookendpoint", "resend_webhookdelivery"),
        ),
    ),
    "provider:write": Scope(_("Pause and resume mail"), _of("notifications", "change_providerstate")),
}


@lru_cache(maxsize=1024)
def permissions(scopes: str) -> frozenset[str]:
    """What the scopes of a key, parted by blanks, leave of its owner's permissions; an unknown scope leaves none.

    Whoever may change people may read them: `people:activate` brings `people:read`.
    """
    names = scopes.split()
    known = (SCOPES.get(name) for name in (*names, *(f"{name.partition(':')[0]}:read" for name in names)))
    return frozenset(permission for scope in known if scope for permission in scope.permissions)


def scope_of(permission: str) -> str:
    """The scope that a permission stands in; empty for one that no key has."""
    return next((name for name, scope in SCOPES.items() if permission in scope.permissions), "")


def offered(user: User) -> list[str]:
    """The scopes that a user may give: of each they have a permission themselves."""
    return [name for name, scope in SCOPES.items() if not scope.permissions or _has_any(user, scope.permissions)]


def _has_any(user: User, permissions: Iterable[str]) -> bool:
    return user.is_staff and any(user.has_perm(permission) for permission in permissions)
