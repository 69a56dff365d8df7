"""The list of addresses that are not written to: put on it, take off it."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from lib.text import normal_email
from notifications.models import Suppression


@transaction.atomic
def suppress(
    address: str,
    *,
    scope: str,
    reason: str,
    source: str,
    expires_at: datetime | None = None,
    channel: str = "email",
) -> bool:
    """Put the address on the list; a longer entry is never shortened. Returns whether anything changed."""
    made = {"reason": reason, "source": source[:200], "expires_at": expires_at}
    row, is_new = Suppression.objects.select_for_update().get_or_create(
        address=normal_email(address), channel=channel, scope=scope, defaults=made
    )
    if is_new:
        return True
    if row.expires_at is None or (expires_at is not None and expires_at <= row.expires_at):
        return False
    Suppression.objects.filter(pk=row.pk).update(**made, created_at=timezone.now())
    return True


def lift(address: str, *, scope: str, channel: str = "email") -> bool:
    """Take the address off the list; return whether it was there."""
    gone, _ = Suppression.objects.filter(address=normal_email(address), channel=channel, scope=scope).delete()
    return bool(gone)
