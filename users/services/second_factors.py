"""Second factors: authenticator apps (TOTP, RFC 6238) and recovery codes. Passkeys have a module of their own."""

import base64
import secrets
import time
import uuid
from dataclasses import dataclass
from hashlib import sha256

import pyotp
from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from lib import encryption
from lib.actors import Actor
from lib.errors import ProductError
from lib.text import whole_number
from users.models import MfaDevice, OneTimeToken, RecoveryCode, User
from users.services import audit, rate_limits, security_mails, sessions, tokens

TOTP, WEBAUTHN, RECOVERY = "totp", "webauthn", "recovery"
#: How each is named in `amr` (RFC 8176).
AMR = {TOTP: "otp", WEBAUTHN: "webauthn", RECOVERY: "recovery"}
_STEP = 30  # seconds
_DRIFT = 1  # steps either side
_RECOVERY_CODES = 10
_MOST_DEVICES = 20


@dataclass(frozen=True)
class Enrolment:
    """What an authenticator app needs, shown once: the secret in base32, the same as an otpauth address and as a QR
    code (SVG without script or style)."""

    device: MfaDevice
    secret: str
    uri: str
    svg: str


def devices_of(user: User) -> list[MfaDevice]:
    """The confirmed ones, oldest first."""
    return list(user.mfa_devices.filter(confirmed_at__isnull=False).order_by("created_at"))


def has_factor(user: User) -> bool:
    return user.mfa_devices.filter(confirmed_at__isnull=False).exists()


def overview(user: User) -> tuple[list[MfaDevice], int]:
    """The confirmed ones, and how many recovery codes are unspent."""
    return devices_of(user), user.recovery_codes.filter(used_at=None).count()


def methods(user: User) -> list[str]:
    """What may follow the password, of `totp`, `webauthn`, `recovery`; empty without a factor."""
    kinds = sorted(set(user.mfa_devices.filter(confirmed_at__isnull=False).values_list("kind", flat=True)))
    if kinds and user.recovery_codes.filter(used_at=None).exists():
        kinds.append(RECOVERY)
    return kinds


# --- Enrolment --------------------------------------------------------------------------------------------------------


@transaction.atomic
def start_totp(user: User, *, name: str = "") -> Enrolment:
    """A new authenticator app; it counts after `confirm_totp`. An earlier one never confirmed is dropped.
    MFA_TOO_MANY beyond 20 devices."""
    row = User.objects.select_for_update().get(pk=user.pk)
    row.mfa_devices.filter(kind=TOTP, confirmed_at=None).delete()
    refuse_too_many(row)
    secret = pyotp.random_base32()
    device = MfaDevice.objects.create(user=row, kind=TOTP, name=name, secret=encryption.encrypt(secret))
    return enrolment(device)


def enrolment(device: MfaDevice) -> Enrolment:
    """What the app of a device not confirmed yet needs, once more; MFA_ALREADY_CONFIRMED, MFA_UNREADABLE."""
    if device.confirmed_at is not None:
        raise ProductError("MFA_ALREADY_CONFIRMED", _("This authenticator app is confirmed already."))
    secret = encryption.decrypt(device.secret)
    if secret is None:
        raise ProductError("MFA_UNREADABLE", _("The secret of this authenticator app cannot be read; start again."))
    import segno

    uri = pyotp.TOTP(secret).provisioning_uri(name=device.user.email, issuer_name=settings.PRODUCT_NAME)
    svg = segno.make(uri, micro=False).svg_inline(scale=4, svgclass=None, lineclass=None, omitsize=True)
    return Enrolment(device, secret, uri, svg)


def refuse_too_many(user: User) -> None:
    if user.mfa_devices.count() >= _MOST_DEVICES:
        raise ProductError(
            "MFA_TOO_MANY",
            _("An account has at most %(most_devices)s second factors.") % {"most_devices": _MOST_DEVICES},
        )


def confirm_totp(
    user: User,
    *,
    code: str,
    device_id: uuid.UUID | None = None,
    actor: Actor,
    keep: uuid.UUID | None = None,
    is_first: bool = False,
) -> list[str]:
    """Take the app into use with a first code; the other sessions end. Return ten recovery codes where there were none.

    Raises MFA_ALREADY_CONFIRMED, and MFA_BAD_CODE, which counts like a wrong code at sign-in; `is_first`: MFA_REQUIRED
    where there is a factor. For `keep` see `_locked`.
    """
    waiting = user.mfa_devices.filter(kind=TOTP, confirmed_at=None)
    device = (waiting.filter(pk=device_id) if device_id else waiting).first()
    if device is None:
        raise ProductError("MFA_ALREADY_CONFIRMED", _("No authenticator app is waiting to be confirmed."))
    counted = count_try(user)
    if not _is_totp(device, code):
        raise bad_code(user, counted, method=TOTP, actor=actor)
    rate_limits.settle(forgotten=[rate_limits.FACTOR.of(user.email)])
    return take_into_use(device, actor=actor, keep=keep, is_first=is_first)


