"""Register, request a code, verify: from an address that anyone can type to an account of its mailbox.

Anyone can type any address, so a registration is pending until the mailbox has answered. A code that was mailed
proves the mailbox. Which of several pending registrations is the reader's is proved by its token, which only the answer
to that `/register` held; where nothing proves it, no password is kept and a mailed link sets a new one.
"""

import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

import feature_flags
from lib.actors import Actor
from lib.errors import ProductError
from notifications.rendering.render import greeting_name
from users.flags import ENABLE_REGISTRATION
from users.models import OneTimeToken, Registration, User, is_reserved
from users.services import audit, password_strength, passwords, rate_limits, security_mails, tokens

#: Pending registrations of one address; what falls out of it leaves `is_contested` on those that stay.
_KEPT_PER_USER = 10
#: Open tokens of one address for which no mail was sent.
_KEPT_WITHOUT_MAIL = 20


def check_register(*, email: str, password: str, actor: Actor) -> None:
    """Raise REGISTRATION_DISABLED (404), TOO_MANY_REQUESTS (429), REGISTER_INVALID_PASSWORD, ADDRESS_RESERVED; hashing
    comes after this.

    Rules of the flag see `email`, `emailDomain` and `remoteAddress`: staff may open registration for some.
    """
    context = {"email": email, "emailDomain": email.rpartition("@")[2], "remoteAddress": actor.request.ip}
    if not feature_flags.is_enabled(ENABLE_REGISTRATION, context):
        raise ProductError("REGISTRATION_DISABLED", "Registration is closed.", status=404, detail="Not Found")
    rate_limits.count_ip(rate_limits.REGISTER_IP, actor.request.ip)
    refuse_reserved(email)
    password_strength.check(password, email=email, code="REGISTER_INVALID_PASSWORD")


def refuse_reserved(email: str) -> None:
    """Raises: ADDRESS_RESERVED (400)."""
    if is_reserved(email):
        raise ProductError("ADDRESS_RESERVED", _("Addresses of this domain are those of service accounts."))


def salt(email: str) -> str:
    """The salt for passwords registered with this address: the same password again has the same hash.

    So a repeat is known from another's try without a second comparison, whose time would show it.
    """
    return tokens.subject_mac("registration salt", email).hex()[:32]


def register(
    *, email: str, password_hash: str, first_name: str, last_name: str, actor: Actor, held: str = ""
) -> tuple[uuid.UUID, str]:
    """Note a registration, in place of the one whose token is `held`; `password_hash` is made with `salt(email)`.

    Return the account's id, and the token that proves later that it was this caller.

    With USERS_REGISTER_ENUMERATION=safe a verified address is answered like any other, and its owner gets a mail.

    Raises:
        REGISTER_USER_ALREADY_EXISTS (400): the address is verified.
    """
    pending = Registration(password=password_hash, first_name=first_name, last_name=last_name)
    try:
        user_id = _register(email, pending, actor, held)
    except IntegrityError:
        # Another call registered the address between our look and our insert: now it is there to be found.
        user_id = _register(email, pending, actor, held)
    return user_id, tokens.registration_token(pending.pk)


@transaction.atomic
def _register(email: str, pending: Registration, actor: Actor, held: str) -> uuid.UUID:
    user = User.objects.select_for_update().filter(email=email).first()
    is_new = user is None
    if user is None:
        user = User(email=email, created_by="register")
    elif user.is_verified:
        if settings.USERS_REGISTER_ENUMERATION != "safe":
            raise ProductError("REGISTER_USER_ALREADY_EXISTS", "A user with this address exists.", nested=True)
        audit.record("user.registered", actor=actor, user=user, outcome="refused", why="exists")
        if rate_limits.may_mail("already_registered", user.email):
            security_mails.already_registered(user, info=actor.request)
        # An id that no account has.
        return uuid.UUID(bytes=tokens.subject_mac("decoy id", user.email)[:16], version=4)
    else:
        pending.is_contested = is_contested(user)
        if earlier := _proved(user, held):
            # Its one-time token speaks for no registration from here on, but codes that were mailed stay good: anyone
            # may have had them sent, and the owner gets no others beyond the mail limit.
            earlier.delete()
    if user.created_by == "register" and user.password_changed_at is None:
        # What staff entered, and a password set by a mailed link, stay until the mailbox answers.
        user.password, user.first_name, user.last_name = pending.password, pending.first_name, pending.last_name
        user.language = actor.request.language
        user.updated_by = "register"
        user.save()
    pending.user = user
    pending.save(force_insert=True)
    newest = user.registrations.order_by("-created_at").values_list("pk", flat=True)
    user.registrations.exclude(pk__in=list(newest[:_KEPT_PER_USER])).delete()
    if is_new:
        audit.record("user.registered", actor=actor, user=user)
    else:
        # Programs outside have been sent it.
        audit.event("user.registered", actor=actor, user=user).save(force_insert=True)
    return user.pk


