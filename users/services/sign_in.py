"""Signing in: the password, the second factor that may follow, and the same once more before a sensitive change.

A password is `begin`, a comparison in the hashing pool, `finish`: no transaction is open while one is hashed.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar, cast

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import async_db
from lib.actors import Actor, RequestInfo
from lib.addresses import normal_email, typed_email
from lib.asgi import on_lane
from lib.db import adapted, marks
from lib.errors import ProductError
from users.models import AuditEvent, MfaDevice, OneTimeToken, User
from users.services import audit, hashing, passkeys, rate_limits, second_factors, sessions, tokens

T = TypeVar("T")

_KNOWN_FOR = timedelta(days=30)
#: A try whose end was not noted by then is taken for lost.
_UNDER_WAY = timedelta(seconds=10)
#: How long a pending sign-in waits for its second factor.
PENDING_LIFETIME = timedelta(minutes=5)
_MFA_LOGIN = OneTimeToken.Purpose.MFA_LOGIN


# By hand for the sign-ins a second of `make bench`: the ORM takes five times as long to put it into words.
# Of an account that older releases kept in two spellings, the one typed comes first.
_FIND = """
SELECT u.*,
  EXISTS (SELECT 1 FROM users_usersession WHERE user_id = u.id AND network = %s AND network <> '' AND created_at > %s)
    AS knows_network,
  EXISTS (SELECT 1 FROM users_usersession WHERE user_id = u.id AND network_mac IN ({places})) AS knows_place,
  EXISTS (SELECT 1 FROM users_usersession WHERE user_id = u.id) AS has_sessions,
  EXISTS (SELECT 1 FROM users_mfadevice WHERE user_id = u.id AND confirmed_at IS NOT NULL) AS has_factor
FROM users_user u WHERE u.email IN (%s, %s) ORDER BY CASE WHEN u.email = %s THEN 0 ELSE 1 END LIMIT 1
"""


@dataclass(frozen=True)
class Attempt:
    """A counted try: compare the password with `encoded`, then call `finish`. `has_factor`: a second one follows."""

    email: str
    actor: Actor
    user: User | None
    encoded: str
    counted: tuple[rate_limits.Bucket, ...] = ()
    pause_seconds: int = 0
    has_factor: bool = False
    is_new_place: bool = False


class Paused(ProductError):
    """Too many wrong passwords. `may_clear`: the try that led to it may still turn out right."""

    def __init__(self, seconds: int, *, may_clear: bool = False) -> None:
        super().__init__(
            "LOGIN_BAD_CREDENTIALS",
            _("Too many wrong passwords: signing in is paused for a while. A reset by mail lifts the pause."),
            slug="login_paused",
            retry_after=seconds,
        )
        self.may_clear = may_clear


def login_bucket(email: str, info: RequestInfo) -> rate_limits.Bucket:
    return rate_limits.LOGIN.of(email, info.network)


def begin(*, email: str, actor: Actor) -> Attempt:
    """Count the try; nothing is hashed for a refused one.

    Raises Paused (LOGIN_BAD_CREDENTIALS, slug `login_paused`) or TOO_MANY_REQUESTS (429).
    """
    hashing.prepare_decoys()
    sql, given = _sought(email, actor.request)
    user: Any = next(iter(User.objects.raw(sql, adapted(*given))), None)
    buckets = _buckets(user, email, actor.request)
    return _attempt(email, actor, user, buckets, rate_limits.count_try(*buckets, email=email))


async def abegin(*, email: str, actor: Actor) -> Attempt:
    """`begin`, for the sign-ins a second of `make bench` on the event loop where the database can do that."""
    if connection.vendor != "postgresql":
        return await on_lane(begin, email=email, actor=actor)
    if not hashing.has_decoys():
        await on_lane(hashing.prepare_decoys)
    sql, given = _sought(email, actor.request)
    user: Any = next(iter(await async_db.objects(User, sql, *given)), None)
    buckets = _buckets(user, email, actor.request)
    counted = await rate_limits.acount_try(*buckets, email=email)
    return _attempt(email, actor, user, buckets, counted)


def _sought(email: str, info: RequestInfo) -> tuple[str, list[Any]]:
    """_FIND and what it takes. What it adds is no field of the model."""
    macs, spellings = tokens.network_macs(info), (typed_email(email), normal_email(email))
    since = timezone.now() - _KNOWN_FOR
    return _FIND.format(places=marks(macs)), [info.network, since, *macs, *spellings, spellings[0]]


def _buckets(user: Any, email: str, info: RequestInfo) -> list[rate_limits.Bucket]:
    """What a try counts in; the first is the account's from this network."""
    buckets = [login_bucket(email, info)]
    # A network its owner signs in from buys a stranger there nothing: its own counter, the one above, is the narrower.
    if not (user and user.knows_network):
        known = tokens.known_device(info.device, normal_email(email))
        buckets.append(rate_limits.LOGIN_DEVICE.of(email, known) if known else rate_limits.LOGIN_ACCOUNT.of(email))
    return buckets + rate_limits.of_ip(rate_limits.LOGIN_IP, info.ip)


