"""The names of a user, and the export of all personal data: JSON in pieces, in the memory that one slice takes."""

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

import feature_flags
from lib import async_db, db
from lib.actors import Actor
from lib.errors import ProductError
from notifications.services import personal_data
from users.models import OneTimeToken, User
from users.services import audit, sessions

_FORMAT = 1
_SESSION = (
    *("id", "kind", "label", "ip", "user_agent", "amr", "created_at", "last_seen_at", "auth_at", "expires_at"),
    *("revoked_at", "revoked_reason"),
)
_FACTOR = ("id", "kind", "name", "created_at", "confirmed_at", "last_used_at")
_KEY = (
    *("id", "name", "prefix", "scopes", "networks", "created_at", "expires_at", "last_used_at", "last_used_ip"),
    "revoked_at",
)
#: Without what they hold, which is about others.
_PROPOSAL = ("id", "operation", "key_prefix", "state", "created_at", "decided_at")
_REGISTRATION = ("id", "first_name", "last_name", "created_at")
_PROOF = ("purpose", "email", "created_at", "expires_at")
_PROFILE = (
    *("id", "email", "first_name", "last_name", "language", "chosen_language", "is_active", "is_staff", "is_superuser"),
    *("email_verified_at", "password_changed_at", "last_login", "created_at", "updated_at"),
    *("deactivated_at", "delete_after_at", "must_reset"),
)


# By hand, because one statement on the event loop takes a third of the CPU of a lock, an update and a lane.
_RENAME = """
UPDATE users_user SET first_name = COALESCE(%s, first_name), last_name = COALESCE(%s, last_name),
  updated_by = %s, updated_at = %s
WHERE id = %s RETURNING id, email, first_name, last_name
"""


async def rename(user: User, *, first_name: str | None = None, last_name: str | None = None, actor: Actor) -> User:
    """Set the names given, keep the others; return them as they are now."""
    given = (first_name, last_name, actor.label, timezone.now(), user.pk)
    (row,) = await async_db.objects(User, _RENAME, *given)
    return row


def choose_language(user: User, language: str, *, actor: Actor) -> None:
    """What the pages of the admin, and mails from now on, are written in: one of PAGE_LANGUAGES, or "": as each browser
    asks.

    Raises:
        LANGUAGE_UNKNOWN (400): the pages are not written in it.
    """
    if language and language not in settings.PAGE_LANGUAGES:
        raise ProductError("LANGUAGE_UNKNOWN", gettext("The pages are not written in this language."))
    user.chosen_language, user.updated_by = language, actor.label
    user.language = language or actor.request.language or user.language
    user.save(update_fields=["chosen_language", "language", "updated_by", "updated_at"])


def export_own(user: User, *, actor: Actor) -> Iterator[str]:
    """The person's own export; on record. REAUTHENTICATION_REQUIRED (403)."""
    sessions.require_fresh(actor.request.session_id)
    return export(user, actor=actor.as_user(user))


@transaction.atomic
def export(user: User, *, actor: Actor, reason: str = "") -> Iterator[str]:
    """Put the export on record and return its pieces, which are read from the database as they are asked for."""
    row = User.objects.get(pk=user.pk)
    audit.record("export.made", actor=actor, user=row, **({"reason": reason} if reason else {}))
    return _pieces(row, timezone.now())


def _pieces(user: User, now: datetime) -> Iterator[str]:
    waiting = OneTimeToken.open(now).filter(user=user).order_by("created_at")
    facts: dict[str, Any] = {
        "format": _FORMAT,
        "exported_at": now,
        "profile": {name: getattr(user, name) for name in _PROFILE},
        "groups": list(user.groups.order_by("name").values_list("name", flat=True)),
        "second_factors": list(user.mfa_devices.order_by("created_at").values(*_FACTOR)),
        "api_keys": list(user.api_keys.order_by("created_at").values(*_KEY)),
        "proposals": list(user.proposals.order_by("created_at").values(*_PROPOSAL)),
        "recovery_codes_left": user.recovery_codes.filter(used_at=None).count(),
        "registrations": list(user.registrations.order_by("created_at").values(*_REGISTRATION)),
        "pending": list(waiting.values(*_PROOF)),
        "flags": feature_flags.exposed(user),
        "preferences": personal_data.preferences(user),
        "suppressions": personal_data.suppressions(user),
    }
    # A mail to an address that was never theirs would give away whether another account has it.
    elsewhere = Q(type="users.email_change_confirm") & ~Q(to_address=user.email)
    newest_sessions = db.newest_first(user.sessions.all(), by="created_at")
    lists: dict[str, Iterable[list[dict[str, Any]]]] = {
        "sessions": ([{name: getattr(row, name) for name in _SESSION} for row in rows] for rows in newest_sessions),
        "security_events": audit.all_own_events(user),
        "messages": personal_data.messages(user, hidden=elsewhere),
        "notifications": personal_data.inbox(user),
    }
    yield "{" + ", ".join(f'"{name}": {_json(value)}' for name, value in facts.items())
    for name, slices in lists.items():
        yield f', "{name}": ['
        comma = ""
        for rows in slices:
            yield comma + ", ".join(map(_json, rows))
            comma = ", "
        yield "]"
    yield "}\n"


class _Encoder(DjangoJSONEncoder):
    def default(self, value: Any) -> Any:
        return value.hex if isinstance(value, UUID) else super().default(value)


def _json(value: Any) -> str:
    return json.dumps(value, cls=_Encoder)
