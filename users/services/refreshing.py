"""Refresh tokens: rotation without forks, and what a replay means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from lib.actors import Actor
from lib.db import adapted
from lib.errors import ProductError
from users.models import RefreshToken, User, UserSession
from users.models.sessions import idle_since
from users.services import audit, limiter, notices, sessions, tokens


@dataclass(frozen=True)
class Tokens:
    """Lives are whole seconds. `refresh` is None when the client keeps the one it has."""

    access: str
    access_seconds: int
    refresh: str | None
    refresh_seconds: int


def first_tokens(user: User, session: UserSession, now: datetime) -> Tokens:
    """The pair a new session starts with."""
    refresh = tokens.new_refresh()
    _store(refresh, session, now)
    return _tokens(user, session, refresh, now)


def _tokens(user: User, session: UserSession, refresh: str | None, now: datetime) -> Tokens:
    left = int((session.expires_at - now).total_seconds())
    return Tokens(
        access=tokens.make_access(user, session.pk, now),
        access_seconds=settings.USERS_ACCESS_TOKEN_EXPIRE_SECONDS,
        refresh=refresh,
        refresh_seconds=min(settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS, left),
    )


def refresh(*, token: str, actor: Actor) -> Tokens:
    """Rotate a refresh token (RFC 9700, 4.14.2): a new access token and the successor of `token`.

    All who present one token within the leeway get the same successor, and later, too, while that one was never used
    and `token` was not itself answered so late; the owner is told. Else it is a replay: the session ends, which is on
    record and mailed to its owner.

    Raises:
        REFRESH_TOKEN_INVALID (400): anything not live, a replay included.
        TOO_MANY_REQUESTS (429): over the session's limit.
    """
    try:
        result = _refresh(token, actor)
    except IntegrityError:
        # Two callers without row locks between them: the other one wrote the successor, which is now there to read.
        result = _refresh(token, actor)
    if isinstance(result, limiter.Block):
        raise limiter.too_many(result)
    if result is None:
        raise ProductError("REFRESH_TOKEN_INVALID", "The refresh token is not valid.")
    return result


# By hand, because all clients come for new tokens every few minutes. It locks the token's row alone, and filters by
# nothing but the hash: a waiting transaction must see that row as it became.
_LOCK = """
SELECT s.id, s.user_id, s.kind, s.label, s.last_seen_at, s.expires_at, s.revoked_at, u.is_active, u.email, u.first_name,
  t.id AS token_id, t.created_at > %s AS is_young, t.used_at IS NULL AS is_unused, t.used_at >= %s AS is_in_leeway
FROM users_refreshtoken t JOIN users_usersession s ON s.id = t.session_id JOIN users_user u ON u.id = s.user_id
WHERE t.hash = %s {lock}
"""
_SPEND = "UPDATE users_refreshtoken SET used_at = %s WHERE id = %s"
_STORE = "INSERT INTO users_refreshtoken (hash, session_id, parent_id, created_at) VALUES (%s, %s, %s, %s)"


def _locked(token: str, now: datetime) -> Any:
    """The session of a token, with what is known of the token and of its user; None for an unknown one."""
    youngest = now - timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    leeway = now - timedelta(seconds=settings.USERS_REFRESH_LEEWAY_SECONDS)
    sql = _LOCK.format(lock="FOR UPDATE OF t" if connection.features.has_select_for_update_of else "")
    session: Any = next(iter(UserSession.objects.raw(sql, adapted(youngest, leeway, tokens.refresh_hash(token)))), None)
    if session is not None:
        session.user = User.from_db(
            connection.alias, ("id", "email", "first_name"), (session.user_id, session.email, session.first_name)
        )
    return session


def _store(token: str, session: UserSession, now: datetime, parent_id: int | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_STORE, adapted(tokens.refresh_hash(token), session.pk, parent_id, now))


@transaction.atomic
def _refresh(token: str, actor: Actor) -> Tokens | limiter.Block | None:
    """Refusals are returned, not raised: what they write must last."""
    now = timezone.now()
    session = _locked(token, now)
    if session is None or not _is_live(session, now):
        return None
    user = session.user
    if block := limiter.reserve(limiter.REFRESH.of_thing("session", session.pk.hex)):
        return block
    if settings.USERS_SESSION_IDLE_SECONDS:
        sessions.note_seen(session, now)
    if not settings.USERS_REFRESH_ROTATION:
        return _tokens(user, session, None, now)
    if session.is_unused:
        successor = tokens.refresh_successors(token)[0]
        with connection.cursor() as cursor:
            cursor.execute(_SPEND, adapted(now, session.token_id))
        _store(successor, session, now, session.token_id)
        return _tokens(user, session, successor, now)
    if session.is_in_leeway:
        return _tokens(user, session, _newest(token), now)
    if unused := _answered_again(token, session, actor, now):
        return _tokens(user, session, unused, now)
    _end_replayed(session, actor, now)
    return None


def _answered_again(token: str, session: Any, actor: Actor, now: datetime) -> str | None:
    """The successor of a spent token whose answer was lost on the way: nobody has used it yet.

    Not twice in a row. If a thief asked, two hold the successor now; the second of them to use it must be a replay.
    """
    spent = RefreshToken.objects.select_related("parent").get(pk=session.token_id)
    unused = RefreshToken.objects.select_for_update().filter(parent=spent, used_at=None).first()
    by_hash = {tokens.refresh_hash(candidate): candidate for candidate in tokens.refresh_successors(token)}
    successor = by_hash.get(bytes(unused.hash)) if unused else None
    if successor is None or (spent.parent is not None and spent.parent.repeated_at is not None):
        return None
    if spent.repeated_at is None:
        RefreshToken.objects.filter(pk=spent.pk).update(repeated_at=now)
        audit.record("session.resumed", actor=actor, user=session.user, session_id=session.pk)
        notices.session_resumed(session.user, info=actor.request, at=now)
    return successor


def _end_replayed(session: UserSession, actor: Actor, now: datetime) -> None:
    if sessions.end_sessions(UserSession.objects.filter(pk=session.pk), reason="replay"):
        user = session.user
        audit.record("session.replay", actor=actor, user=user, session_id=session.pk, outcome="refused")
        notices.session_replay(user, label=session.label, at=now)


def _is_live(session: Any, now: datetime) -> bool:
    idle = idle_since(now, session.kind)
    return (
        bool(session.is_active and session.is_young)
        and session.revoked_at is None
        and session.expires_at > now
        and (idle is None or session.last_seen_at > idle)
    )


def _newest(token: str) -> str:
    """Follow the chain to its end: each step is computed, and looked up to see that it is there."""
    while True:
        by_hash = {tokens.refresh_hash(candidate): candidate for candidate in tokens.refresh_successors(token)}
        known = RefreshToken.objects.filter(hash__in=list(by_hash)).values_list("hash", flat=True).first()
        if known is None:
            return token
        token = by_hash[bytes(known)]
