"""Register, request a code, verify: from a stranger's address to an account of whoever reads its mail.

Anybody can type anybody's address, so a registration is only a wish. Each keeps its own password and names, each code
belongs to one of them, and the one whose code comes back from the mailbox becomes the account.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone

import feature_flags
from lib.errors import ProductError
from notifications import services as notifications
from users.flags import ENABLE_REGISTRATION
from users.models import OneTimeToken, Registration, User
from users.notifications import plain_name
from users.services import audit, limiter, mailing, notices, passwords, tokens
from users.services.callers import Caller

_KEPT_PER_USER = 3


@dataclass(frozen=True)
class Registered:
    """What this caller asked for, under the account's id."""

    id: uuid.UUID
    email: str
    first_name: str
    last_name: str


@dataclass(frozen=True)
class Requested:
    """`code` is None when there is nothing to verify; beyond the mail limit it is the one sent before."""

    token: str
    code: str | None


def check_register(*, email: str, password: str, caller: Caller) -> None:
    """Raise REGISTRATION_DISABLED (404), TOO_MANY_REQUESTS (429), REGISTER_INVALID_PASSWORD; hashing comes after this.

    Rules of the flag see `email`, `emailDomain` and `remoteAddress`: staff may open registration for some.
    """
    context = {"email": email, "emailDomain": email.rpartition("@")[2], "remoteAddress": caller.ip}
    if not feature_flags.is_enabled(ENABLE_REGISTRATION, context):
        raise ProductError("REGISTRATION_DISABLED", "Registration is closed.", status=404, detail="Not Found")
    limiter.count_ip(limiter.REGISTER_IP, caller.ip)
    passwords.check(password, email=email, code="REGISTER_INVALID_PASSWORD")


def register(*, email: str, password_hash: str, first_name: str, last_name: str, caller: Caller) -> Registered:
    """Note a registration; for a verified address REGISTER_USER_ALREADY_EXISTS.

    With USERS_REGISTER_ENUMERATION=safe a verified address is answered like any other, and its owner gets a mail.
    """
    wish = Registration(
        password=password_hash, first_name=first_name, last_name=last_name, network_mac=caller.network_mac
    )
    try:
        user_id = _register(email, wish, caller)
    except IntegrityError:
        # Somebody registered the address between our look and our insert: now it is there to be found.
        user_id = _register(email, wish, caller)
    return Registered(user_id, email, first_name, last_name)


@transaction.atomic
def _register(email: str, wish: Registration, caller: Caller) -> uuid.UUID:
    user = User.objects.select_for_update().filter(email=email).first()
    if user is None:
        user = User(email=email, created_by="register")
    elif user.is_verified:
        if settings.USERS_REGISTER_ENUMERATION == "safe":
            return _answer_owner(user, caller)
        raise ProductError("REGISTER_USER_ALREADY_EXISTS", "A user with this address exists.", nested=True)
    if user.created_by == "register" and user.password_changed_at is None:
        # What staff entered, and a password set by a mailed link, stay until the mailbox answers this wish.
        user.password, user.first_name, user.last_name = wish.password, wish.first_name, wish.last_name
        user.language = caller.language
        user.updated_by = "register"
        user.save()
    wish.user = user
    wish.save(force_insert=True)
    user.registrations.exclude(pk__in=_kept(user)).delete()
    audit.record("user.registered", by=caller, user=user)
    return user.pk


def _answer_owner(user: User, caller: Caller) -> uuid.UUID:
    """Tell the owner that somebody tried to register the address; return an id that nobody has."""
    audit.record("user.registered", by=caller, user=user, outcome="refused", why="exists")
    if mailing.may_mail("already_registered", user.email):
        notices.already_registered(user, caller=caller)
    return uuid.UUID(bytes=tokens.subject_mac("decoy id", user.email)[:16], version=4)


def _kept(user: User) -> list[uuid.UUID]:
    """The newest wish of each place before any older one: a stranger who repeats must not push the owner's out."""
    rows = list(user.registrations.order_by("-created_at").values_list("pk", "network_mac"))
    newest: dict[str, uuid.UUID] = {}
    for pk, place in rows:
        newest.setdefault(place, pk)
    older = [pk for pk, place in rows if newest[place] != pk]
    return [*newest.values(), *older][:_KEPT_PER_USER]


def request_code(*, email: str, caller: Caller) -> Requested:
    """Mail a code to an unverified, active account; every address gets the same kind of answer.

    TOO_MANY_REQUESTS (429) beyond the mails of one IP address.
    """
    now = timezone.now()
    mailing.count_mail(caller)
    may_mail = mailing.may_mail("registration_code", email)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(email=email).first()
        if user is None or user.is_verified or not user.is_active:
            return Requested(tokens.decoy_token(OneTimeToken.Purpose.VERIFY, email, now), None)
        row = _open_row(user, caller, now)
        if may_mail:
            _send_code(row, user, now)
        # Without room for a mail a new row has no code yet.
        code = tokens.registration_code(row) if row.code_serial else None
        return Requested(tokens.one_time_token(row) or "", code)


def send_code(user: User) -> None:
    """Mail a code on staff's word, for the newest registration; call it inside a transaction that holds the row."""
    now = timezone.now()
    _send_code(_open_row(user, Caller(), now), user, now)