def _attempt(
    email: str, actor: Actor, user: Any, buckets: list[rate_limits.Bucket], counted: int | rate_limits.Block
) -> Attempt:
    if isinstance(counted, rate_limits.Block):
        if counted.limit is rate_limits.LOGIN_IP:
            raise rate_limits.too_many(counted)
        has_ended = counted.failed_at is not None and counted.failed_at >= counted.since
        is_lost = timezone.now() - counted.since > _UNDER_WAY
        raise Paused(counted.seconds, may_clear=not has_ended and not is_lost)
    email, noted = normal_email(email), (tuple(buckets), counted)
    if user is None or not hashing.is_comparable(user.password):
        return Attempt(email, actor, None, hashing.decoy(email), *noted)
    is_new = user.has_sessions and not (user.knows_place and tokens.known_device(actor.request.device, email))
    return Attempt(email, actor, user, user.password, *noted, has_factor=user.has_factor, is_new_place=is_new)


def is_paused(*, email: str, actor: Actor) -> bool:
    """Whether `begin` would refuse now; counts nothing."""
    return rate_limits.is_blocked(login_bucket(normal_email(email), actor.request))


def compare(attempt: Attempt, password: str) -> hashing.Checked:
    """What the comparison comes to; a try that the full queue turns away does not count. BUSY (503)."""
    try:
        return hashing.check(password, attempt.encoded)
    except ProductError:
        give_up(attempt)
        raise


def give_up(attempt: Attempt) -> None:
    """The password was never compared (the hashing queue was full): the try does not count."""
    rate_limits.settle(given_back=attempt.counted)


def note_failure(attempt: Attempt, *, why: str) -> None:
    """Put the failed try on record, and the pause it led to; `abandoned` where the client left before the outcome."""
    about: dict[str, Any] = {"actor": attempt.actor, "user": attempt.user, "email": attempt.email}
    events = [audit.event("login.failed", outcome="failed", why=why, **about)]
    if attempt.pause_seconds:
        events.append(audit.event("login.paused", outcome="refused", pause_seconds=attempt.pause_seconds, **about))
    AuditEvent.objects.bulk_create(events)


def note_success(attempt: Attempt) -> None:
    """The password was right: the wrong ones from here are forgotten, and the try counts nowhere else."""
    rate_limits.settle(forgotten=attempt.counted[:1], given_back=attempt.counted[1:])


def finish(attempt: Attempt, checked: hashing.Checked) -> User:
    """Whose password it is; LOGIN_BAD_CREDENTIALS or LOGIN_USER_NOT_VERIFIED. Ends the count of wrong passwords."""
    user = attempt.user
    why = _flaw(user, checked)
    if user is None or why:
        note_failure(attempt, why=why)
        raise bad_credentials()
    note_success(attempt)
    if not user.is_verified:
        audit.record("login.failed", actor=attempt.actor, user=user, outcome="refused", why="unverified")
        raise ProductError("LOGIN_USER_NOT_VERIFIED", _("The address is not verified yet."))
    if checked.rehash:
        # Over the hash that was compared alone: a change made meanwhile wins. What goes on is bound to the one kept.
        if User.objects.filter(pk=user.pk, password=user.password).update(password=checked.rehash):
            user.password = checked.rehash
        else:
            # Another sign-in with the same password may have come first.
            same = User.objects.filter(pk=user.pk, password_changed_at=user.password_changed_at)
            user.password = same.values_list("password", flat=True).first() or user.password
    return user


