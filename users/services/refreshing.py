"""Refresh tokens: rotation without forks, and what a replay means."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone

from lib.errors import ProductError
from users.models import RefreshToken, User, UserSession
from users.models.sessions import idle_since
from users.services import audit, limiter, notices, sessions, tokens
from users.services.callers import Caller


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
    RefreshToken.objects.create(hash=tokens.refresh_hash(refresh), session=session, created_at=now)
    return _tokens(user, session, refresh, now)


def _tokens(user: User, session: UserSession, refresh: str | None, now: datetime) -> Tokens:
    left = int((session.expires_at - now).total_seconds())
    return Tokens(
        access=tokens.make_access(user, session.pk, now),
        access_seconds=settings.USERS_ACCESS_TOKEN_EXPIRE_SECONDS,
        refresh=refresh,
        refresh_seconds=min(settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS, left),
    )


def refresh(*, token: str, caller: Caller) -> Tokens:
    """A new access token and the successor of `token`; REFRESH_TOKEN_INVALID for anything not live.

    All who present one token within the leeway get the same successor. Presented later it is a replay: the session
    ends, which is on record and mailed to its owner. TOO_MANY_REQUESTS (429) beyond the session's limit.
    """
    try:
        result = _refresh(token, caller)
    except IntegrityError:
        # Two callers without row locks between them: the other one wrote the successor, which is now there to read.
        result = _refresh(token, caller)
    if isinstance(result, limiter.Block):
        raise limiter.too_many(result)
    if result is None:
        raise ProductError("REFRESH_TOKEN_INVALID", "The refresh token is not valid.")
    return result


@transaction.atomic
def _refresh(token: str, caller: Caller) -> Tokens | limiter.Block | None:
    """Refusals are returned, not raised: what they write must last."""
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
    if block := limiter.reserve(limiter.REFRESH.of_thing("session", session.pk.hex)):
        return block
    if settings.USERS_SESSION_IDLE_SECONDS:
        sessions.note_seen(session, now)
    if not settings.USERS_REFRESH_ROTATION:
        return _tokens(user, session, None, now)
    if link.used_at is None:
        successor = tokens.refresh_successors(token)[0]
        RefreshToken.objects.filter(pk=link.pk).update(used_at=now)
        RefreshToken.objects.create(hash=tokens.refresh_hash(successor), session=session, parent=link, created_at=now)
        return _tokens(user, session, successor, now)
    if now - link.used_at <= timedelta(seconds=settings.USERS_REFRESH_LEEWAY_SECONDS):
        return _tokens(user, session, _newest(token), now)
    _end_replayed(session, caller, now)
    return None


def _end_replayed(session: UserSession, caller: Caller, now: datetime) -> None:
    if sessions.end_sessions(UserSession.objects.filter(pk=session.pk), reason="replay"):
        user = session.user
        audit.record("session.replay", by=caller, user=user, session_id=session.pk, outcome="refused")
        notices.session_replay(user, label=session.label, at=now)


def _is_live(link: RefreshToken, now: datetime) -> bool:
    session = link.session
    idle = idle_since(now, session.kind)
    return (
        session.revoked_at is None
        and session.expires_at > now
        and (idle is None or session.last_seen_at > idle)
        and session.user.is_active
        and now - link.created_at < timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    )


def _newest(token: str) -> str:
    """Follow the chain to its end: each step is computed, and looked up to see that it is there."""
    while True:
        by_hash = {tokens.refresh_hash(candidate): candidate for candidate in tokens.refresh_successors(token)}
        known = RefreshToken.objects.filter(hash__in=list(by_hash)).values_list("hash", flat=True).first()
        if known is None:
            return token
        token = by_hash[bytes(known)]
