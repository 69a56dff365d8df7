"""Sessions: opened by a sign-in, asked about by every call, ended by people, staff and time."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, IntegrityError, connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import async_db
from lib.actors import Actor, RequestInfo
from lib.asgi import on_lane
from lib.db import adapted, marks
from lib.errors import ProductError
from users.models import ApiKey, AuditEvent, LiveSessions, RefreshToken, User, UserSession, idle_since
from users.services import audit, rate_limits, security_mails, tokens

_SEEN_EVERY = timedelta(minutes=1)


def new_session(
    user: User, info: RequestInfo, kind: UserSession.Kind, now: datetime, amr: Sequence[str] = ("pwd",)
) -> UserSession:
    """A session from now on; `amr` is how the person proved who they are (RFC 8176: `pwd`, `otp`; `webauthn`)."""
    session = _session(user, info, kind, now, amr)
    session.save(force_insert=True)
    return session


def _session(user: User, info: RequestInfo, kind: UserSession.Kind, now: datetime, amr: Sequence[str]) -> UserSession:
    lives = {
        UserSession.Kind.API: timedelta(seconds=settings.USERS_SESSION_MAX_SECONDS),
        UserSession.Kind.ADMIN: timedelta(seconds=settings.SESSION_COOKIE_AGE),
    }
    return UserSession(
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


# By hand, because every authenticated call asks it: for the ORM, putting it into words takes ten times as long as the
# answer of PostgreSQL (`make bench-accounts`). What comes back needs no conversion on either database.
_LIVE = """
SELECT u.is_superuser, u.email, u.first_name, u.last_name, u.is_staff, s.last_seen_at < %s
FROM users_usersession s JOIN users_user u ON u.id = s.user_id
WHERE s.id = %s AND s.user_id = %s AND s.revoked_at IS NULL AND s.expires_at > %s AND s.last_seen_at > %s
  AND u.is_active
"""
_SEEN = "UPDATE users_usersession SET last_seen_at = %s WHERE id = %s"
#: In the order of the model's fields, which is what from_db goes by.
_LIVE_FIELDS = ("is_superuser", "id", "email", "first_name", "last_name", "is_active", "is_staff")
_LONG_AGO = timedelta(days=36_500)


async def authenticate(token: str) -> User | None:
    """The person an access token stands for, by one query; None when the session or the person may not pass.

    `session_id` is set; the other fields of the user are loaded when they are asked for.
    """
    proved = tokens.read_access(token)
    if proved is None:
        return None
    now = timezone.now()
    idle = idle_since(now, UserSession.Kind.API) or now - _LONG_AGO
    rows = await async_db.fetch(_LIVE, now - _SEEN_EVERY, proved.session_id, proved.user_id, now, idle)
    if not rows:
        return None
    is_superuser, *names, is_staff, is_stale = rows[0]
    if is_stale:
        await async_db.fetch(_SEEN, now, proved.session_id)
    user = User.from_db(DEFAULT_DB_ALIAS, _LIVE_FIELDS, (is_superuser, proved.user_id, *names, True, is_staff))
    user.session_id = proved.session_id
    return user


def note_seen(session: UserSession, now: datetime) -> None:
    """Write the last use at most once a minute."""
    if now - session.last_seen_at > _SEEN_EVERY:
        UserSession.objects.filter(pk=session.pk).update(last_seen_at=now)


def require_fresh(session_id: uuid.UUID | None) -> UserSession:
    """The session, whose person proved who they are within USERS_REAUTH_SECONDS; REAUTHENTICATION_REQUIRED (403)."""
    now = timezone.now()
    session = UserSession.objects.live(now).filter(pk=session_id).first() if session_id else None
    if session is None or now - session.auth_at > timedelta(seconds=settings.USERS_REAUTH_SECONDS):
        message = _("Prove once more that it is you: this is a sensitive change.")
        raise ProductError("REAUTHENTICATION_REQUIRED", message, status=403)
    return session


@transaction.atomic
def note_proof(user: User, amr: str, *, actor: Actor) -> datetime:
    """The person proved again who they are, in the way `amr` names, in the session they act in; return when."""
    if user.session_id is None:
        raise ValueError("a proof belongs to a session")
    session = UserSession.objects.select_related("user").get(pk=user.session_id)
    session.auth_at = timezone.now()
    session.amr = sorted({*session.amr, amr})
    session.save(update_fields=["auth_at", "amr"])
    name = "admin.reauthenticated" if session.kind == UserSession.Kind.ADMIN else "user.reauthenticated"
    audit.record(name, actor=actor, user=session.user, session_id=session.pk, amr=[amr])
    return session.auth_at


#: More live ones than a person looks through; all of them end together all the same.
_LISTED = 1000


# By hand for the list's CPU in `make bench-accounts`: what `LiveSessions.live` says, in the order of the list.
_OWN = """
SELECT id, user_id, kind, created_at, last_seen_at, amr, expires_at, ip, user_agent, label FROM users_usersession
WHERE user_id = %s AND revoked_at IS NULL AND expires_at > %s
  AND (kind <> 'api' OR last_seen_at > %s)
  AND (kind <> 'admin' OR last_seen_at > %s)