def _flaw(user: User | None, checked: hashing.Checked) -> str:
    """The audit log's reason why this is refused like a wrong password; else empty."""
    if user is None:
        return "unknown"
    if not checked.is_right:
        return "wrong"
    if not user.is_active:
        return "inactive"
    if user.must_reset:
        return "must_reset"
    # Unverified accounts hide: a sign-in right after registering would show whether the address was taken.
    return "unverified" if settings.USERS_REGISTER_ENUMERATION == "safe" and not user.is_verified else ""


def open_session(attempt: Attempt, checked: hashing.Checked) -> sessions.Tokens:
    """`finish`, then a new API session with its first pair of tokens.

    With a second factor: LOGIN_MFA_REQUIRED (403), whose answer carries what `/auth/mfa/verify` asks for.
    """
    user = finish(attempt, checked)
    if attempt.has_factor:
        row = start_pending(user, attempt.actor)
        extra = {"mfa_token": tokens.one_time_token(row), "methods": second_factors.methods(user)}
        raise ProductError("LOGIN_MFA_REQUIRED", _("A second factor is needed."), status=403, extra=extra)
    now = timezone.now()
    with transaction.atomic():
        # Asked again, and locked: a deactivation or a new password since the comparison must not be outrun.
        unchanged = User.objects.filter(pk=user.pk, is_active=True, password=user.password)
        if not unchanged.update(last_login=now, language=sessions.language_of(user, attempt.actor)):
            raise bad_credentials()
        # What adds a factor locks the person, too: it is there by now, or will end the session that opens here.
        if second_factors.has_factor(user):
            raise bad_credentials()
        return sessions.signed_in(user, attempt.actor, now, amr=("pwd",), is_new_place=attempt.is_new_place)


async def aopen_session(attempt: Attempt, checked: hashing.Checked) -> sessions.Tokens:
    """`open_session`, for the sign-ins a second of `make bench` by one statement on the event loop, where the database
    can do that and there is nothing else to see to."""
    user = attempt.user
    is_usual = not (_flaw(user, checked) or checked.rehash or attempt.has_factor or attempt.is_new_place)
    if user is not None and user.is_verified and is_usual:
        made = await sessions.aopen(user, attempt.actor, counted=attempt.counted)
        if made is not None:
            return made
    return await on_lane(open_session, attempt, checked)


def bad_credentials() -> ProductError:
    return ProductError("LOGIN_BAD_CREDENTIALS", _("The address or the password is wrong."))


# --- The second factor ------------------------------------------------------------------------------------------------


def start_pending(user: User, actor: Actor, *, lifetime: timedelta = PENDING_LIFETIME) -> OneTimeToken:
    """Remember that the password of this person was right; a new password makes it void."""
    payload = {"password": tokens.fingerprint(user.password)}
    row = tokens.issue(user, _MFA_LOGIN, email=user.email, lasts=lifetime, payload=payload)
    audit.record("login.factor_required", actor=actor, user=user)
    return row


def find_pending(token: str) -> OneTimeToken:
    """The pending sign-in a token stands for, still unspent; MFA_BAD_CODE (slug `mfa_token_invalid`) otherwise."""
    row = tokens.find(token, _MFA_LOGIN)
    if row is None:
        raise _expired()
    return row


def find_pending_by_id(row_id: uuid.UUID | None) -> OneTimeToken | None:
    """The pending sign-in of this id, for a door that kept the id itself; None when its person may not go on."""
    found = OneTimeToken.open(timezone.now()).filter(pk__in=[row_id], purpose=_MFA_LOGIN)
    row = found.select_related("user").first()
    return row if row and _is_unchanged(row, cast(User, row.user)) else None


def _is_unchanged(row: OneTimeToken, user: User) -> bool:
    return user.is_active and tokens.is_fingerprint(row.payload["password"], user.password)


def finish_by_code(*, token: str, method: str, code: str, actor: Actor) -> sessions.Opened:
    """Finish a sign-in with a code of `method` (`totp`, `recovery`); MFA_BAD_CODE. Call it outside a transaction."""
    row = find_pending(token)
    return prove(row, method=method, code=code, actor=actor, then=partial(complete, row, actor=actor))


