"""The end of an account: asked for by its owner, taken back for 30 days, then nothing shows whose it was.

And the end of all else that has expired: `purge` deletes it in slices, each a transaction of its own.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model, Q, QuerySet
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from notifications.services import personal_data
from users.models import (
    ApiKey,
    AuditEvent,
    GivenAnswer,
    MfaDevice,
    OneTimeToken,
    RateBucket,
    RefreshToken,
    User,
    UserSession,
)
from users.services import audit, rate_limits, security_mails, sessions, staff, tokens

GRACE = timedelta(days=30)
_UNDELETE = OneTimeToken.Purpose.UNDELETE
#: What a shut account cannot use. The way back to an old address stays: it may be the owner's only one.
_DYING = tuple(set(OneTimeToken.Purpose) - {OneTimeToken.Purpose.EMAIL_UNDO})
_BY = Actor.schedule("deletion")


@transaction.atomic
def request(user: User, *, actor: Actor) -> datetime:
    """Shut the account at once and mail the way back; return when it goes for good. REAUTHENTICATION_REQUIRED (403),
    LAST_SUPERUSER."""
    if user.is_superuser:
        staff.refuse_last_superuser(user)
    row = User.objects.select_for_update().get(pk=user.pk)
    # Asked with the row in hand: of two calls at once the second finds its session ended.
    sessions.require_fresh(actor.request.session_id)
    now = timezone.now()
    row.is_active, row.deactivated_at, row.delete_after_at = False, now, now + GRACE
    row.deactivated_reason, row.updated_by = staff.DELETION_REQUESTED, row.pk.hex
    row.save()
    tokens.void(row, *_DYING)
    ended = sessions.end_all_sessions(row.pk, reason="deleted")
    audit.record("user.deletion_requested", actor=actor.as_user(row), user=row, ended=ended)
    link = tokens.issue(row, _UNDELETE, email=row.email, lasts=GRACE)
    security_mails.deletion_scheduled(row, row=link, delete_after_at=row.delete_after_at)
    return row.delete_after_at


@transaction.atomic
def undelete(*, token: str, actor: Actor) -> None:
    """Open the account again; UNDELETE_BAD_TOKEN."""
    found = tokens.spend(token, _UNDELETE)
    if found is None or not take_back(found[1], actor=actor.as_user(found[1])):
        raise ProductError("UNDELETE_BAD_TOKEN", "The link is wrong, has been used or has expired.")


def take_back(user: User, *, actor: Actor) -> bool:
    """Undo the owner's own request on a locked row; return whether there was one. What staff shut stays shut."""
    if user.delete_after_at is None or user.deactivated_reason != staff.DELETION_REQUESTED:
        return False
    staff.make_active(user)
    user.updated_by = actor.label
    user.save()
    tokens.void(user, _UNDELETE)
    audit.record("user.deletion_undone", actor=actor, user=user)
    return True


# --- When the time is over --------------------------------------------------------------------------------------------


def due(now: datetime) -> QuerySet[User]:
    """Accounts whose grace period is over, the longest first; never the last superuser, who could not be replaced."""
    rows = User.objects.filter(delete_after_at__lte=now, is_active=False)
    if not User.objects.filter(is_superuser=True, is_active=True, service_account=None).exists():
        rows = rows.filter(is_superuser=False)
    return rows.order_by("delete_after_at")


def carry_out(keys: Sequence[uuid.UUID], now: datetime | None = None) -> int:
    """Anonymise these, as far as they are still due; return how many."""
    return sum(_anonymise(key, now or timezone.now()) for key in keys)


@transaction.atomic
def _anonymise(key: uuid.UUID, now: datetime) -> bool:
    """Keep the row and its id, which others refer to, and nothing that shows whose it was."""
    # Locked and asked again: its owner may have come back meanwhile.
    user = User.objects.select_for_update().filter(pk=key, delete_after_at__lte=now, is_active=False).first()
    if user is None:
        return False
    personal_data.forget_user(user)
    rate_limits.end_pause(user.email)
    # The admin's history repeats the address and what keys are called in the names of what was changed.
    about = _history(User, [user.pk]) | _history(ApiKey, user.api_keys.values_list("pk", flat=True))
    for rows in (user.sessions, user.one_time_tokens, user.registrations, user.mfa_devices, user.recovery_codes):
        rows.all().delete()
    user.api_keys.all().delete()
    user.groups.clear()
    user.user_permissions.clear()
    audit.record("user.deleted", actor=_BY, user=user, why="requested")
    user.email = f"deleted-{user.pk.hex}@invalid"
    LogEntry.objects.filter(about).update(object_repr=str(user))
    user.first_name = user.last_name = user.language = user.chosen_language = ""
    user.set_unusable_password()
    user.is_staff = user.is_superuser = user.must_reset = False
    user.email_verified_at = user.delete_after_at = user.last_login = user.password_changed_at = None
    user.updated_by = _BY.label
    user.save()
    return True


