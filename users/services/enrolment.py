"""The link that sets a member of staff up: a password and a second factor, in the admin."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from users.models import OneTimeToken, User
from users.services import tokens

_ENROL = OneTimeToken.Purpose.ENROL
LIFETIME = timedelta(hours=24)


@transaction.atomic
def link(user: User) -> str:
    """An address of the admin, good once and for 24 hours; the ones before it die."""
    now = timezone.now()
    OneTimeToken.objects.filter(user=user, purpose=_ENROL, used_at=None).update(used_at=now)
    row = OneTimeToken.objects.create(
        user=user,
        purpose=_ENROL,
        email=user.email,
        key_id=tokens.one_time_key_id(_ENROL),
        expires_at=now + LIFETIME,
    )
    return settings.BASE_URL + reverse("admin:enrol", args=[tokens.one_time_token(row)])