def prove(row: OneTimeToken, *, method: str, code: str, actor: Actor, then: Callable[..., T]) -> T:
    """`then(amr=...)`, when the code is right; MFA_BAD_CODE. Call it outside a transaction.

    The code and what waited for it are spent together: neither is lost to a parallel try with the same.
    """
    user = cast(User, row.user)
    counted = second_factors.count_try(user)
    with transaction.atomic():
        is_right = second_factors.spend(user, method=method, code=code, actor=actor)
        result = then(amr=("pwd", second_factors.AMR[method])) if is_right else None
    if result is None:
        raise second_factors.bad_code(user, counted, method=method, actor=actor)
    rate_limits.settle(forgotten=[rate_limits.FACTOR.of(user.email)])
    return result


def finish_by_passkey(*, token: str, ceremony: str, credential: Any, actor: Actor) -> sessions.Opened:
    """Finish a sign-in with a passkey; MFA_BAD_CODE, PASSKEY_REJECTED."""
    row = find_pending(token)
    device = passkeys.check(ceremony=ceremony, credential=credential, actor=actor, user=row.user)
    return complete(row, amr=("pwd", second_factors.AMR[second_factors.WEBAUTHN]), actor=actor, passkey=device)


@transaction.atomic
def complete(
    row: OneTimeToken, *, amr: tuple[str, ...], actor: Actor, passkey: MfaDevice | None = None
) -> sessions.Opened:
    """Spend the pending sign-in, whose second factor is proved, and open the session; MFA_BAD_CODE."""
    return sessions.opened(spend_pending(row, passkey=passkey), actor, timezone.now(), amr=amr)


def spend_pending(row: OneTimeToken, *, passkey: MfaDevice | None = None) -> User:
    """Spend the pending sign-in; return its person, locked. Call it in a transaction. MFA_BAD_CODE when it is over;
    PASSKEY_REJECTED when the `passkey` that was its second step is removed by now."""
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    if passkey is not None:
        passkeys.require_kept(passkey)
    if not _is_unchanged(row, user) or not tokens.use_up(row):
        raise _expired()
    return user


def _expired() -> ProductError:
    message = _("The sign-in has expired; start again with the password.")
    return ProductError("MFA_BAD_CODE", message, slug="mfa_token_invalid")


# --- Once more, before a sensitive change -----------------------------------------------------------------------------


def begin_own(user: User, *, actor: Actor) -> Attempt:
    """Count a try at the own password like one at sign-in: compare with `encoded`, then call `check_own`. Raises
    PASSWORD_WRONG (slug `login_paused`, Retry-After) during a pause; TOO_MANY_REQUESTS (429)."""
    try:
        return begin(email=user.email, actor=actor)
    except Paused as pause:
        raise ProductError("PASSWORD_WRONG", pause.message, slug=pause.slug, retry_after=pause.retry_after) from None


def check_own(user: User, attempt: Attempt, checked: hashing.Checked, *, why: str) -> None:
    """Note what the comparison with the own password came to; `why` is the audit log's reason for a wrong one.
    Raises PASSWORD_WRONG."""
    if attempt.user is None or attempt.user.pk != user.pk or not checked.is_right:
        note_failure(attempt, why=why)
        raise wrong_password()
    note_success(attempt)


def wrong_password() -> ProductError:
    return ProductError("PASSWORD_WRONG", _("The password is wrong."))


def reauthenticate_by_password(user: User, attempt: Attempt, checked: hashing.Checked) -> datetime:
    """Note the proof from a comparison; return when it was given; PASSWORD_WRONG."""
    check_own(user, attempt, checked, why="wrong_at_reauthentication")
    return sessions.note_proof(user, "pwd", actor=attempt.actor)


def reauthenticate_by_code(user: User, *, code: str, actor: Actor) -> datetime:
    """The same from a code of the app (digits) or a recovery code, which is spent; MFA_BAD_CODE."""
    method = second_factors.TOTP if "".join(code.split()).isdigit() else second_factors.RECOVERY
    amr = second_factors.check_code(user, method=method, code=code, actor=actor)
    return sessions.note_proof(user, amr, actor=actor)


def reauthenticate_by_passkey(user: User, *, ceremony: str, credential: Any, actor: Actor) -> datetime:
    """The same from a passkey of the person's; PASSKEY_REJECTED."""
    passkeys.check(ceremony=ceremony, credential=credential, actor=actor, user=user)
    return sessions.note_proof(user, second_factors.AMR[second_factors.WEBAUTHN], actor=actor)
