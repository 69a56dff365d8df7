"""Sessions: opened by a sign-in, asked about by every call, ended by people, staff and time."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from lib.db import adapted
from lib.errors import ProductError
from users.models import LiveSessions, RefreshToken, User, UserSession
from users.models.sessions import idle_since
from users.services import audit, tokens

_SEEN_EVERY = timedelta(minutes=1)


def new_session(
    user: User, info: RequestInfo, kind: UserSession.Kind, now: datetime, amr: Sequence[str] = ("pwd",)
) -> UserSession:
    """A session from now on; `amr` is how the person proved who they are (RFC 8176: `pwd`, `otp`; `webauthn`)."""
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
        amr=list(amr),
        expires_at=now + lives[kind],
        ip=info.ip,
        network=info.network,
        network_mac=tokens.network_macs(info)[0],
        user_agent=info.user_agent,
        label=info.client_name,
    )


# By hand, because every authenticated call asks it: the ORM takes ten times longer to word it than PostgreSQL to
# answer it. What comes back needs no conversion on either database.
_LIVE = """
SELECT u.is_superuser, u.email, u.first_name, u.last_name, u.is_staff, s.last_seen_at < %s
FROM users_usersession s JOIN users_user u ON u.id = s.user_id
WHERE s.id = %s AND s.user_id = %s AND s.revoked_at IS NULL AND s.expires_at > %s AND s.last_seen_at > %s
  AND u.is_active
"""
#: In the order of the model's fields, which is what from_db goes by.
_LIVE_FIELDS = ("is_superuser", "id", "email", "first_name", "last_name", "is_active", "is_staff")
_LONG_AGO = timedelta(days=36_500)


def authenticate(token: str) -> User | None:
    """The person an access token stands for, by one query; None when the session or the person may not pass.

    `session_id` is set; the other fields of the user are loaded when they are asked for.
    """
    proved = tokens.read_access(token)
    if proved is None:
        return None
    now = timezone.now()
    idle = idle_since(now, UserSession.Kind.API) or now - _LONG_AGO
    with connection.cursor() as cursor:
        cursor.execute(_LIVE, adapted(now - _SEEN_EVERY, proved.session_id, proved.user_id, now, idle))
        row = cursor.fetchone()
    if row is None:
        return None
    is_superuser, *names, is_staff, is_stale = row
    if is_stale:
        UserSession.objects.filter(pk=proved.session_id).update(last_seen_at=now)
    user = User.from_db(connection.alias, _LIVE_FIELDS, (is_superuser, proved.user_id, *names, True, is_staff))
    user.session_id = proved.session_id
    return user


def note_seen(session: UserSession, now: datetime) -> None:
    """Write the last use at most once a minute."""
    if now - session.last_seen_at > _SEEN_EVERY:
        UserSession.objects.filter(pk=session.pk).update(last_seen_at=now)


# --- Fresh proof ------------------------------------------------------------------------------------------------------


def require_fresh(session_id: uuid.UUID | None) -> UserSession:
    """The session, whose person proved who they are within USERS_REAUTH_SECONDS; REAUTHENTICATION_REQUIRED (403)."""
    now = timezone.now()
    session = UserSession.objects.live(now).filter(pk=session_id).first() if session_id else None
    if session is None or now - session.auth_at > timedelta(seconds=settings.USERS_REAUTH_SECONDS):
        raise ProductError(
            "REAUTHENTICATION_REQUIRED", "Prove once more that it is you: this is a sensitive change.", status=403
        )
    return session


@transaction.atomic
def note_proof(session_id: uuid.UUID, *, amr: Sequence[str], actor: Actor) -> datetime:
    """The person proved again who they are, in the way `amr` names; return when."""
    now = timezone.now()
    session = UserSession.objects.select_related("user").get(pk=session_id)
    session.auth_at = now
    session.amr = sorted({*session.amr, *amr})
    session.save(update_fields=["auth_at", "amr"])
    name = "admin.reauthenticated" if session.kind == UserSession.Kind.ADMIN else "user.reauthenticated"
    audit.record(name, actor=actor, user=session.user, session_id=session.pk, amr=list(amr))
    return now


# --- One's own --------------------------------------------------------------------------------------------------------

#: More live ones than anybody looks through; all of them end together all the same.
_LISTED = 1000


def own(user: User) -> list[UserSession]:
    """The person's live sessions, the admin's included, newest first; the one they act in is always among them."""
    live = UserSession.objects.live(timezone.now()).filter(user=user).order_by("-created_at")
    found = list(live[:_LISTED])
    if len(found) == _LISTED and user.session_id not in {session.pk for session in found}:
        found += live.filter(pk__in=[user.session_id])
    return found


@transaction.atomic
def end_own(user: User, session_id: uuid.UUID | None, *, actor: Actor) -> None:
    """End one of the person's sessions; SESSION_UNKNOWN (404) for an ended one and for somebody else's."""
    session = UserSession.objects.select_related("user").filter(pk__in=[session_id], user_id=user.pk).first()
    if session is None or not end_session(session, reason="owner", actor=actor.as_user(user)):
        raise ProductError("SESSION_UNKNOWN", "No such session.", status=404, detail="Not Found")


@transaction.atomic
def end_others(user: User, *, actor: Actor) -> int:
    """End all of the person's sessions but the one they act in; return how many."""
    ended = end_all_sessions(user.pk, reason="owner", keep=user.session_id)
    if ended:
        audit.record("session.ended", actor=actor.as_user(user), user=user, ended=ended, why="owner")
    return ended


# --- Ends -------------------------------------------------------------------------------------------------------------


def end_sessions(sessions: LiveSessions, *, reason: str) -> int:
    """Revoke those that still live; return how many. The caller writes the event of what it did."""
    now = timezone.now()
    return sessions.live(now).update(revoked_at=now, revoked_reason=reason)


def end_all_sessions(user_id: uuid.UUID, *, reason: str, keep: uuid.UUID | None = None) -> int:
    """Sign a person out everywhere, the admin included, but for the session to `keep`; return how many ended."""
    sessions = UserSession.objects.filter(user_id=user_id)
    return end_sessions(sessions.exclude(pk=keep) if keep else sessions, reason=reason)


def logout(*, access_tokens: Sequence[str], refresh_token: str | None, actor: Actor) -> None:
    """End the sessions these tokens belong to; unknown ones change nothing."""
    ids = {proved.session_id for proved in filter(None, map(tokens.read_access, access_tokens))}
    if refresh_token:
        owned = RefreshToken.objects.filter(hash=tokens.refresh_hash(refresh_token))
        ids |= set(owned.values_list("session_id", flat=True))
    for session in UserSession.objects.filter(pk__in=ids).select_related("user"):
        end_session(session, reason="logout", actor=actor)


def end_session(session: UserSession, *, reason: str, actor: Actor) -> bool:
    """End one session and put it on record; return whether it was live."""
    if not end_sessions(UserSession.objects.filter(pk=session.pk), reason=reason):
        return False
    audit.record("session.ended", actor=actor, user=session.user, session_id=session.pk, why=reason, kind=session.kind)
    return True