def _history(model: type[Model], keys: Iterable[uuid.UUID]) -> Q:
    return Q(content_type=ContentType.objects.get_for_model(model), object_id__in=list(map(str, keys)))


# --- What else has expired --------------------------------------------------------------------------------------------

_SLICE = 500
_PURGE = Actor.schedule("purge_accounts")


def _counters(now: datetime) -> QuerySet[RateBucket]:
    moment = int(now.timestamp() * 1000)
    return RateBucket.objects.filter(reset_at__lt=moment, blocked_until__lt=moment).order_by("reset_at")


def _sessions(now: datetime) -> QuerySet[UserSession]:
    """Kept for longer than networks are known for (sign_in.py)."""
    ended = Q(revoked_at__isnull=False) | Q(expires_at__lt=now)
    return UserSession.objects.filter(ended, created_at__lt=now - timedelta(days=90)).order_by("created_at")


def _api_keys(now: datetime) -> QuerySet[ApiKey]:
    old = now - timedelta(days=90)
    ended = Q(revoked_at__lt=old) | Q(expires_at__lt=old)
    return ApiKey.objects.filter(ended, created_at__lt=old).order_by("created_at")


def _refresh_tokens(now: datetime) -> QuerySet[RefreshToken]:
    """Too old to be taken even if never used: a replay of one would be refused as expired."""
    old = now - timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    # Keys grow with time, so the oldest few tell whether there is anything to do; the table has no other index.
    newer = RefreshToken.objects.filter(created_at__gte=old).order_by("pk").values_list("pk", flat=True).first()
    found = RefreshToken.objects.filter(created_at__lt=old).order_by("pk")
    return found.filter(pk__lt=newer) if newer is not None else found


def _unverified(now: datetime) -> QuerySet[User]:
    """Registrations never verified, and not repeated for 30 days."""
    old = now - timedelta(days=30)
    registered = User.objects.filter(created_at__lt=old, created_by="register", is_active=True, is_staff=False)
    theirs = registered.filter(email_verified_at=None, password_changed_at=None)
    return theirs.exclude(registrations__created_at__gte=old).order_by("created_at")


def _events(now: datetime) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(at__lt=now - timedelta(days=settings.USERS_AUDIT_RETENTION_DAYS)).order_by("at")


_DAY = timedelta(days=1)
#: What ends, by its name: the old rows, in an order an index has.
KINDS: dict[str, Callable[[datetime], QuerySet[Any]]] = {
    # Looked at for a day after it has expired: "the link has been used" beats "no such link".
    "one-time tokens": lambda now: OneTimeToken.objects.filter(expires_at__lt=now - _DAY).order_by("expires_at"),
    "counters": _counters,
    "refresh tokens": _refresh_tokens,
    "sessions": _sessions,
    "API keys": _api_keys,
    "answers to repeats": lambda now: GivenAnswer.objects.filter(created_at__lt=now - _DAY).order_by("created_at"),
    "enrolments": lambda now: MfaDevice.objects.filter(confirmed_at=None, created_at__lt=now - _DAY),
    "unverified accounts": _unverified,
    "deletions": due,
    "audit events": _events,
}


def expired() -> dict[str, int]:
    """How much of each kind is over."""
    now = timezone.now()
    return {name: old(now).order_by().count() for name, old in KINDS.items()}


def purge(now: datetime | None = None) -> dict[str, int]:
    """Delete all that is over; return how much of each kind."""
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for name, count in purge_slices(now or timezone.now()):
        counts[name] += count
    return dict(counts)


def purge_slices(now: datetime) -> Iterator[tuple[str, int]]:
    """The same slice by slice: what, and how many."""
    for name, old in KINDS.items():
        while keys := list((rows := old(now)).values_list("pk", flat=True)[:_SLICE]):
            with transaction.atomic():
                _delete(name, rows, keys, now)
            yield name, len(keys)
            if len(keys) < _SLICE:
                break


def _delete(name: str, old: QuerySet[Any], keys: list[Any], now: datetime) -> None:
    """A slice of the old rows."""
    if name == "deletions":
        carry_out(keys, now)
    elif name == "unverified accounts":
        for user in old.select_for_update(of=("self",)).filter(pk__in=keys):
            personal_data.forget_user(user)
            audit.record("user.deleted", actor=_PURGE, user=user, why="never verified")
            user.delete()
    elif name == "counters":
        # Neither one that is being counted in, nor one that counts again.
        over = old.filter(pk__in=keys).select_for_update(skip_locked=True).values_list("pk", flat=True)
        RateBucket.objects.filter(pk__in=list(over)).delete()
    else:
        # What came after refresh tokens stays: deleting a parent would take its successors along.
        if name == "refresh tokens":
            RefreshToken.objects.filter(parent__in=keys).update(parent=None)
        with audit.purging() if name == "audit events" else nullcontext():
            old.model._base_manager.filter(pk__in=keys).delete()