def _proved(user: User, held: str) -> Registration | None:
    """The pending registration of this account whose token it is."""
    return user.registrations.filter(pk__in=[tokens.registration_id(held)]).first()


def request_code(*, email: str, actor: Actor, held: str = "") -> tuple[str, str | None]:
    """Mail a code to an unverified, active account; every address gets the same kind of answer.

    Return a token, bound to the registration whose token is `held` and otherwise to none, and the code: None when there
    is nothing to verify; beyond the mail limit the newest one sent before.

    Raises:
        TOO_MANY_REQUESTS (429): beyond the mails of one IP address.
    """
    now = timezone.now()
    rate_limits.count_mail(actor)
    may_mail = rate_limits.may_mail("registration_code", email)
    with transaction.atomic():
        user = User.objects.select_for_update().filter(email=email).first()
        if user is None or user.is_verified or not user.is_active:
            return tokens.decoy_token(OneTimeToken.Purpose.VERIFY, email, now), None
        row = _open_row(user, _proved(user, held), now)
        if may_mail:
            _send_code(row, user, now)
        else:
            # Bound what a caller may have written without a mail; the mails have limits of their own.
            rows = OneTimeToken.objects.filter(user=user, purpose=OneTimeToken.Purpose.VERIFY, used_at=None)
            unmailed = rows.filter(registration=None, code_serial=0)
            newest = unmailed.order_by("-created_at").values_list("pk", flat=True)[:_KEPT_WITHOUT_MAIL]
            unmailed.exclude(pk__in=list(newest)).delete()
        return tokens.one_time_token(row) or "", next(iter(_codes(user, now)), None)


def send_code(user: User) -> None:
    """Mail a code on staff's word, good with any token; call it inside a transaction that holds the row."""
    now = timezone.now()
    _send_code(_open_row(user, None, now), user, now)


def _open_row(user: User, registration: Registration | None, now: datetime) -> OneTimeToken:
    """The verification row of a proved registration; without one a new row each time.

    No one else gets the token of such a row, so no one else can use up its attempts or have its code replaced.
    """
    key_id = tokens.one_time_key_id(OneTimeToken.Purpose.VERIFY)
    if registration is not None:
        own = OneTimeToken.objects.filter(registration=registration, used_at=None)
        if row := own.filter(expires_at__gt=now, key_id=key_id).first():
            return row
        own.delete()
    lasts = timedelta(seconds=settings.USERS_VERIFICATION_LIFETIME_SECONDS)
    return tokens.issue(user, OneTimeToken.Purpose.VERIFY, email=user.email, lasts=lasts, registration=registration)


def _codes(user: User, now: datetime) -> list[str]:
    """The codes that are good for the address, the newest first: each was mailed to it, at any client's request."""
    rows = OneTimeToken.open(now).filter(user=user, purpose=OneTimeToken.Purpose.VERIFY, code_expires_at__gt=now)
    return [code for row in rows.order_by("-code_expires_at") if (code := tokens.registration_code(row))]


def _send_code(row: OneTimeToken, user: User, now: datetime) -> None:
    """A new code (the old one dies with its serial), valid from now."""
    row.code_serial += 1
    row.attempts = 0
    row.code_expires_at = now + timedelta(seconds=settings.USERS_CODE_LIFETIME_SECONDS)
    row.save(update_fields=["code_serial", "attempts", "code_expires_at"])
    first_name = row.registration.first_name if row.registration else user.first_name
    name, serial = greeting_name(first_name, is_proved=False), row.code_serial
    context = {"first_name": name, "token_id": row.pk.hex, "code_serial": serial}
    security_mails.queue("registration_code", user, context, key=f"{row.pk.hex}:{serial}")