@transaction.atomic
def take_into_use(device: MfaDevice, *, actor: Actor, keep: uuid.UUID | None, is_first: bool = False) -> list[str]:
    """Confirm a proved device: on record, mailed, other sessions end. Return recovery codes where there were none."""
    user = _locked(device.user_id, keep)
    if is_first and has_factor(user):
        raise ProductError("MFA_REQUIRED", _("There is a second factor by now: sign in with it."))
    if not MfaDevice.objects.filter(pk=device.pk, confirmed_at=None).update(confirmed_at=timezone.now()):
        raise ProductError("MFA_ALREADY_CONFIRMED", _("This factor is confirmed already."))
    # By this a sign-in begun before knows that there is one (sessions.aopen).
    user.save(update_fields=["updated_at"])
    audit.record("mfa.added", actor=actor, user=user, kind=device.kind)
    security_mails.factor_changed(user, change="added", kind=device.kind, name=device.name)
    sessions.end_all_sessions(user.pk, reason="factor", keep=keep)
    return [] if user.recovery_codes.filter(used_at=None).exists() else _new_codes(user, actor)


def _locked(user_id: uuid.UUID, keep: uuid.UUID | None) -> User:
    """The person whose factors change. REAUTHENTICATION_REQUIRED when the session that asks, the one to `keep`, was
    ended by another change while this one waited for the row."""
    user = User.objects.select_for_update().get(pk=user_id)
    if keep is not None:
        sessions.require_fresh(keep)
    return user


# --- Recovery codes ---------------------------------------------------------------------------------------------------


@transaction.atomic
def new_recovery_codes(user: User, *, actor: Actor, keep: uuid.UUID | None = None) -> list[str]:
    """Ten new codes, to be shown once; the old ones are void and the other sessions end. MFA_NONE without a factor."""
    row = _locked(user.pk, keep)
    if not has_factor(row):
        raise ProductError("MFA_NONE", _("Recovery codes stand in for a second factor, and there is none."))
    security_mails.factor_changed(row, change="recovery_codes", kind="", name="")
    sessions.end_all_sessions(row.pk, reason="factor", keep=keep)
    return _new_codes(row, actor)


def _new_codes(user: User, actor: Actor) -> list[str]:
    user.recovery_codes.all().delete()
    # 80 bits each as base32, in groups of four.
    raw = [base64.b32encode(secrets.token_bytes(10)).decode() for _ in range(_RECOVERY_CODES)]
    codes = ["-".join(code[start : start + 4] for start in range(0, len(code), 4)) for code in raw]
    RecoveryCode.objects.bulk_create([RecoveryCode(user=user, hash=_hash(user, code)) for code in codes])
    audit.record("recovery.made", actor=actor, user=user, count=len(codes))
    return codes


def _hash(user: User, code: str) -> bytes:
    """SHA-256: 80 random bits cannot be tried out, and no key has to outlive a rotation for codes in a drawer."""
    return sha256(b"recovery|" + user.pk.bytes + code.replace("-", "").encode()).digest()


# --- Codes at sign-in -------------------------------------------------------------------------------------------------


def check_code(user: User, *, method: str, code: str, actor: Actor) -> str:
    """Spend a code of the person's app or a recovery code; return how `amr` names it. Call it outside a transaction.

    Tries are counted before anything is compared. Raises MFA_BAD_CODE; during a pause the same with slug `mfa_paused`
    and a Retry-After. The wrong code that starts a pause makes void what was waiting for a code.
    """
    counted = count_try(user)
    if not spend(user, method=method, code=code, actor=actor):
        raise bad_code(user, counted, method=method, actor=actor)
    rate_limits.settle(forgotten=[rate_limits.FACTOR.of(user.email)])
    return AMR[method]


def count_try(user: User) -> int:
    """Count a try at a code before it is compared, outside any transaction; return the pause (seconds) that a wrong one
    starts. MFA_BAD_CODE, slug `mfa_paused`."""
    counted = rate_limits.count_try(rate_limits.FACTOR.of(user.email))
    if isinstance(counted, rate_limits.Block):
        message = _("Too many wrong codes: second factors are paused for a while.")
        raise ProductError("MFA_BAD_CODE", message, slug="mfa_paused", retry_after=counted.seconds)
    return counted


