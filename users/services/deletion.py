"""The end of an account: asked for by its owner, taken back for 30 days, then nothing shows whose it was.

And the end of all else that has expired: `purge` deletes it in slices, each a transaction of its own.
"""

import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.admin.models import LogEntry
from django.contrib.auth.hashers import make_password
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast, Concat, Replace
from django.utils import timezone

from lib import db
from lib.actors import Actor
from lib.errors import ProductError
from notifications.services import personal_data
from users.models import (
    ApiKey,
    AuditEvent,
    GivenAnswer,
    MfaDevice,
    OneTimeToken,
    Proposal,
    RateBucket,
    RecoveryCode,
    RefreshToken,
    Registration,
    User,
    UserSession,
)
from users.services import audit, proposals, rate_limits, security_mails, sessions, staff, tokens

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
    """Accounts whose grace period is over; never the last superuser, who could not be replaced."""
    rows = User.objects.filter(delete_after_at__lte=now, is_active=False)
    if not User.objects.filter(is_superuser=True, is_active=True, service_account=None).exists():
        rows = rows.filter(is_superuser=False)
    return rows


def carry_out(keys: Sequence[uuid.UUID], now: datetime) -> int:
    """Anonymise these, as far as they are still due, many in one transaction; return how many."""
    return sum(_end(due(now).filter(pk__in=some), _anonymise) for some in db.batches(keys, _TOGETHER))


def _end(found: QuerySet[User], end: Callable[[list[User]], None]) -> int:
    """End these accounts, and before that forget what is stored about them; return how many.

    In one transaction, but for accounts with very many rows: what is left to read only, they lose in some before it.
    """
    while True:
        with transaction.atomic():
            # Locked, in one order, and asked again: an owner may have come back meanwhile.
            users = list(found.select_for_update(of=("self",)).order_by("pk"))
            if not users:
                return 0
            if personal_data.forget_users(users) and sessions.forget_some(users):
                end(users)
                return len(users)


def _anonymise(users: list[User]) -> None:
    """Keep the rows and their ids, which others refer to, and nothing that shows whose they were."""
    keys = [user.pk for user in users]
    rate_limits.end_pause(*(user.email for user in users))
    # The admin's history repeats the address and what keys are called in the names of what was changed.
    _forget_history(User, keys)
    _forget_history(ApiKey, list(ApiKey.objects.filter(user__in=keys).values_list("pk", flat=True)))
    for model in (OneTimeToken, Registration, MfaDevice, RecoveryCode, ApiKey):
        model._default_manager.filter(user__in=keys).delete()
    proposals.empty(Proposal.objects.filter(user__in=keys))
    for granted in (User.groups, User.user_permissions):
        granted.through.objects.filter(user__in=keys).delete()
    audit.record_each("user.deleted", users, actor=_BY, why="requested")
    User.objects.filter(pk__in=keys).update(
        email=Concat(_pseudonym("pk"), _text("@invalid")),
        **dict.fromkeys(("first_name", "last_name", "language", "chosen_language"), ""),
        **dict.fromkeys(("is_staff", "is_superuser", "must_reset"), False),
        **dict.fromkeys(("email_verified_at", "delete_after_at", "last_login", "password_changed_at")),
        password=make_password(None),
        updated_by=_BY.label,
        updated_at=timezone.now(),
    )


def _forget_history(model: type[Model], keys: Sequence[uuid.UUID]) -> None:
    about = {"content_type": ContentType.objects.get_for_model(model), "object_id__in": list(map(str, keys))}
    LogEntry.objects.filter(**about).update(object_repr=_pseudonym("object_id"))


_text = partial(Value, output_field=TextField())


def _pseudonym(column: str) -> Concat:
    """`deleted-` and the id in hex."""
    return Concat(_text("deleted-"), Replace(Cast(column, TextField()), _text("-"), _text("")))


# --- What else has expired --------------------------------------------------------------------------------------------

_SLICE = 500
#: Accounts that end in one transaction: a small part of a second.
_TOGETHER = 100
_PURGE = Actor.schedule("purge_accounts")


def _counters(now: datetime) -> QuerySet[RateBucket]:
    moment = int(now.timestamp() * 1000)
    return RateBucket.objects.filter(reset_at__lt=moment, blocked_until__lt=moment)


def _sessions(now: datetime) -> QuerySet[UserSession]:
    """Kept for longer than networks are known for (sign_in.py)."""
    ended = Q(revoked_at__isnull=False) | Q(expires_at__lt=now)
    return UserSession.objects.filter(ended, created_at__lt=now - timedelta(days=90))