ORDER BY created_at DESC LIMIT %s
"""


async def own(user: User) -> list[UserSession]:
    """The person's live sessions, the admin's included, newest first; the one they act in is always among them."""
    now = timezone.now()
    idle = [idle_since(now, kind) or now - _LONG_AGO for kind in (UserSession.Kind.API, UserSession.Kind.ADMIN)]
    found = await async_db.objects(UserSession, _OWN, user.pk, now, *idle, _LISTED)
    if len(found) == _LISTED and user.session_id not in {session.pk for session in found}:
        found += [
            session async for session in UserSession.objects.live(now).filter(user=user, pk__in=[user.session_id])
        ]
    return found


@transaction.atomic
def end_own(user: User, session_id: uuid.UUID | None, *, actor: Actor) -> None:
    """End one of the person's sessions; SESSION_UNKNOWN (404) for an ended one and for another user's."""
    session = UserSession.objects.select_related("user").filter(pk__in=[session_id], user_id=user.pk).first()
    if session is None or not end_session(session, reason="owner", actor=actor.as_user(user)):
        raise ProductError("SESSION_UNKNOWN", _("No such session."), status=404, detail="Not Found")


@transaction.atomic
def end_others(user: User, *, actor: Actor) -> int:
    """End all of the person's sessions but the one they act in; return how many."""
    ended = end_all_sessions(user.pk, reason="owner", keep=user.session_id)
    if ended:
        audit.record("session.ended", actor=actor.as_user(user), user=user, ended=ended, why="owner")
    return ended


def end_sessions(sessions: LiveSessions, *, reason: str) -> int:
    """Revoke those that still live; return how many. The caller writes the event of what it did."""
    now = timezone.now()
    return sessions.live(now).update(revoked_at=now, revoked_reason=reason)


def end_all_sessions(user_id: uuid.UUID, *, reason: str, keep: uuid.UUID | None = None) -> int:
    """Sign a person out everywhere, the admin included, but for the session to `keep`; return how many ended.

    Where none is kept somebody else may have been in: the API keys, which they may have made, end as well.
    """
    if keep is None:
        now = timezone.now()
        # One that is being made is there before this, or is refused after it (api_keys.py).
        User.objects.select_for_update().filter(pk=user_id).only("pk").first()
        ApiKey.objects.live(now).filter(user_id=user_id).update(revoked_at=now)
    sessions = UserSession.objects.filter(user_id=user_id)
    return end_sessions(sessions.exclude(pk=keep) if keep else sessions, reason=reason)


#: Rows of each kind that one call of `forget_some` deletes.
_ROWS = 2_000


def forget_some(users: Sequence[User]) -> bool:
    """Delete sessions of these users and their refresh tokens, up to a number of rows; return whether that was all."""
    keys = [user.pk for user in users]
    links = list(RefreshToken.objects.filter(session__user__in=keys).values_list("pk", flat=True)[:_ROWS])
    keep_successors(links)
    RefreshToken.objects.filter(pk__in=links).delete()
    if len(links) == _ROWS:
        return False
    ended = list(UserSession.objects.filter(user__in=keys).values_list("pk", flat=True)[:_ROWS])
    UserSession.objects.filter(pk__in=ended).delete()
    return len(ended) < _ROWS


