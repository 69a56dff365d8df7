"""Sign in, stay signed in, sign out.

Signing in is `begin`, a comparison in the hashing pool, `finish`: no transaction is open while a password is hashed.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from lib.errors import ProductError
from lib.text import normal_email
from users.models import LiveSessions, RefreshToken, User, UserSession
from users.services import hashing, limiter, tokens
from users.services.callers import Caller
from users.services.hashing import Checked

_SEEN_EVERY = timedelta(minutes=1)
ADMIN_IDLE = timedelta(minutes=30)


@dataclass(frozen=True)
class Attempt:
    """A counted try: compare the password with `encoded`, then call `finish`."""

    email: str
    caller: Caller
    user: User | None
    encoded: str


class Paused(ProductError):
    """Too many wrong passwords. `may_clear`: tries that count towards the pause may still turn out right."""

    def __init__(self, block: limiter.Block) -> None:
        super().__init__(
            "LOGIN_BAD_CREDENTIALS",
            "Too many wrong passwords: signing in is paused for a while. A reset by mail lifts the pause.",
            slug="login_paused",
            retry_after=block.seconds,
        )
        self.may_clear = block.may_clear


@dataclass(frozen=True)
class Tokens:
    """Lives are whole seconds. `refresh` is None when the client keeps the one it has."""

    access: str
    access_seconds: int
    refresh: str | None
    refresh_seconds: int


def login_bucket(email: str, caller: Caller) -> limiter.Bucket:
    return limiter.LOGIN.of(email, caller.network)


def begin(*, email: str, caller: Caller) -> Attempt:
    """Count the try; Paused (LOGIN_BAD_CREDENTIALS, slug `login_paused`) hashes nothing."""
    email = normal_email(email)
    if block := limiter.reserve(login_bucket(email, caller)):
        raise Paused(block)
    user = User.objects.filter(email=email).first()
    if user is None or not hashing.is_comparable(user.password):
        return Attempt(email, caller, None, hashing.decoy(email))
    return Attempt(email, caller, user, user.password)


def is_paused(*, email: str, caller: Caller) -> bool:
    """Whether `begin` would refuse now; counts nothing."""
    return limiter.is_blocked(login_bucket(normal_email(email), caller))


def abandon(*, email: str, caller: Caller) -> None:
    """The caller left before the outcome: the try stays counted, and nobody need wait for it."""
    limiter.note_failure(login_bucket(normal_email(email), caller))


def give_up(attempt: Attempt) -> None:
    """The password was never compared (the hashing queue was full): the try does not count."""
    limiter.give_back(login_bucket(attempt.email, attempt.caller))


def finish(attempt: Attempt, checked: Checked) -> User:
    """The person who signs in; LOGIN_BAD_CREDENTIALS or LOGIN_USER_NOT_VERIFIED. Ends the count of wrong passwords."""
    user = attempt.user
    bucket = login_bucket(attempt.email, attempt.caller)
    if user is None or not checked.is_right or not user.is_active or user.must_reset:
        limiter.note_failure(bucket)
        raise _bad_credentials()
    limiter.forget(bucket)
    if not user.is_verified:
        raise ProductError("LOGIN_USER_NOT_VERIFIED", "The address is not verified yet.")
    if checked.rehash:
        # Only over the hash that was compared: a change made meanwhile wins.
        User.objects.filter(pk=user.pk, password=attempt.encoded).update(password=checked.rehash)
    return user


def open_session(attempt: Attempt, checked: Checked) -> Tokens:
    """`finish`, then a new API session with its first pair of tokens."""
    user = finish(attempt, checked)
    with transaction.atomic():
        now = timezone.now()
        # Asked again, and locked: a deactivation or a new password since the comparison must not be outrun.
        unchanged = User.objects.filter(
            pk=user.pk, is_active=True, password__in=filter(None, (attempt.encoded, checked.rehash))
        )
        if not unchanged.update(last_login=now):
            raise _bad_credentials()
        session = new_session(user, attempt.caller, UserSession.Kind.API, now)
        refresh = tokens.new_refresh()
        RefreshToken.objects.create(hash=tokens.refresh_hash(refresh), session=session, created_at=now)
        return _tokens(user, session, refresh, now)


def _bad_credentials() -> ProductError:
    return ProductError("LOGIN_BAD_CREDENTIALS", "The address or the password is wrong.")


def new_session(user: User, caller: Caller, kind: UserSession.Kind, now: datetime) -> UserSession:
    lives = {
        UserSession.Kind.API: timedelta(seconds=settings.USERS_SESSION_MAX_SECONDS),
        UserSession.Kind.ADMIN: timedelta(seconds=settings.SESSION_COOKIE_AGE),
    }
    return UserSession.objects.create(
        user=user,
        kind=kind,
        created_at=now,
        last_seen_at=now,
        auth_at=now,
        amr=["pwd"],
        expires_at=now + lives[kind],
        ip=caller.ip,
        network_mac=caller.network_mac,
        user_agent=caller.user_agent,
        label=caller.label,
    )


def _tokens(user: User, session: UserSession, refresh: str | None, now: datetime) -> Tokens:
    left = int((session.expires_at - now).total_seconds())
    return Tokens(
        access=tokens.make_access(user, session.pk, now),
        access_seconds=settings.USERS_ACCESS_TOKEN_EXPIRE_SECONDS,
        refresh=refresh,
        refresh_seconds=min(settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS, left),
    )


# --- Access -----------------------------------------------------------------------------------------------------------


# By hand, because every authenticated call asks it: the ORM takes ten times longer to word it than PostgreSQL to
# answer it. What comes back needs no conversion on either database.
_LIVE = """
SELECT u.is_superuser, u.email, u.first_name, u.last_name, u.is_staff, s.last_seen_at < %s
FROM users_usersession s JOIN users_user u ON u.id = s.user_id
WHERE s.id = %s AND s.user_id = %s AND s.revoked_at IS NULL AND s.expires_at > %s AND u.is_active
"""
#: In the order of the model's fields, which is what from_db goes by.
_LIVE_FIELDS = ("is_superuser", "id", "email", "first_name", "last_name", "is_active", "is_staff")


def authenticate(token: str) -> User | None:
    """The person an access token stands for, by one query; None when the session or the person may not pass.

    The other fields of the user are loaded when they are asked for.
    """
    proved = tokens.read_access(token)
    if proved is None:
        return None
    now = timezone.now()
    moment = connection.ops.adapt_datetimefield_value
    ids: tuple[Any, Any] = (proved.session_id, proved.user_id)
    if not connection.features.has_native_uuid_field:
        ids = (proved.session_id.hex, proved.user_id.hex)
    values = (moment(now - _SEEN_EVERY), *ids, moment(now))
    with connection.cursor() as cursor:
        cursor.execute(_LIVE, values)
        row = cursor.fetchone()
    if row is None:
        return None
    is_superuser, *names, is_staff, is_stale = row
    if is_stale:
        UserSession.objects.filter(pk=proved.session_id).update(last_seen_at=now)
    return User.from_db(connection.alias, _LIVE_FIELDS, (is_superuser, proved.user_id, *names, True, is_staff))


def note_seen(session: UserSession, now: datetime) -> None:
    """Write the last use at most once a minute."""
    if now - session.last_seen_at > _SEEN_EVERY:
        UserSession.objects.filter(pk=session.pk).update(last_seen_at=now)


# --- Refresh ----------------------------------------------------------------------------------------------------------


def refresh(*, token: str) -> Tokens:
    """A new access token and the successor of `token`; REFRESH_TOKEN_INVALID for anything not live.

    All who present one token within the leeway get the same successor. Presented later it is a replay, and the
    session ends.
    """
    try:
        result = _refresh(token)
    except IntegrityError:
        # Two callers without row locks between them: the other one wrote the successor, which is now there to read.
        result = _refresh(token)
    if result is None:
        raise ProductError("REFRESH_TOKEN_INVALID", "The refresh token is not valid.")
    return result


@transaction.atomic
def _refresh(token: str) -> Tokens | None:
    now = timezone.now()
    # Lock this row alone, and filter by nothing but the hash: a waiting transaction must see the row as it became.
    link = (
        RefreshToken.objects.select_for_update(of=("self",))
        .select_related("session__user")
        .filter(hash=tokens.refresh_hash(token))
        .first()
    )
    if link is None or not _is_live(link, now):
        return None
    session, user = link.session, link.session.user
    if not settings.USERS_REFRESH_ROTATION:
        return _tokens(user, session, None, now)
    if link.used_at is None:
        successor = tokens.refresh_successors(token)[0]
        RefreshToken.objects.filter(pk=link.pk).update(used_at=now)
        RefreshToken.objects.create(hash=tokens.refresh_hash(successor), session=session, parent=link, created_at=now)
        return _tokens(user, session, successor, now)
    if now - link.used_at <= timedelta(seconds=settings.USERS_REFRESH_LEEWAY_SECONDS):
        return _tokens(user, session, _newest(token), now)
    end_sessions(UserSession.objects.filter(pk=session.pk), reason="replay")
    return None


def _is_live(link: RefreshToken, now: datetime) -> bool:
    session = link.session
    age = now - link.created_at
    return (
        session.revoked_at is None
        and session.expires_at > now
        and session.user.is_active
        and age < timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    )


def _newest(token: str) -> str:
    """Follow the chain to its end: each step is computed, and looked up to see that it is there."""
    while True:
        by_hash = {tokens.refresh_hash(candidate): candidate for candidate in tokens.refresh_successors(token)}
        known = RefreshToken.objects.filter(hash__in=list(by_hash)).values_list("hash", flat=True).first()
        if known is None:
            return token
        token = by_hash[bytes(known)]


# --- Sign out ---------------------------------------------------------------------------------------------------------


def end_sessions(sessions: LiveSessions, *, reason: str) -> int:
    """Revoke those that still live; return how many."""
    now = timezone.now()
    return sessions.live(now).update(revoked_at=now, revoked_reason=reason)


def logout(*, access_tokens: Sequence[str], refresh_token: str | None) -> None:
    """End the sessions these tokens belong to; unknown ones change nothing."""
    for proved in filter(None, map(tokens.read_access, access_tokens)):
        end_sessions(UserSession.objects.filter(pk=proved.session_id, user_id=proved.user_id), reason="logout")
    if refresh_token:
        owned = RefreshToken.objects.filter(hash=tokens.refresh_hash(refresh_token)).values("session_id")
        end_sessions(UserSession.objects.filter(pk__in=owned), reason="logout")


def end_all_sessions(user_id: uuid.UUID, *, reason: str) -> int:
    """Sign a person out everywhere, the admin included; return how many sessions ended."""
    return end_sessions(UserSession.objects.filter(user_id=user_id), reason=reason)
