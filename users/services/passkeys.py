"""Passkeys (WebAuthn level 3): registered by their owner, asked for at sign-in and at re-authentication.

A ceremony is a OneTimeToken: its challenge is derived from the row, and it is spent before the answer is looked at.
What passkeys are bound to comes from USERS_WEBAUTHN_RP_ID and USERS_WEBAUTHN_ORIGINS, never from a request.
The library, with parsers of every attestation format, loads with the first ceremony: most processes never see one.
"""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from lib.actors import Actor
from lib.errors import ProductError
from users.models import MfaDevice, OneTimeToken, User
from users.services import audit, rate_limits, second_factors, sessions, tokens

if TYPE_CHECKING:
    from webauthn.helpers.structs import PublicKeyCredentialDescriptor

LIFETIME = timedelta(minutes=5)
_WEBAUTHN = OneTimeToken.Purpose.WEBAUTHN
_REGISTER, _LOGIN = "register", "login"
_TIMEOUT = int(LIFETIME.total_seconds() * 1000)
_CREDENTIAL_ID_MAX_LENGTH = 1023  # bytes (WebAuthn, 5.8.3)

Ceremony = tuple[str, dict[str, Any]]


# --- Registration -----------------------------------------------------------------------------------------------------


def registration_options(user: User, *, name: str = "") -> Ceremony:
    """The token of a ceremony, good for five minutes, and `PublicKeyCredentialCreationOptionsJSON` for the browser.
    MFA_TOO_MANY beyond 20 devices."""
    import webauthn
    from webauthn.helpers.structs import (
        AuthenticatorSelectionCriteria,
        ResidentKeyRequirement,
        UserVerificationRequirement,
    )

    second_factors.refuse_too_many(user)
    row = tokens.issue(user, _WEBAUTHN, lasts=LIFETIME, payload={"for": _REGISTER, "name": name})
    options = webauthn.generate_registration_options(
        rp_id=settings.USERS_WEBAUTHN_RP_ID,
        rp_name=settings.PRODUCT_NAME,
        user_id=user.pk.bytes,
        user_name=user.email,
        user_display_name=user.get_full_name() or user.email,
        challenge=tokens.challenge(row),
        timeout=_TIMEOUT,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=_descriptors(user),
    )
    return tokens.one_time_token(row) or "", webauthn.helpers.options_to_json_dict(options)


def register(
    user: User, *, ceremony: str, credential: Any, actor: Actor, keep: uuid.UUID | None = None, is_first: bool = False
) -> list[str]:
    """Take the passkey an authenticator has made into use: on record, mailed, other sessions end.

    Return ten recovery codes where there were none. PASSKEY_REJECTED, MFA_TOO_MANY; `is_first`: MFA_REQUIRED where
    there is a factor. Call it outside a transaction: the ceremony is spent whatever comes of it.
    """
    import webauthn
    from webauthn.helpers.structs import AuthenticatorTransport

    row = _spent(ceremony, _REGISTER)
    if row is None or row.user_id != user.pk:
        raise _rejected()
    try:
        made = webauthn.verify_registration_response(
            credential=_acceptable(credential),
            expected_challenge=tokens.challenge(row) or b"",
            expected_rp_id=settings.USERS_WEBAUTHN_RP_ID,
            expected_origin=list(settings.USERS_WEBAUTHN_ORIGINS),
            require_user_verification=True,
        )
    except Exception:  # a stranger's bytes: whatever the parsers stumble over is no passkey
        raise _rejected() from None
    if len(made.credential_id) > _CREDENTIAL_ID_MAX_LENGTH:
        raise _rejected()
    # What the browser reports; a hint for later sign-ins.
    given = credential["response"].get("transports")
    transports = [value for value in given if isinstance(value, str)] if isinstance(given, list) else []
    try:
        with transaction.atomic():
            owner = User.objects.select_for_update().get(pk=user.pk)
            second_factors.refuse_too_many(owner)
            device = MfaDevice.objects.create(
                user=owner,
                kind=MfaDevice.Kind.WEBAUTHN,
                name=row.payload["name"],
                credential_id=made.credential_id,
                public_key=made.credential_public_key,
                sign_count=made.sign_count,
                transports=sorted({known.value for known in AuthenticatorTransport}.intersection(transports)),
            )
            return second_factors.take_into_use(device, actor=actor, keep=keep, is_first=is_first)
    except IntegrityError:
        raise _rejected() from None  # this credential is registered already


# --- Sign-in ----------------------------------------------------------------------------------------------------------