def _api_keys(now: datetime) -> QuerySet[ApiKey]:
    old = now - timedelta(days=90)
    ended = Q(revoked_at__lt=old) | Q(expires_at__lt=old)
    return ApiKey.objects.filter(ended, created_at__lt=old)


def _refresh_tokens(now: datetime) -> QuerySet[RefreshToken]:
    """Too old to be taken even if never used: a replay of one would be refused as expired."""
    old = now - timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    # Keys grow with time, so the oldest few tell whether there is anything to do; the table has no other index.
    newer = RefreshToken.objects.filter(created_at__gte=old).order_by("pk").values_list("pk", flat=True).first()
    found = RefreshToken.objects.filter(created_at__lt=old)
    return found.filter(pk__lt=newer) if newer is not None else found


def _unverified(now: datetime) -> QuerySet[User]:
    """Registrations never verified, and not repeated for 30 days."""
    old = now - timedelta(days=30)
    registered = User.objects.filter(created_at__lt=old, created_by="register", is_active=True, is_staff=False)
    theirs = registered.filter(email_verified_at=None, password_changed_at=None)
    return theirs.exclude(registrations__created_at__gte=old)


_DAY = timedelta(days=1)
#: What ends, by its name: the column whose index finds the old rows, and these.
KINDS: dict[str, tuple[str, Callable[[datetime], QuerySet[Any]]]] = {
    # Looked at for a day after it has expired: "the link has been used" beats "no such link".
    "one-time tokens": ("expires_at", lambda now: OneTimeToken.objects.filter(expires_at__lt=now - _DAY)),
    "counters": ("reset_at", _counters),
    "refresh tokens": ("pk", _refresh_tokens),
    "sessions": ("created_at", _sessions),
    "API keys": ("created_at", _api_keys),
    "answers to repeats": ("created_at", lambda now: GivenAnswer.objects.filter(created_at__lt=now - _DAY)),
    "proposals that lapsed": ("lapses_at", proposals.lapsed),
    "contents of proposals": ("created_at", proposals.to_empty),
    "proposals": (
        "created_at",
        lambda now: Proposal.objects.filter(created_at__lt=now - timedelta(days=settings.USERS_AUDIT_RETENTION_DAYS)),
    ),
    "enrolments": (
        "created_at",
        lambda now: MfaDevice.objects.filter(confirmed_at=None, created_at__lt=now - _DAY),
    ),
    "unverified accounts": ("created_at", _unverified),
    "deletions": ("delete_after_at", due),
    "audit events": (
        "at",
        lambda now: AuditEvent.objects.filter(at__lt=now - timedelta(days=settings.USERS_AUDIT_RETENTION_DAYS)),
    ),
}


def expired() -> dict[str, int]:
    """How much of each kind is over."""
    now = timezone.now()
    return {name: old(now).count() for name, (_by, old) in KINDS.items()}


def purge(now: datetime | None = None) -> dict[str, int]:
    """Delete all that is over; return how much of each kind."""
    counts: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
    for name, count in purge_slices(now or timezone.now()):
        counts[name] += count
    return dict(counts)


def purge_slices(now: datetime) -> Iterator[tuple[str, int]]:
    """The same slice by slice: what, and how many."""
    for name, (by, old) in KINDS.items():
        rows, end = old(now), _ENDS.get(name)
        for keys in db.slices(rows, by=by, size=_TOGETHER if end else _SLICE):
            if end:
                yield name, end(keys, now)
                continue
            with transaction.atomic():
                _delete(name, rows.filter(pk__in=keys), keys)
            yield name, len(keys)


def _delete(name: str, rows: QuerySet[Any], keys: list[Any]) -> None:
    """A slice of the old rows."""
    if name == "counters":
        # Neither one that is being counted in, nor one that counts again.
        keys = list(rows.select_for_update(skip_locked=True).values_list("pk", flat=True))
    elif name == "refresh tokens":
        sessions.keep_successors(keys)
    with audit.purging() if name == "audit events" else nullcontext():
        rows.model._base_manager.filter(pk__in=keys).delete()


def _delete_unverified(keys: Sequence[uuid.UUID], now: datetime) -> int:
    return _end(_unverified(now).filter(pk__in=keys), _remove)


def _remove(users: list[User]) -> None:
    audit.record_each("user.deleted", users, actor=_PURGE, why="never verified")
    User.objects.filter(pk__in=[user.pk for user in users]).delete()


_ENDS = {
    "deletions": carry_out,
    "unverified accounts": _delete_unverified,
    "proposals that lapsed": proposals.lapse,
    "contents of proposals": proposals.forget,
}
