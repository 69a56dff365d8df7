"""Sign in with a password.

Signing in is `begin`, a comparison in the hashing pool, `finish`: no transaction is open while a password is hashed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from lib.addresses import normal_email, typed_email
from lib.db import adapted, marks
from lib.errors import ProductError
from users.models import AuditEvent, User
from users.services import audit, devices, hashing, pending_sign_in, rate_limits, second_factors, sessions, tokens

_KNOWN_FOR = timedelta(days=30)
#: A try whose end was not noted by then is taken for lost.
_UNDER_WAY = timedelta(seconds=10)

_LOOK_UP = """
SELECT u.*,
  EXISTS (SELECT 1 FROM users_usersession s
          WHERE s.user_id = u.id AND s.network = %s AND s.network <> '' AND s.created_at > %s) AS knows_network,
  EXISTS (SELECT 1 FROM users_usersession s WHERE s.user_id = u.id AND s.network_mac IN ({places})) AS knows_place,
  EXISTS (SELECT 1 FROM users_usersession s WHERE s.user_id = u.id) AS has_sessions,
  EXISTS (SELECT 1 FROM users_mfadevice d WHERE d.user_id = u.id AND d.confirmed_at IS NOT NULL) AS has_factor
FROM users_user u WHERE u.email IN (%s, %s) ORDER BY CASE u.email WHEN %s THEN 0 ELSE 1 END
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
    place: sessions.Place = sessions.Place.FIRST