def keep_successors(links: Sequence[int]) -> None:
    """Part refresh tokens that are to be deleted from what came after them, which would go with them."""
    RefreshToken.objects.filter(parent__in=links).update(parent=None)


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


# --- Refresh tokens ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tokens:
    """Lives are whole seconds. `refresh` is None when the client keeps the one it has."""

    access: str
    access_seconds: int
    refresh: str | None
    refresh_seconds: int


def _tokens(user: User, session: UserSession, refresh: str | None, now: datetime) -> Tokens:
    left = int((session.expires_at - now).total_seconds())
    return Tokens(
        access=tokens.make_access(user, session.pk, now),
        access_seconds=settings.USERS_ACCESS_TOKEN_EXPIRE_SECONDS,
        refresh=refresh,
        refresh_seconds=min(settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS, left),
    )


async def refresh(*, token: str, actor: Actor) -> Tokens:
    """Rotate a refresh token (RFC 9700, 4.14.2): a new access token and the successor of `token`.

    All who present one token within the leeway get the same successor, and later, too, while that one was never used
    and `token` was not itself answered so late; the owner is mailed. Else it is a replay: the session ends, which is on
    record and mailed to its owner.

    Raises:
        REFRESH_TOKEN_INVALID (400): anything not live, a replay included.
        TOO_MANY_REQUESTS (429): over the session's limit.
    """
    # What most refreshes are needs two statements; the lane sees to all others, and to each on other databases.
    made = await _rotate(token)
    return await on_lane(_refresh, token, actor) if made is None else made


def _refresh(token: str, actor: Actor) -> Tokens:
    try:
        result = _try_refresh(token, actor)
    except IntegrityError:
        # Two callers without row locks between them: the other one wrote the successor, which is now there to read.
        result = _try_refresh(token, actor)
    if isinstance(result, rate_limits.Block):
        raise rate_limits.too_many(result)
    if result is None:
        raise ProductError("REFRESH_TOKEN_INVALID", _("The refresh token is not valid."))
    return result


# By hand for the refreshes a second of `make bench-accounts`. It locks the token's row alone, and filters by the hash
# alone: a waiting transaction must see that row as it became.
_FIND = """
SELECT s.id, s.user_id, s.kind, s.label, s.last_seen_at, s.expires_at, s.revoked_at, u.email, u.first_name,
  t.id AS token_id, u.is_active AND t.created_at > %s AS is_good, t.used_at IS NULL AS is_unused,
  t.used_at >= %s AS is_in_leeway
FROM users_refreshtoken t JOIN users_usersession s ON s.id = t.session_id JOIN users_user u ON u.id = s.user_id
WHERE t.hash = %s {lock}
"""
_SPEND = "UPDATE users_refreshtoken SET used_at = %s WHERE id = %s"
_STORE = "INSERT INTO users_refreshtoken (hash, session_id, parent_id, created_at) VALUES (%s, %s, %s, %s)"


# All of a refresh that nothing is in the way of. Of several at once one finds its token unused; the others wait for it,
# find nothing, and have counted nothing.
_ROTATE = """
WITH token AS (SELECT id, session_id FROM users_refreshtoken WHERE id = %s AND used_at IS NULL FOR UPDATE),
counted AS ({counted}),
spent AS (UPDATE users_refreshtoken t SET used_at = %s FROM token, counted WHERE t.id = token.id
  RETURNING t.session_id, t.id)
INSERT INTO users_refreshtoken (session_id, parent_id, hash, created_at) SELECT spent.*, %s, %s FROM spent RETURNING id
"""