def login_options(user: User | None = None) -> Ceremony:
    """The token of a ceremony, good for five minutes, and `PublicKeyCredentialRequestOptionsJSON` for the browser.

    Without a `user` any passkey of this site may answer; with one, theirs alone.
    """
    import webauthn
    from webauthn.helpers.structs import UserVerificationRequirement

    row = tokens.issue(user, _WEBAUTHN, lasts=LIFETIME, payload={"for": _LOGIN})
    options = webauthn.generate_authentication_options(
        rp_id=settings.USERS_WEBAUTHN_RP_ID,
        challenge=tokens.challenge(row),
        timeout=_TIMEOUT,
        allow_credentials=_descriptors(user) if user else [],
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return tokens.one_time_token(row) or "", webauthn.helpers.options_to_json_dict(options)


def count_begin(actor: Actor) -> None:
    """Count the beginning of a ceremony by an anonymous client; TOO_MANY_REQUESTS (429)."""
    rate_limits.count_ip(rate_limits.PASSKEY_IP, actor.request.ip)


def check(*, ceremony: str, credential: Any, actor: Actor, user: User | None = None) -> MfaDevice:
    """The passkey that has answered the ceremony; `user`'s where one is given. Call it outside a transaction.

    PASSKEY_REJECTED for everything else: a ceremony spent, expired or begun for another person, an unknown passkey, a
    wrong origin or signature, a person not verified by the authenticator, a sign count that went back, an account that
    may not sign in.
    """
    row = _spent(ceremony, _LOGIN)
    key = _bytes_of(credential.get("rawId")) if isinstance(credential, dict) else None
    devices = MfaDevice.objects.filter(kind=MfaDevice.Kind.WEBAUTHN, confirmed_at__isnull=False)
    device = devices.select_related("user").filter(credential_id=key).first() if row and key else None
    if row is None or device is None:
        raise _rejected()
    if why := _flaw(row, device, credential, user):
        audit.record("mfa.failed", actor=actor, user=device.user, outcome="failed", kind=device.kind, why=why)
        raise _rejected()
    return device


def _flaw(row: OneTimeToken, device: MfaDevice, credential: Any, user: User | None) -> str:
    """The audit log's reason why an answer is refused; empty, and the use noted, when it is right."""
    import webauthn

    expected = user.pk if user else None
    if (row.user_id or expected) != expected or (expected or device.user_id) != device.user_id:
        return "other_person"
    try:
        verified = webauthn.verify_authentication_response(
            credential=_acceptable(credential),
            expected_challenge=tokens.challenge(row) or b"",
            expected_rp_id=settings.USERS_WEBAUTHN_RP_ID,
            expected_origin=list(settings.USERS_WEBAUTHN_ORIGINS),
            credential_public_key=bytes(device.public_key or b""),
            credential_current_sign_count=0,  # compared below, once for all parallel answers
            require_user_verification=True,
        )
    except Exception:  # a stranger's bytes: whatever the parsers stumble over is no passkey
        return "wrong"
    # The authenticator names the owner; it may leave that out where the person is known already.
    handle = credential["response"].get("userHandle")
    names_owner = _bytes_of(handle) == device.user_id.bytes if handle is not None else user is not None
    if not names_owner:
        return "wrong"
    if not _may_sign_in(device.user):
        return "inactive"
    # The sign count has grown, or the authenticator keeps none (WebAuthn, 7.2 step 22).
    count = verified.new_sign_count
    grown = MfaDevice.objects.filter(Q(sign_count__lt=count) if count else Q(sign_count=0), pk=device.pk)
    return "" if grown.update(sign_count=count, last_used_at=timezone.now()) else "sign_count"


def require_kept(device: MfaDevice) -> None:
    """PASSKEY_REJECTED when it was removed since `check`: call it where its owner is locked, before a session opens."""
    if not MfaDevice.objects.filter(pk=device.pk).exists():
        raise _rejected()


def sign_in(*, ceremony: str, credential: Any, actor: Actor) -> sessions.Opened:
    """Open a session with a passkey alone, which counts as both factors; PASSKEY_REJECTED."""
    device = check(ceremony=ceremony, credential=credential, actor=actor)
    with transaction.atomic():
        # Asked again, and locked: neither a deactivation nor a removal since the check must be outrun.
        user = User.objects.select_for_update().get(pk=device.user_id)
        require_kept(device)
        if not _may_sign_in(user):
            raise _rejected()
        return sessions.opened(user, actor, timezone.now(), amr=(second_factors.AMR[second_factors.WEBAUTHN],))


def _may_sign_in(user: User) -> bool:
    return user.is_active and user.is_verified and not user.must_reset


def _spent(token: str, kind: str) -> OneTimeToken | None:
    """The ceremony a token stands for, spent by this call; None when it is not one, is over or was answered."""
    row = tokens.find(token, _WEBAUTHN)
    return row if row and row.payload.get("for") == kind and tokens.use_up(row) else None


def _descriptors(user: User) -> list[PublicKeyCredentialDescriptor]:
    from webauthn.helpers.structs import AuthenticatorTransport, PublicKeyCredentialDescriptor

    owned = user.mfa_devices.filter(kind=MfaDevice.Kind.WEBAUTHN, confirmed_at__isnull=False).order_by("created_at")
    return [
        PublicKeyCredentialDescriptor(
            id=bytes(device.credential_id or b""), transports=list(map(AuthenticatorTransport, device.transports))
        )
        for device in owned
    ]


def _acceptable(credential: Any) -> dict[str, Any]:
    """The answer as the library is to check it; TypeError or ValueError for what none of its checks would refuse."""
    from webauthn.helpers import base64url_to_bytes
    from webauthn.helpers.structs import AuthenticatorAttachment

    # The library would take a string for JSON, and a second parser is one too many.
    if not isinstance(credential, dict):
        raise TypeError("no JSON object")
    # Not inside the page of a site that may not embed ours (WebAuthn, 7.1 and 7.2); browsers of level 2 do not name it.
    client_data = json.loads(base64url_to_bytes(credential["response"]["clientDataJSON"]))
    top, allowed = client_data.get("topOrigin"), settings.USERS_WEBAUTHN_EMBEDDED_IN
    is_embedded = top is not None or client_data.get("crossOrigin", False) is not False
    if is_embedded and (not allowed or (top is not None and top not in allowed)):
        raise ValueError("embedded")
    if credential.get("authenticatorAttachment") in [known.value for known in AuthenticatorAttachment]:
        return credential
    # Of an enumeration unknown values are ignored (WebAuthn, 2.1.1).
    return {**credential, "authenticatorAttachment": None}


def _bytes_of(value: Any) -> bytes | None:
    """What base64url stands for; None for anything else."""
    from webauthn.helpers import base64url_to_bytes

    try:
        return base64url_to_bytes(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _rejected() -> ProductError:
    return ProductError("PASSKEY_REJECTED", _("The passkey was not accepted; begin again."))