@transaction.atomic
def spend(user: User, *, method: str, code: str, actor: Actor) -> bool:
    """Whether a counted code is right and was never used; it is spent then. Locks the person's row."""
    # Before the rows of the factors, as in all that changes them.
    row = User.objects.select_for_update().get(pk=user.pk)
    if method != RECOVERY:
        return method == TOTP and any(_is_totp(device, code) for device in devices_of(row) if device.kind == TOTP)
    plain = "".join(character for character in code.upper() if character.isalnum())
    unspent = row.recovery_codes.filter(used_at=None)
    if not plain.isascii() or not unspent.filter(hash=_hash(row, plain)).update(used_at=timezone.now()):
        return False
    audit.record("recovery.used", actor=actor, user=row)
    security_mails.recovery_code_used(row, left=unspent.count(), info=actor.request)
    return True


@transaction.atomic
def bad_code(user: User, pause_seconds: int, *, method: str, actor: Actor) -> ProductError:
    """Put a wrong code on record; the one that starts a pause takes the sign-ins with it that wait for a code."""
    if pause_seconds:
        tokens.void(user, OneTimeToken.Purpose.MFA_LOGIN)
    audit.record("mfa.failed", actor=actor, user=user, outcome="failed", kind=method if method in AMR else "")
    return ProductError("MFA_BAD_CODE", _("The code is wrong or was used already."))


def _is_totp(device: MfaDevice, code: str) -> bool:
    """Whether the code is right and newer than any before; it is spent then."""
    secret = encryption.decrypt(device.secret)
    digits = "".join(code.split())
    if secret is None or whole_number(digits) is None:
        return False
    app, now = pyotp.TOTP(secret, interval=_STEP), int(time.time()) // _STEP
    for step in range(now - _DRIFT, now + _DRIFT + 1):
        if tokens.is_same(app.generate_otp(step), digits):
            fresh = MfaDevice.objects.filter(Q(last_step__lt=step) | Q(last_step=None), pk=device.pk)
            return bool(fresh.update(last_step=step, last_used_at=timezone.now()))
    return False


# --- Removal ----------------------------------------------------------------------------------------------------------


@transaction.atomic
def remove(user: User, device_id: uuid.UUID | None, *, actor: Actor, keep: uuid.UUID | None = None) -> None:
    """Drop one factor, and with the last one the recovery codes; the other sessions end. MFA_UNKNOWN (404);
    MFA_REQUIRED for the last one of staff who must have one (USERS_STAFF_MFA)."""
    row = _locked(user.pk, keep)
    device = row.mfa_devices.filter(pk__in=[device_id]).first()
    if device is None:
        raise ProductError("MFA_UNKNOWN", _("No such second factor."), status=404, detail="Not Found")
    is_last = not row.mfa_devices.filter(confirmed_at__isnull=False).exclude(pk=device.pk).exists()
    if is_last and device.confirmed_at and row.is_staff and settings.USERS_STAFF_MFA == "required":
        raise ProductError("MFA_REQUIRED", _("Staff need a second factor: add another one first."))
    _drop(row, [device], actor)
    if is_last:
        row.recovery_codes.all().delete()
    sessions.end_all_sessions(row.pk, reason="factor", keep=keep)


@transaction.atomic
def remove_all(user: User, *, actor: Actor, reason: str) -> int:
    """Drop every factor and all recovery codes, for a person who lost them; every session ends. Return how many
    went. CANNOT_RESET_OWN_MFA: no one takes the own factor away this way."""
    if actor.user is not None and actor.user.pk == user.pk:
        raise ProductError("CANNOT_RESET_OWN_MFA", _("You cannot take your own second factor away here."))
    row = User.objects.select_for_update().get(pk=user.pk)
    found = list(row.mfa_devices.all())
    row.recovery_codes.all().delete()
    _drop(row, found, actor, reason=reason)
    rate_limits.end_pause(row.email, factors=True)
    if found:
        sessions.end_all_sessions(row.pk, reason="factor")
    return len(found)


def _drop(user: User, found: list[MfaDevice], actor: Actor, **why: str) -> None:
    for device in found:
        device.delete()
        if device.confirmed_at is not None:
            audit.record("mfa.removed", actor=actor, user=user, kind=device.kind, **why)
            security_mails.factor_changed(user, change="removed", kind=device.kind, name=device.name)
