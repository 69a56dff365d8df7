"""A session opens: whoever signed in, by whatever proof, comes through here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from lib.actors import Actor
from users.models import AuditEvent, User, UserSession
from users.services import audit, devices, notices, sessions, tokens
from users.services.refreshing import Tokens, first_tokens

#: From so many failures on, the next sign-in is told of them by mail.
_MANY_FAILURES = 5
_FAILURES = frozenset({"login.failed", "mfa.failed"})
_NEWEST = 200


@dataclass(frozen=True)
class Opened:
    """A session of `user` with its first pair of tokens."""

    user: User
    tokens: Tokens


class Place(Enum):
    """What is known of where a sign-in comes from."""

    FIRST = "first"  #: The account has never been signed in to.
    KNOWN = "known"  #: It holds a cookie of the account's, and calls from a network and program seen before.
    NEW = "new"


def place_of(user: User, actor: Actor) -> Place:
    """Known by the cookie that a sign-in left; an office shares a network, and a program names itself as it likes."""
    own, macs = UserSession.objects.filter(user=user), tokens.network_macs(actor.request)
    if devices.known(actor.request.device, user.email) and own.filter(network_mac__in=macs).exists():
        return Place.KNOWN
    return Place.NEW if own.exists() else Place.FIRST


def signed_in(user: User, actor: Actor, now: datetime, *, amr: Sequence[str], place: Place) -> Tokens:
    """A new API session; the owner hears of a new place, and of many failures before. Call it in a transaction."""
    session = sessions.new_session(user, actor.request, UserSession.Kind.API, now, amr)
    note_sign_in(user, session, actor, place=place)
    return first_tokens(user, session, now)


def opened(user: User, actor: Actor, now: datetime, *, amr: Sequence[str]) -> Opened:
    """`signed_in` for a person whose row is locked and fit: the place is looked up, the sign-in noted on the row."""
    place = place_of(user, actor)
    User.objects.filter(pk=user.pk).update(last_login=now, language=actor.request.language or user.language)
    return Opened(user, signed_in(user, actor, now, amr=amr, place=place))


def note_sign_in(user: User, session: UserSession, actor: Actor, *, place: Place) -> None:
    """Put a sign-in on record and tell the owner what is out of the ordinary. `user.last_login` is the one before."""
    failures = _failures_before(user)
    audit.record("login.ok", actor=actor, user=user, session_id=session.pk, amr=session.amr, kind=session.kind)
    if failures >= _MANY_FAILURES:
        notices.sign_in_after_failures(user, count=failures, info=actor.request, at=session.created_at)
    if place is Place.NEW:
        notices.new_sign_in(user, info=actor.request, at=session.created_at)


def _failures_before(user: User) -> int:
    """Failed tries since the last sign-in, as far as the account's newest 200 events tell."""
    since = user.last_login or user.created_at
    newest = AuditEvent.objects.filter(user_id=user.pk).order_by("-id").values_list("event", "at")[:_NEWEST]
    return sum(event in _FAILURES and at > since for event, at in newest)