class Paused(ProductError):
    """Too many wrong passwords. `may_clear`: the try that led to it may still turn out right."""

    def __init__(self, seconds: int, *, may_clear: bool = False) -> None:
        super().__init__(
            "LOGIN_BAD_CREDENTIALS",
            "Too many wrong passwords: signing in is paused for a while. A reset by mail lifts the pause.",
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
    user: Any = _look_up(email, actor)
    email = normal_email(email)
    known = devices.known(actor.request.device, email)
    buckets = [login_bucket(email, actor.request)]
    # A network its owner signs in from buys a stranger there nothing: its own counter, the one above, is the narrower.
    if not (user and user.knows_network):
        buckets.append(rate_limits.LOGIN_DEVICE.of(email, known) if known else rate_limits.LOGIN_ACCOUNT.of(email))
    buckets += rate_limits.of_ip(rate_limits.LOGIN_IP, actor.request.ip)
    failures = AuditEvent.objects.filter(subject_mac=audit.subject(email), event="login.failed")
    counted = rate_limits.count_try(*buckets, failures=failures)
    if isinstance(counted, rate_limits.Block):
        raise _refusal(counted)
    noted = (tuple(buckets), counted.pause_seconds)
    if user is None or not hashing.is_comparable(user.password):
        return Attempt(email, actor, None, hashing.decoy(email), *noted)
    return Attempt(
        email,
        actor,
        user,
        user.password,
        *noted,
        has_factor=bool(user.has_factor),
        place=sessions.Place.KNOWN
        if known and user.knows_place
        else sessions.Place.NEW
        if user.has_sessions
        else sessions.Place.FIRST,
    )


def _look_up(email: str, actor: Actor) -> User | None:
    """The account and what is known of the caller's place, by one query."""
    places, typed = tokens.network_macs(actor.request), typed_email(email)
    values = adapted(actor.request.network, timezone.now() - _KNOWN_FOR, *places, typed, normal_email(email), typed)
    return next(iter(User.objects.raw(_LOOK_UP.format(places=marks(places)), values)), None)


def _refusal(block: rate_limits.Block) -> ProductError:
    if block.limit is rate_limits.LOGIN_IP:
        return rate_limits.too_many(block)
    has_ended = block.failed_at is not None and block.failed_at >= block.since
    is_lost = timezone.now() - block.since > _UNDER_WAY
    return Paused(block.seconds, may_clear=not has_ended and not is_lost)


def is_paused(*, email: str, actor: Actor) -> bool:
    """Whether `begin` would refuse now; counts nothing."""
    return rate_limits.is_blocked(login_bucket(normal_email(email), actor.request))


def abandon(attempt: Attempt) -> None:
    """The client disconnected before the outcome: the try stays counted as a failure."""
    note_failure(attempt, why="abandoned")


def give_up(attempt: Attempt) -> None:
    """The password was never compared (the hashing queue was full): the try does not count."""
    rate_limits.give_back(*attempt.counted)


def note_failure(attempt: Attempt, *, why: str) -> None:
    """Put the failed try on record, and the pause it led to."""
    about: dict[str, Any] = {"actor": attempt.actor, "user": attempt.user, "email": attempt.email}
    events = [audit.event("login.failed", outcome="failed", why=why, **about)]
    if attempt.pause_seconds:
        events.append(audit.event("login.paused", outcome="refused", pause_seconds=attempt.pause_seconds, **about))
    audit.record_all(events)


def note_success(attempt: Attempt) -> None:
    """The password was right: the wrong ones from here are forgotten, and the try counts nowhere else."""
    rate_limits.settle(forgotten=attempt.counted[:1], given_back=attempt.counted[1:])


def finish(attempt: Attempt, checked: hashing.Checked) -> User:
    """Whose password it is; LOGIN_BAD_CREDENTIALS or LOGIN_USER_NOT_VERIFIED. Ends the count of wrong passwords."""
    user = attempt.user
    if user is None or not checked.is_right or not user.is_active or user.must_reset or _is_hidden(user):
        note_failure(attempt, why=_why(user, checked))
        raise bad_credentials()
    note_success(attempt)
    if not user.is_verified:
        audit.record("login.failed", actor=attempt.actor, user=user, outcome="refused", why="unverified")
        raise ProductError("LOGIN_USER_NOT_VERIFIED", "The address is not verified yet.")
    if checked.rehash:
        _renew_hash(user, checked.rehash)
    return user


def _renew_hash(user: User, renewed: str) -> None:
    """Over the hash that was compared alone: a change made meanwhile wins. What goes on is bound to the one kept."""
    if User.objects.filter(pk=user.pk, password=user.password).update(password=renewed):
        user.password = renewed
    else:
        # Another sign-in with the same password may have come first.
        same = User.objects.filter(pk=user.pk, password_changed_at=user.password_changed_at)
        user.password = same.values_list("password", flat=True).first() or user.password


def _why(user: User | None, checked: hashing.Checked) -> str:
    if user is None:
        return "unknown"
    if not checked.is_right:
        return "wrong"
    if not user.is_active:
        return "inactive"
    return "must_reset" if user.must_reset else "unverified"


def _is_hidden(user: User) -> bool:
    """Hide unverified accounts: a sign-in right after registering would show whether the address was taken."""
    return settings.USERS_REGISTER_ENUMERATION == "safe" and not user.is_verified


def open_session(attempt: Attempt, checked: hashing.Checked) -> sessions.Tokens:
    """`finish`, then a new API session with its first pair of tokens.

    With a second factor: LOGIN_MFA_REQUIRED (403), whose answer carries what `/auth/mfa/verify` asks for.
    """
    user = finish(attempt, checked)
    if attempt.has_factor:
        raise pending_sign_in.ask(user, attempt.actor)
    now = timezone.now()
    with transaction.atomic():
        # Asked again, and locked: a deactivation or a new password since the comparison must not be outrun.
        unchanged = User.objects.filter(pk=user.pk, is_active=True, password=user.password)
        if not unchanged.update(last_login=now, language=attempt.actor.request.language or user.language):
            raise bad_credentials()
        # Whoever adds a factor locks the person, too: it is there by now, or will end the session that opens here.
        if second_factors.has_factor(user):
            raise bad_credentials()
        return sessions.signed_in(user, attempt.actor, now, amr=("pwd",), place=attempt.place)


def bad_credentials() -> ProductError:
    return ProductError("LOGIN_BAD_CREDENTIALS", "The address or the password is wrong.")
