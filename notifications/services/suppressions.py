"""The list of addresses that are not written to."""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q
from django.utils import timezone

from lib.text import normal_email
from notifications.models import Suppression
from notifications.registry import EMAIL


def suppress(
    address: str, *, scope: str, reason: str, source: str, expires_at: datetime | None = None, channel: str = EMAIL
) -> Suppression:
    """Put the address on the list; one that stands there for longer stays as it is, with its reason."""
    address, source = normal_email(address), source[:200]
    row = Suppression(
        channel=channel, address=address, scope=scope, reason=reason, source=source, expires_at=expires_at
    )
    Suppression.objects.bulk_create([row], ignore_conflicts=True)
    listed = Suppression.objects.filter(channel=channel, address=address, scope=scope)
    ends_earlier = Q(expires_at__isnull=False) if expires_at is None else Q(expires_at__lt=expires_at)
    listed.filter(ends_earlier).update(reason=reason, source=source, expires_at=expires_at, created_at=timezone.now())
    return listed.get()


def lift(address: str, *, scope: str, channel: str = EMAIL) -> bool:
    """Take the address off the list; False when it was not on it."""
    listed = Suppression.objects.filter(channel=channel, address=normal_email(address), scope=scope)
    return bool(listed.delete()[0])