async def _rotate(token: str) -> Tokens | None:
    """The successor of an unused token, for the refreshes a second of `make bench-accounts`; None, and nothing done,
    where anything else is to be considered."""
    if connection.vendor != "postgresql" or not settings.USERS_REFRESH_ROTATION:
        return None
    now = timezone.now()
    session = _known(await async_db.objects(UserSession, _FIND.format(lock=""), *_sought(token, now)))
    if session is None or not (session.is_good and session.is_unused and session.is_live(now)):
        return None
    if settings.USERS_SESSION_IDLE_SECONDS and now - session.last_seen_at > _SEEN_EVERY:
        return None
    successor = tokens.refresh_successors(token)[0]
    count = rate_limits.values(rate_limits.REFRESH.of_thing("session", session.pk.hex))
    sql = _ROTATE.format(counted=rate_limits.RESERVE_IN_WITH.format(only_if="EXISTS (SELECT 1 FROM token)"))
    stored = await async_db.fetch(sql, session.token_id, *count, now, tokens.refresh_hash(successor), now)
    return _tokens(session.user, session, successor, now) if stored else None


def _sought(token: str, now: datetime) -> tuple[Any, ...]:
    """What _FIND asks for."""
    youngest = now - timedelta(seconds=settings.USERS_REFRESH_TOKEN_EXPIRE_SECONDS)
    leeway = now - timedelta(seconds=settings.USERS_REFRESH_LEEWAY_SECONDS)
    return youngest, leeway, tokens.refresh_hash(token)


def _known(found: Iterable[Any]) -> Any:
    """The session that _FIND found, with what is known of the token and of its user; None for an unknown token."""
    session = next(iter(found), None)
    if session is not None:
        session.user = User.from_db(
            DEFAULT_DB_ALIAS, ("id", "email", "first_name"), (session.user_id, session.email, session.first_name)
        )
    return session


def _store(token: str, session: UserSession, now: datetime, parent_id: int | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_STORE, adapted(tokens.refresh_hash(token), session.pk, parent_id, now))


@transaction.atomic
def _try_refresh(token: str, actor: Actor) -> Tokens | rate_limits.Block | None:
    """Refusals are returned, not raised: what they write must last."""
    now = timezone.now()
    sql = _FIND.format(lock="FOR UPDATE OF t" if connection.features.has_select_for_update_of else "")
    session = _known(UserSession.objects.raw(sql, adapted(*_sought(token, now))))
    if session is None or not (session.is_good and session.is_live(now)):
        return None
    user = session.user
    if block := rate_limits.reserve(rate_limits.REFRESH.of_thing("session", session.pk.hex)):
        return block
    if settings.USERS_SESSION_IDLE_SECONDS:
        note_seen(session, now)
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
    if end_sessions(UserSession.objects.filter(pk=session.pk), reason="replay"):
        audit.record("session.replay", actor=actor, user=user, session_id=session.pk, outcome="refused")
        security_mails.session_replay(user, label=session.label, at=now)
    return None


def _answered_again(token: str, session: Any, actor: Actor, now: datetime) -> str | None:
    """The successor of a spent token whose answer was lost on the way: it has not been used yet.

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
        security_mails.session_resumed(session.user, info=actor.request, at=now)
    return successor


def _newest(token: str) -> str:
    """Follow the chain to its end: each step is computed, and looked up to see that it is there."""
    while True:
        by_hash = {tokens.refresh_hash(candidate): candidate for candidate in tokens.refresh_successors(token)}
        known = RefreshToken.objects.filter(hash__in=list(by_hash)).values_list("hash", flat=True).first()
        if known is None:
            return token
        token = by_hash[bytes(known)]


# --- Start ------------------------------------------------------------------------------------------------------------

#: From so many failures on, the next sign-in is followed by a mail.
_MANY_FAILURES = 5

# By hand for the sign-ins a second of `make bench`.
_FAILURES = """
SELECT COUNT(*) FROM (SELECT event, at FROM users_auditevent WHERE user_id = %s ORDER BY id DESC LIMIT 200) AS newest
WHERE event IN ('login.failed', 'mfa.failed') AND at > %s
"""

# All of a sign-in that nothing is out of the ordinary about. A factor added meanwhile changed `updated_at`.
_OPEN = """
WITH person AS (UPDATE users_user SET last_login = %s, language = %s
  WHERE id = %s AND is_active AND password = %s AND updated_at = %s AND ({failures}) < %s RETURNING id),
