"""The link that sets a member of staff up: a password and a second factor, in the admin."""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from users.models import OneTimeToken, User
from users.services import one_time_tokens, passwords, tokens

_ENROL = OneTimeToken.Purpose.ENROL
LIFETIME = timedelta(hours=24)


@transaction.atomic
def link(user: User) -> str:
    """An address of the admin, good once and for 24 hours; the ones before it die."""
    one_time_tokens.void(user, _ENROL)
    row = one_time_tokens.issue(user, _ENROL, email=user.email, lasts=LIFETIME)
    return settings.BASE_URL + reverse("admin:enrol", args=[tokens.one_time_token(row)])


def check(token: str) -> OneTimeToken:
    """The row a link proves, still unspent: opening the link spends nothing. ENROL_BAD_TOKEN."""
    found = one_time_tokens.find(token, _ENROL)
    row = find(found.pk) if found else None
    if row is None:
        raise _bad_token()
    return row


def find(row_id: uuid.UUID) -> OneTimeToken | None:
    """The row of a link that is still good, with its `user`: active staff, at the address the link was made for."""
    found = OneTimeToken.open(timezone.now()).filter(pk=row_id, purpose=_ENROL, user__is_active=True)
    row = found.filter(user__is_staff=True).select_related("user").first()
    return row if row and row.user and row.user.email == row.email else None


@transaction.atomic
def redeem(row: OneTimeToken, *, password_hash: str, actor: Actor) -> User:
    """Spend the link and set the password, which ends every session; ENROL_BAD_TOKEN."""
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    if not one_time_tokens.use_up(row) or not (user.is_active and user.is_staff) or user.email != row.email:
        raise _bad_token()
    passwords.set_password(user, password_hash, event="password.reset", actor=actor.as_user(user))
    return user


def _bad_token() -> ProductError:
    return ProductError("ENROL_BAD_TOKEN", "The link is wrong, has been used or has expired.")