def verify(*, token: str, code: str, actor: Actor, held: str = "") -> None:
    """Take the address as its reader's, with the password of the registration that is proved to be the reader's.

    `code` is any that was mailed to the address. The registration is proved by the token in `held`, or by having held
    it when `token` was given out; the only one there is needs no proof.

    Raises:
        VERIFY_USER_BAD_TOKEN (400): anything else.
    """
    bad_token = ProductError("VERIFY_USER_BAD_TOKEN", "The code or the token is wrong or has expired.")
    # Counted before comparing, committed on its own: parallel tries are all counted, and none past the last.
    rows = OneTimeToken.objects.filter(pk__in=[tokens.one_time_id(token)], purpose=OneTimeToken.Purpose.VERIFY)
    open_rows = rows.filter(used_at=None, expires_at__gt=timezone.now())
    counted = open_rows.filter(attempts__lt=settings.USERS_CODE_MAX_ATTEMPTS).update(attempts=F("attempts") + 1)
    row = rows.select_related("user", "registration").first() if counted else None
    user = row.user if row else None
    if row is None or user is None:
        raise bad_token
    proved = row.registration or _proved(user, held)
    # Beyond the wrong codes of a day a proved registration's own code is still good, but for no password: a
    # stranger who proves a registration of his own and goes on guessing must win nothing.
    is_flooded = rate_limits.reserve(rate_limits.CODE.of(row.email)) is not None
    if not _is_right(row, user, token, code, own_only=is_flooded) or (is_flooded and proved is None):
        audit.record("user.verified", actor=actor, user=user, outcome="failed")
        raise bad_token
    if not is_flooded:
        rate_limits.settle(given_back=[rate_limits.CODE.of(row.email)])
    if not _verify(row, proved, actor, keeps_password=not is_flooded):
        raise bad_token


def _is_right(row: OneTimeToken, user: User, token: str, code: str, *, own_only: bool) -> bool:
    now = timezone.now()
    codes = _codes(user, now)
    if own_only:
        is_live = row.code_expires_at is not None and row.code_expires_at > now
        codes = [tokens.registration_code(row) or ""] if is_live else []
    # All are compared, so that the time taken does not tell which one was wrong.
    is_token, are_codes = tokens.is_one_time_token(token, row), [tokens.is_same(good, code) for good in codes]
    return is_token and any(are_codes)


@transaction.atomic
def _verify(row: OneTimeToken, proved: Registration | None, actor: Actor, *, keeps_password: bool) -> bool:
    """Spend the row and verify its account; False when another call came first."""
    now = timezone.now()
    user = User.objects.select_for_update(of=("self",)).get(one_time_tokens=row)
    if user.is_verified or not user.is_active or not tokens.use_up(row):
        return False
    pending = _registration_of_reader(user, proved) if keeps_password else None
    # A password set by a mailed link since then is newer.
    if pending and (user.password_changed_at is None or pending.created_at > user.password_changed_at):
        user.password, user.first_name, user.last_name = pending.password, pending.first_name, pending.last_name
        user.password_changed_at, user.must_reset = now, False
    elif user.password_changed_at is None and (not keeps_password or is_contested(user)):
        disown(user)
    user.email_verified_at = now
    user.updated_by = "verify"
    user.save()
    forget_registrations(user, keep=row)
    audit.record("user.verified", actor=actor, user=user)
    welcome(user)
    return True


def _registration_of_reader(user: User, proved: Registration | None) -> Registration | None:
    """The registration of the mailbox's reader: the one proved, as far as it still exists, or the only one."""
    if proved is not None and (found := user.registrations.filter(pk=proved.pk).first()):
        return found
    # An account that came otherwise has a password of its own or gets one by a mailed link, never a stranger's.
    is_theirs = user.created_by == "register" and user.password_changed_at is None
    return user.registrations.order_by("-created_at").first() if is_theirs and not is_contested(user) else None


def is_contested(user: User) -> bool:
    """Whether the password on the row is one of several that were registered, so that the right one is unknown."""
    if user.password_changed_at is not None or not user.has_usable_password():
        return False
    registered = list(user.registrations.values_list("password", "is_contested"))
    return any(contested for _, contested in registered) or len({user.password, *(p for p, _ in registered)}) > 1


def disown(user: User) -> None:
    """Drop the password and names: a mailed reset link sets new ones."""
    user.set_unusable_password()
    user.first_name = user.last_name = ""


def forget_registrations(user: User, *, keep: OneTimeToken | None = None) -> None:
    """Drop every pending registration and every other open code: the address is verified."""
    rows = OneTimeToken.objects.filter(user=user, purpose=OneTimeToken.Purpose.VERIFY)
    (rows.exclude(pk=keep.pk) if keep is not None else rows).delete()
    user.registrations.all().delete()


def welcome(user: User) -> None:
    """Mail the welcome to a verified address, and without a password also the link that sets one."""
    security_mails.queue("welcome", user, {"first_name": user.first_name}, key=user.pk.hex)
    if not user.has_usable_password():
        passwords.send_link(user, is_first=True)
