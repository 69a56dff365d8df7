"""Second factors and passkeys: adding and removing them, signing in with them, proving once more who one is."""

from collections.abc import Callable
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse
from ninja import Body, Router, Status

from lib.actors import Actor
from lib.api import refusals
from lib.asgi import on_lane
from lib.text import read_id
from users.api import auth, schemas
from users.api.accounts import signed_in
from users.api.auth import act, compared, person
from users.responses import never_store, set_device_cookie
from users.services import passkeys, second_factors, sessions, sign_in, tokens

T = TypeVar("T")

router = Router(tags=["Second factors"])

_CHANGE = (400, 401, 403, 413, 422, 503)


async def _freshly(request: HttpRequest, verb: Callable[..., T], **arguments: Any) -> T:
    """Call a verb for a person who has proved lately who they are; REAUTHENTICATION_REQUIRED (403)."""
    user = person(request)

    def call() -> T:
        sessions.require_fresh(user.session_id)
        return verb(user, **arguments)

    return await on_lane(call)


async def _change(request: HttpRequest, verb: Callable[..., T], **arguments: Any) -> T:
    """`_freshly`, for verbs that are put on record and leave this session alone."""
    user = person(request)
    actor = Actor.of(request, "api").as_user(user)
    return await _freshly(request, verb, **arguments, actor=actor, keep=user.session_id)


# --- One's own factors ------------------------------------------------------------------------------------------------


@router.get("/auth/mfa", response={200: schemas.FactorsOut, **refusals(401, 503)}, operation_id="list_own_factors")
async def list_factors(request: HttpRequest, response: HttpResponse) -> schemas.FactorsOut:
    """The authenticator apps and passkeys in use, and how many recovery codes are left."""
    never_store(response)
    found, left = await on_lane(second_factors.overview, person(request))
    return schemas.FactorsOut(devices=[schemas.DeviceOut.of(device) for device in found], recovery_codes=left)


@router.post("/auth/mfa/totp", response={201: schemas.TotpOut, **refusals(*_CHANGE)})
async def start_totp(
    request: HttpRequest, response: HttpResponse, payload: schemas.FactorIn
) -> Status[schemas.TotpOut]:
    """Begin with an authenticator app; it counts once `/auth/mfa/totp/confirm` has seen a code of it."""
    never_store(response)
    made = await _freshly(request, second_factors.start_totp, name=payload.name)
    return Status(201, schemas.TotpOut(id=made.device.pk.hex, secret=made.secret, otpauth_uri=made.uri, svg=made.svg))


@router.post("/auth/mfa/totp/confirm", response={200: schemas.RecoveryCodesOut, **refusals(*_CHANGE)})
async def confirm_totp(
    request: HttpRequest, response: HttpResponse, payload: schemas.CodeIn
) -> schemas.RecoveryCodesOut:
    """Take the authenticator app into use; the other sessions end. Recovery codes are shown this once."""
    never_store(response)
    codes = await _change(request, second_factors.confirm_totp, code=payload.code)
    return schemas.RecoveryCodesOut(recovery_codes=codes)


@router.delete(
    "/auth/mfa/devices/{device_id}",
    response={204: None, **refusals(400, 401, 403, 404, 503)},
    operation_id="remove_own_factor",
)
async def remove_factor(request: HttpRequest, device_id: str) -> Status[None]:
    """Remove an app or a passkey, with the last one the recovery codes too; the other sessions end."""
    await _change(request, second_factors.remove, device_id=read_id(device_id))
    return Status(204, None)


@router.post("/auth/mfa/recovery-codes", response={200: schemas.RecoveryCodesOut, **refusals(400, 401, 403, 503)})
async def new_recovery_codes(request: HttpRequest, response: HttpResponse) -> schemas.RecoveryCodesOut:
    """Ten new recovery codes, shown this once; the old ones are void and the other sessions end."""
    never_store(response)
    codes = await _change(request, second_factors.new_recovery_codes)
    return schemas.RecoveryCodesOut(recovery_codes=codes)


@router.post("/auth/passkeys/register/options", response={200: schemas.CeremonyOut, **refusals(*_CHANGE)})
async def passkey_registration_options(
    request: HttpRequest, response: HttpResponse, payload: schemas.FactorIn
) -> schemas.CeremonyOut:
    """What `navigator.credentials.create` needs for a new passkey."""
    never_store(response)
    ceremony, options = await _freshly(request, passkeys.registration_options, name=payload.name)
    return schemas.CeremonyOut(ceremony=ceremony, options=options)


