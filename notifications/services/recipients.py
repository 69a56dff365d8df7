"""Who may be written to: the allow-list, suppressions, preferences and rates, checked when queuing and when sending."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.utils import timezone

from lib.addresses import ascii_form, normal_email
from lib.db import adapted, marks
from notifications.models import Message, Preference, Suppression
from notifications.registry import EMAIL, NotificationType, Rate

_LISTED = f"""
SELECT 1 FROM {Suppression._meta.db_table}
WHERE address = %s AND channel = %s AND scope IN ({{}}) AND (expires_at IS NULL OR expires_at > %s) LIMIT 1
"""  # noqa: S608  (the table's name is our own)
NOT_ALLOWED, ON_LIST, PREFERENCE, THROTTLED = "not_allowed", "suppressed", "preference", "throttled"


def refusal(kind: NotificationType, *, address: str, user_id: UUID | None, channel: str = EMAIL) -> str:
    """Why this type is not sent to this address, or an empty text.

    `not_allowed` (NOTIFICATIONS_ALLOW_TO), `suppressed` (the list; a required type only by scope `all`) or
    `preference` (switched off by the user; never a required type).
    """
    if channel == EMAIL:
        if not is_allowed(address):
            return NOT_ALLOWED
        scopes = [Suppression.ALL] if kind.required else [Suppression.ALL, Suppression.OPTIONAL, kind.category]
        if is_suppressed(address, *scopes, channel=channel):
            return ON_LIST
    if kind.required or user_id is None:
        return ""
    is_off = Preference.objects.filter(user_id=user_id, category=kind.category, channel=channel, enabled=False)
    return PREFERENCE if is_off.exists() else ""


def is_throttled(kind: NotificationType, address: str, *, rates: Sequence[Rate] | None = None) -> bool:
    """Whether the address has had as many of this type as its rates allow, or those given."""
    rates = kind.throttle if rates is None else rates
    if not rates:
        return False
    now = timezone.now()
    recent = Message.objects.filter(to_address=address, type=kind.code).exclude(state=Message.State.SUPPRESSED)
    return any(recent.filter(created_at__gt=now - rate.window).count() >= rate.count for rate in rates)


def is_suppressed(address: str, *scopes: str, channel: str = EMAIL) -> bool:
    """Whether the list holds this address with one of these scopes, now."""
    with connection.cursor() as cursor:
        # Runs twice for every message; the ORM takes ten times as long (benchmarks/NOTIFICATIONS.md).
        values = adapted(normal_email(address), channel, *scopes, timezone.now())
        cursor.execute(_LISTED.format(marks(scopes)), values)
        return cursor.fetchone() is not None


def is_allowed(address: str) -> bool:
    allowed: list[str] = settings.NOTIFICATIONS_ALLOW_TO
    readable = normal_email(address)
    spellings = (readable, ascii_form(readable))
    return not allowed or any(fnmatchcase(text, normal_email(one)) for one in allowed for text in spellings)