def _open_row(user: User, caller: Caller, now: datetime) -> OneTimeToken:
    """The verification row of this caller's registration, a new one when there is none."""
    own = user.registrations.filter(network_mac__in=caller.network_macs)
    registration = own.order_by("-created_at").first()
    # An account that came otherwise has a password of its own or gets one by a mailed link, never a stranger's.
    is_theirs = user.created_by == "register" and user.password_changed_at is None
    if registration is None and is_theirs and not is_contested(user):
        registration = user.registrations.order_by("-created_at").first()
    rows = OneTimeToken.objects.filter(user=user, purpose=OneTimeToken.Purpose.VERIFY, used_at=None)
    if registration is not None:
        # A code of an earlier try from the same place would bring back the password of that try.
        rows.filter(registration__network_mac=registration.network_mac).exclude(registration=registration).delete()
    key_id = tokens.one_time_key_id(OneTimeToken.Purpose.VERIFY)
    mine = rows.filter(registration=registration)
    row = mine.filter(expires_at__gt=now, key_id=key_id).first()
    if row is None:
        mine.delete()
        row = OneTimeToken.objects.create(
            user=user,
            registration=registration,
            purpose=OneTimeToken.Purpose.VERIFY,
            email=user.email,
            key_id=key_id,
            expires_at=now + timedelta(seconds=settings.USERS_VERIFICATION_LIFETIME_SECONDS),
        )
    return row


def _send_code(row: OneTimeToken, user: User, now: datetime) -> None:
    """A new code (the old one dies with its serial), valid from now."""
    row.code_serial += 1
    row.attempts = 0
    row.code_expires_at = now + timedelta(seconds=settings.USERS_CODE_LIFETIME_SECONDS)
    row.save(update_fields=["code_serial", "attempts", "code_expires_at"])
    first_name = row.registration.first_name if row.registration else user.first_name
    notifications.queue(
        "users.registration_code",
        to=user.email,
        user=user,
        context={"first_name": plain_name(first_name), "token_id": row.pk.hex, "code_serial": row.code_serial},
        language=user.language or None,
        event_key=f"users.registration_code:{row.pk.hex}:{row.code_serial}",
    )


def verify(*, token: str, code: str, caller: Caller) -> None:
    """Make the account of the registration whose code this is; VERIFY_USER_BAD_TOKEN for anything else."""
    row_id = tokens.one_time_id(token)
    row = _count_attempt(row_id) if row_id else None
    if row is None or limiter.reserve(limiter.CODE.of(row.email)):
        raise _bad_token()
    if not _is_right(row, token, code):
        audit.record("user.verified", by=caller, user_id=row.user_id, email=row.email, outcome="failed")
        raise _bad_token()
    limiter.give_back(limiter.CODE.of(row.email))
    _verify(row, caller)


def _bad_token() -> ProductError:
    return ProductError("VERIFY_USER_BAD_TOKEN", "The code or the token is wrong or has expired.")


def _count_attempt(row_id: uuid.UUID) -> OneTimeToken | None:
    """Count before comparing, committed on its own: parallel guesses are all counted, and none past the last."""
    now = timezone.now()
    counted = (
        OneTimeToken.open(now)
        .filter(
            pk=row_id,
            purpose=OneTimeToken.Purpose.VERIFY,
            attempts__lt=settings.USERS_CODE_MAX_ATTEMPTS,
            code_expires_at__gt=now,
        )
        .update(attempts=F("attempts") + 1)
    )
    return OneTimeToken.objects.select_related("registration").filter(pk=row_id).first() if counted else None


def _is_right(row: OneTimeToken, token: str, code: str) -> bool:
    expected = tokens.registration_code(row)
    # Both are compared, so that the time taken does not tell which one was wrong.
    is_token, is_code = tokens.is_one_time_token(token, row), tokens.is_same(expected or "", code)
    return is_token and is_code


@transaction.atomic
def _verify(row: OneTimeToken, caller: Caller) -> None:
    now = timezone.now()
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    spent = OneTimeToken.open(now).filter(pk=row.pk, code_serial=row.code_serial).update(used_at=now)
    if not spent or user.is_verified or not user.is_active:
        raise _bad_token()
    wish = row.registration
    # A password set by a mailed link since then is newer than the wish.
    if wish and (user.password_changed_at is None or wish.created_at > user.password_changed_at):
        user.password, user.first_name, user.last_name = wish.password, wish.first_name, wish.last_name
        user.password_changed_at, user.must_reset = now, False
    elif is_contested(user):
        disown(user)
    user.email_verified_at = now
    user.updated_by = "verify"
    user.save()
    forget_registrations(user, keep=row)
    audit.record("user.verified", by=caller, user=user)
    queue_welcome(user)


def is_contested(user: User) -> bool:
    """Whether the row shows one of several strangers' passwords, and nobody can tell whose the mailbox is."""
    places = user.registrations.order_by().values("network_mac").distinct().count()
    return user.password_changed_at is None and user.created_by == "register" and places > 1


def disown(user: User) -> None:
    """Keep nobody's password and names: a mailed reset link sets new ones."""
    user.set_unusable_password()
    user.first_name = user.last_name = ""


def forget_registrations(user: User, *, keep: OneTimeToken | None = None) -> None:
    """Drop every other wish and every open code: the address belongs to somebody now."""
    rows = OneTimeToken.objects.filter(user=user, purpose=OneTimeToken.Purpose.VERIFY)
    if keep is not None:
        OneTimeToken.objects.filter(pk=keep.pk).update(registration=None)
        rows = rows.exclude(pk=keep.pk)
    rows.delete()
    user.registrations.all().delete()


def queue_welcome(user: User) -> None:
    notifications.queue(
        "users.welcome",
        to=user.email,
        user=user,
        context={"first_name": user.first_name},
        language=user.language or None,
        event_key=f"users.welcome:{user.pk.hex}",
    )
