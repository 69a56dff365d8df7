"""Deletes what has expired: in slices, each a transaction of its own, so that locks are short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from lib.actors import Actor
from notifications.services import personal_data
from users.models import (
    AuditEvent,
    MfaDevice,
    OneTimeToken,
    RateBucket,
    RefreshToken,
    User,
    UserSession,
)
from users.services import audit, deletion

_SLICE = 500
#: A proof is looked at for a while after it has expired: "the link has been used" beats "no such link".
_PROOFS = timedelta(days=1)
#: Longer than networks are known for (sign_in.py).
_SESSIONS = timedelta(days=90)
_ENROLMENTS = timedelta(days=1)
_UNVERIFIED = timedelta(days=30)
_BY = Actor.schedule("purge_accounts")


@dataclass(frozen=True)
class Kind:
    """Something that ends: how the old ones are found (in an order an index has), and how a slice of them goes."""

    name: str
    old: Callable[[datetime], QuerySet[Any]]
    delete: Callable[[list[Any], datetime], Any]


def _proofs(now: datetime) -> QuerySet[OneTimeToken]:
    return OneTimeToken.objects.filter(expires_at__lt=now - _PROOFS).order_by("expires_at")


def _counters(now: datetime) -> QuerySet[RateBucket]:
    moment = int(now.timestamp() * 1000)
    return RateBucket.objects.filter(reset_at__lt=moment, blocked_until__lt=moment).order_by("reset_at")


def _sessions(now: datetime) -> QuerySet[UserSession]:
    ended = Q(revoked_at__isnull=False) | Q(expires_at__lt=now)
    return UserSession.objects.filter(ended, created_at__lt=now - _SESSIONS).order_by("created_at")


def _refresh_tokens(now: datetime) -> QuerySet[RefreshToken]:
    """Too old to be taken even if never used: a replay of one would be refused as expired."""
    old = now - timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    # Keys grow with time, so the oldest few tell whether there is anything to do; the table has no other index.
    newest = RefreshToken.objects.filter(created_at__gte=old).order_by("pk").values("pk")[:1]
    found = RefreshToken.objects.filter(created_at__lt=old).order_by("pk")
    first = newest.values_list("pk", flat=True).first()
    return found.filter(pk__lt=first) if first is not None else found


def _enrolments(now: datetime) -> QuerySet[MfaDevice]:
    return MfaDevice.objects.filter(confirmed_at=None, created_at__lt=now - _ENROLMENTS)


def _unverified(now: datetime) -> QuerySet[User]:
    """Registrations never verified, and not repeated for 30 days."""
    old = now - _UNVERIFIED
    theirs = User.objects.filter(
        created_at__lt=old,
        created_by="register",
        email_verified_at=None,
        password_changed_at=None,
        is_active=True,
        is_staff=False,
    )
    return theirs.exclude(registrations__created_at__gte=old).order_by("created_at")


def _events(now: datetime) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(at__lt=now - timedelta(days=settings.USERS_AUDIT_RETENTION_DAYS)).order_by("at")


def _delete(model: type[Any]) -> Callable[[list[Any], datetime], Any]:
    return lambda keys, now: model.objects.filter(pk__in=keys).delete()


def _delete_counters(keys: list[Any], now: datetime) -> None:
    # Neither one that somebody is counting in, nor one that counts again.
    over = _counters(now).filter(pk__in=keys).select_for_update(skip_locked=True)
    RateBucket.objects.filter(pk__in=list(over.values_list("pk", flat=True))).delete()


def _delete_refresh_tokens(keys: list[Any], now: datetime) -> None:
    # What came after them stays: deleting a parent would take its successors along.
    RefreshToken.objects.filter(parent__in=keys).update(parent=None)
    RefreshToken.objects.filter(pk__in=keys).delete()


def _delete_users(keys: list[Any], now: datetime) -> None:
    for user in _unverified(now).select_for_update(of=("self",)).filter(pk__in=keys):
        personal_data.forget_user(user)
        audit.record("user.deleted", actor=_BY, user=user, why="never verified")
        user.delete()


def _delete_events(keys: list[Any], now: datetime) -> None:
    with audit.purging():
        AuditEvent.objects.filter(pk__in=keys).delete()


KINDS = (
    Kind("proofs", _proofs, _delete(OneTimeToken)),
    Kind("counters", _counters, _delete_counters),
    Kind("refresh tokens", _refresh_tokens, _delete_refresh_tokens),
    Kind("sessions", _sessions, _delete(UserSession)),
    Kind("enrolments", _enrolments, _delete(MfaDevice)),
    Kind("unverified accounts", _unverified, _delete_users),
    Kind("deletions", deletion.due, deletion.carry_out),
    Kind("audit events", _events, _delete_events),
)


def due(now: datetime | None = None) -> dict[str, int]:
    """How much of each kind is over."""
    now = now or timezone.now()
    return {kind.name: kind.old(now).order_by().count() for kind in KINDS}


def run(now: datetime | None = None) -> dict[str, int]:
    """Delete all that is over; return how much of each kind."""
    counts: Counter[str] = Counter({kind.name: 0 for kind in KINDS})
    for name, count in slices(now or timezone.now()):
        counts[name] += count
    return dict(counts)


def slices(now: datetime) -> Iterator[tuple[str, int]]:
    """The same slice by slice: what, and how many."""
    for kind in KINDS:
        while keys := list(kind.old(now).values_list("pk", flat=True)[:_SLICE]):
            with transaction.atomic():
                kind.delete(keys, now)
            yield kind.name, len(keys)
            if len(keys) < _SLICE:
                break
