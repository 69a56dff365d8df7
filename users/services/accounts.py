"""What people change about themselves."""

from __future__ import annotations

import uuid

from django.db import transaction

from lib.actors import Actor
from users.models import User
from users.services import factors, passwords, reauthentication, recovery, signin


@transaction.atomic
def rename(user: User, *, first_name: str | None = None, last_name: str | None = None, actor: Actor) -> User:
    """Set the names given, keep the others; return the row as it is now."""
    row = User.objects.select_for_update().get(pk=user.pk)
    row.first_name = row.first_name if first_name is None else first_name
    row.last_name = row.last_name if last_name is None else last_name
    row.updated_by = actor.label
    row.save(update_fields=["first_name", "last_name", "updated_by", "updated_at"])
    return row


# --- A new password ---------------------------------------------------------------------------------------------------


def begin_password_change(user: User, *, new_password: str, actor: Actor) -> signin.Attempt:
    """Look at the new password, then count a try at the current one like a sign-in.

    Compare with `encoded`, then call `reauthentication.check`. Raises CHANGE_PASSWORD_INVALID_PASSWORD with the broken
    rule; PASSWORD_WRONG (slug `login_paused`, Retry-After) during a pause; TOO_MANY_REQUESTS (429).
    """
    passwords.check(
        new_password,
        email=user.email,
        code="CHANGE_PASSWORD_INVALID_PASSWORD",
        has_factor=factors.has_factor(user),
    )
    return reauthentication.begin(user, actor=actor)


def change_password(
    user: User, *, password_hash: str, attempt: signin.Attempt, actor: Actor, keep: uuid.UUID | None
) -> None:
    """Set the new password; the other sessions end. PASSWORD_WRONG when it has changed since the comparison."""
    actor = actor.as_user(user)
    changed = recovery.change_password(
        user, password_hash=password_hash, compared=attempt.encoded, actor=actor, keep=keep
    )
    if changed is None:
        raise reauthentication.wrong()