@router.post("/auth/passkeys/register/verify", response={201: schemas.RecoveryCodesOut, **refusals(*_CHANGE)})
async def register_passkey(
    request: HttpRequest, response: HttpResponse, payload: schemas.PasskeyAnswerIn
) -> Status[schemas.RecoveryCodesOut]:
    """Take the passkey into use; the other sessions end. Recovery codes are shown this once."""
    never_store(response)
    codes = await _change(request, passkeys.register, **payload.model_dump())
    return Status(201, schemas.RecoveryCodesOut(recovery_codes=codes))


# --- Signing in -------------------------------------------------------------------------------------------------------


@router.post(
    "/auth/mfa/verify",
    auth=None,
    response={200: schemas.LoginOut, **refusals(400, 403, 413, 422, 503)},
    exclude_none=True,
)
async def verify_factor(request: HttpRequest, response: HttpResponse, payload: schemas.MfaVerifyIn) -> schemas.LoginOut:
    """The second step of a sign-in that `/login` answered with `LOGIN_MFA_REQUIRED`."""
    auth.check_origin(request)
    if payload.method == second_factors.WEBAUTHN:
        proof = {"ceremony": payload.ceremony, "credential": payload.credential}
        return _let_in(response, await act(request, sign_in.finish_by_passkey, token=payload.mfa_token, **proof))
    proof = {"method": payload.method, "code": payload.code}
    return _let_in(response, await act(request, sign_in.finish_by_code, token=payload.mfa_token, **proof))


@router.post(
    "/auth/passkeys/login/options", auth=None, response={200: schemas.CeremonyOut, **refusals(400, 413, 422, 429, 503)}
)
async def passkey_login_options(
    request: HttpRequest, response: HttpResponse, payload: Body[schemas.LoginOptionsIn | None] = None
) -> schemas.CeremonyOut:
    """What `navigator.credentials.get` needs: for a sign-in by passkey alone, or as its second step."""
    never_store(response)
    token = payload.mfa_token if payload else None

    def begin(*, actor: Actor) -> passkeys.Ceremony:
        passkeys.count_begin(actor)
        return passkeys.login_options(sign_in.find_pending(token).user if token is not None else None)

    ceremony, options = await act(request, begin)
    return schemas.CeremonyOut(ceremony=ceremony, options=options)


@router.post(
    "/auth/passkeys/login/verify",
    auth=None,
    response={200: schemas.LoginOut, **refusals(400, 403, 413, 422, 503)},
    exclude_none=True,
)
async def passkey_login(
    request: HttpRequest, response: HttpResponse, payload: schemas.PasskeyAnswerIn
) -> schemas.LoginOut:
    """Sign in with a passkey alone: what the person has, and what the authenticator knows them by."""
    auth.check_origin(request)
    return _let_in(response, await act(request, passkeys.sign_in, **payload.model_dump()))


def _let_in(response: HttpResponse, opened: sessions.Opened) -> schemas.LoginOut:
    user, made = opened
    set_device_cookie(response, tokens.device_cookie(user.email))
    return signed_in(response, made)


# --- Proving it once more ---------------------------------------------------------------------------------------------


@router.post(
    "/auth/reauthenticate", response={200: schemas.ReauthenticatedOut, **refusals(400, 401, 403, 413, 422, 429, 503)}
)
async def reauthenticate(
    request: HttpRequest, response: HttpResponse, payload: schemas.ReauthenticateIn
) -> schemas.ReauthenticatedOut:
    """Prove once more who one is; for ten minutes (USERS_REAUTH_SECONDS) this session may make sensitive changes."""
    never_store(response)
    user = person(request)
    if payload.password is not None:
        attempt = await act(request, sign_in.begin_own, user)
        checked = await compared(attempt, payload.password)
        auth_at = await on_lane(sign_in.reauthenticate_by_password, user, attempt, checked)
    elif payload.code is not None:
        auth_at = await act(request, sign_in.reauthenticate_by_code, user, code=payload.code)
    else:
        proof = {"ceremony": payload.ceremony or "", "credential": payload.credential}
        auth_at = await act(request, sign_in.reauthenticate_by_passkey, user, **proof)
    return schemas.ReauthenticatedOut(auth_at=auth_at)