settled AS ({settled}),
session AS (INSERT INTO users_usersession ({session}) SELECT {session_values} FROM person RETURNING id),
noted AS (INSERT INTO users_auditevent ({event}) SELECT {event_values} FROM person)
INSERT INTO users_refreshtoken (hash, session_id, created_at) SELECT %s, id, %s FROM session RETURNING id
"""

#: Whose session was opened, and its first pair of tokens.
Opened = tuple[User, Tokens]


def is_new_place(user: User, actor: Actor) -> bool:
    """Whether an account that was signed in to before was not from here; the owner is mailed about it then.

    Known by the cookie that a sign-in left, with a network and program seen before: an office shares a network, and a
    program names itself as it likes.
    """
    own, macs = UserSession.objects.filter(user=user), tokens.network_macs(actor.request)
    if tokens.known_device(actor.request.device, user.email) and own.filter(network_mac__in=macs).exists():
        return False
    return own.exists()


def signed_in(user: User, actor: Actor, now: datetime, *, amr: Sequence[str], is_new_place: bool) -> Tokens:
    """A new API session; the owner hears of a new place, and of many failures before. Call it in a transaction."""
    session = new_session(user, actor.request, UserSession.Kind.API, now, amr)
    note_sign_in(user, session, actor, is_new_place=is_new_place)
    refresh = tokens.new_refresh()
    _store(refresh, session, now)
    return _tokens(user, session, refresh, now)


async def aopen(user: User, actor: Actor, *, counted: Sequence[rate_limits.Bucket]) -> Tokens | None:
    """`signed_in` by the password from a known place, and the end of the count of wrong ones; None, and nothing done,
    where anything else is to be considered. `user` is the row as it was found before the password was compared."""
    if connection.vendor != "postgresql":
        return None
    now, refresh = timezone.now(), tokens.new_refresh()
    session = _session(user, actor.request, UserSession.Kind.API, now, ("pwd",))
    session_columns, session_values = async_db.row(session)
    event_columns, event_values = async_db.row(_signed_in(user, session, actor))
    settled, keys = rate_limits.settling(
        forgotten=counted[:1], given_back=counted[1:], only_if="AND EXISTS (SELECT 1 FROM person)"
    )
    sql = _OPEN.format(
        failures=_FAILURES,
        settled=settled,
        session=session_columns,
        session_values=marks(session_values),
        event=event_columns,
        event_values=marks(event_values),
    )
    unchanged = (now, language_of(user, actor), user.pk, user.password, user.updated_at)
    failures = (user.pk, user.last_login or user.created_at, _MANY_FAILURES)
    more = (*keys, *session_values, *event_values, tokens.refresh_hash(refresh), now)
    done = await async_db.fetch(sql, *unchanged, *failures, *more)
    return _tokens(user, session, refresh, now) if done else None


def opened(user: User, actor: Actor, now: datetime, *, amr: Sequence[str]) -> Opened:
    """`signed_in` for a person whose row is locked and fit: the place is looked up, the sign-in noted on the row."""
    is_new = is_new_place(user, actor)
    User.objects.filter(pk=user.pk).update(last_login=now, language=language_of(user, actor))
    return user, signed_in(user, actor, now, amr=amr, is_new_place=is_new)


def language_of(user: User, actor: Actor) -> str:
    """What mails to the user are written in after this sign-in."""
    return user.chosen_language or actor.request.language or user.language


def note_sign_in(user: User, session: UserSession, actor: Actor, *, is_new_place: bool) -> None:
    """Put a sign-in on record and mail the owner what is out of the ordinary. `user.last_login` is the one before.

    Failed tries since then are counted as far as the account's newest 200 events go.
    """
    since = user.last_login or user.created_at
    with connection.cursor() as cursor:
        cursor.execute(_FAILURES, adapted(user.pk, since))
        [failures] = cursor.fetchone()
    _signed_in(user, session, actor).save(force_insert=True)
    if failures >= _MANY_FAILURES:
        security_mails.sign_in_after_failures(user, count=failures, info=actor.request, at=session.created_at)
    if is_new_place:
        security_mails.new_sign_in(user, info=actor.request, at=session.created_at)


def _signed_in(user: User, session: UserSession, actor: Actor) -> AuditEvent:
    return audit.event("login.ok", actor=actor, user=user, session_id=session.pk, amr=session.amr, kind=session.kind)
