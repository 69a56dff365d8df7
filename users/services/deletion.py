"""The end of an account: asked for by its owner, taken back for 30 days, then nothing tells who it was."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from notifications.services import personal_data
from users.models import OneTimeToken, User
from users.services import audit, one_time_tokens, rate_limits, security_mails, sessions, staff

GRACE = timedelta(days=30)
_UNDELETE = OneTimeToken.Purpose.UNDELETE
#: What a shut account cannot use. The way back to an old address stays: it may be the owner's only one.
_DYING = tuple(set(OneTimeToken.Purpose) - {OneTimeToken.Purpose.EMAIL_UNDO})
_BY = Actor.schedule("deletion")


@transaction.atomic
def request(user: User, *, actor: Actor) -> datetime:
    """Shut the account at once and mail the way back; return when it goes for good.

    REAUTHENTICATION_REQUIRED (403), LAST_SUPERUSER.
    """
    if user.is_superuser:
        staff.refuse_last_superuser(user)
    row = User.objects.select_for_update().get(pk=user.pk)
    # Asked with the row in hand: of two calls at once the second finds its session ended.
    sessions.require_fresh(actor.request.session_id)
    now = timezone.now()
    row.is_active, row.deactivated_at, row.deactivated_reason, row.delete_after_at = (
        False,
        now,
        staff.DELETION_REQUESTED,
        now + GRACE,
    )
    row.updated_by = row.pk.hex
    row.save()
    one_time_tokens.void(row, *_DYING)
    ended = sessions.end_all_sessions(row.pk, reason="deleted")
    audit.record("user.deletion_requested", actor=actor.as_user(row), user=row, ended=ended)
    link = one_time_tokens.issue(row, _UNDELETE, email=row.email, lasts=GRACE)
    security_mails.deletion_scheduled(row, row=link, delete_after_at=row.delete_after_at)
    return row.delete_after_at


@transaction.atomic
def undelete(*, token: str, actor: Actor) -> None:
    """Open the account again; UNDELETE_BAD_TOKEN."""
    found = one_time_tokens.spend(token, _UNDELETE)
    if found is None or not take_back(found[1], actor=actor.as_user(found[1])):
        raise ProductError("UNDELETE_BAD_TOKEN", "The link is wrong, has been used or has expired.")


def take_back(user: User, *, actor: Actor) -> bool:
    """Undo the owner's own request on a locked row; return whether there was one. What staff shut stays shut."""
    if user.delete_after_at is None or user.deactivated_reason != staff.DELETION_REQUESTED:
        return False
    staff.make_active(user)
    user.updated_by = actor.label
    user.save()
    one_time_tokens.void(user, _UNDELETE)
    audit.record("user.deletion_undone", actor=actor, user=user)
    return True


# --- When the time is over --------------------------------------------------------------------------------------------


def due(now: datetime) -> QuerySet[User]:
    """Accounts whose grace period is over, the longest first; never the last superuser, who could not be replaced."""
    rows = User.objects.filter(delete_after_at__lte=now, is_active=False)
    if not User.objects.filter(is_superuser=True, is_active=True).exists():
        rows = rows.filter(is_superuser=False)
    return rows.order_by("delete_after_at")


def carry_out(keys: Sequence[uuid.UUID], now: datetime | None = None) -> int:
    """Anonymise these, as far as they are still due; return how many."""
    return sum(_anonymise(key, now or timezone.now()) for key in keys)


@transaction.atomic
def _anonymise(key: uuid.UUID, now: datetime) -> bool:
    """Keep the row and its id, which others refer to, and nothing that tells who it was."""
    # Locked and asked again: its owner may have come back meanwhile.
    user = User.objects.select_for_update().filter(pk=key, delete_after_at__lte=now, is_active=False).first()
    if user is None:
        return False
    personal_data.forget_user(user)
    rate_limits.end_pause(user.email)
    for rows in (user.sessions, user.one_time_tokens, user.registrations, user.mfa_devices, user.recovery_codes):
        rows.all().delete()
    user.groups.clear()
    user.user_permissions.clear()
    audit.record("user.deleted", actor=_BY, user=user, why="requested")
    user.email = f"deleted-{user.pk.hex}@invalid"
    _forget_in_history(user)
    user.first_name = user.last_name = user.language = ""
    user.set_unusable_password()
    user.is_staff = user.is_superuser = user.must_reset = False
    user.email_verified_at = user.delete_after_at = user.last_login = user.password_changed_at = None
    user.updated_by = _BY.label
    user.save()
    return True


def _forget_in_history(user: User) -> None:
    """The admin's history repeats the address in the name of what was changed."""
    about = Q(content_type=ContentType.objects.get_for_model(User), object_id=str(user.pk))
    LogEntry.objects.filter(about).update(object_repr=str(user))
