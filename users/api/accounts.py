"""The seed's account endpoints, answer for answer. Bodies in, verbs called, bodies out."""

import asyncio
import json
from contextlib import nullcontext

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja import Form, Router, Status

from lib.actors import Actor
from lib.addresses import normal_email
from lib.api import refusals
from lib.asgi import on_lane
from users.api import auth, schemas
from users.api.auth import act, as_if_mailed, compared, person
from users.responses import never_store, set_device_cookie
from users.services import hashing, passwords, personal_data, registration, sessions, sign_in, tokens

router = Router(tags=["Accounts"])

_LOOK_AGAIN, _LOOKS = 0.2, 10  # seconds, times
_waiting = asyncio.Semaphore(32)


@router.get("/_authenticated", response={200: schemas.GreetingOut, **refusals(401)}, operation_id="greet")
async def authenticated(request: HttpRequest) -> schemas.GreetingOut:
    """Greet the owner of the bearer."""
    return schemas.GreetingOut(message=f"Hello {person(request).first_name}!")


@router.get(
    "/users/user",
    auth=auth.person_or_key("account:read"),
    response={200: schemas.UserOut, **refusals(401, 403)},
    operation_id="get_own_profile",
)
async def get_user(request: HttpRequest) -> schemas.UserOut:
    """The signed-in person."""
    return schemas.UserOut.of(person(request))


@router.patch(
    "/users/user", response={200: schemas.UserOut, **refusals(401, 403, 413, 422)}, operation_id="change_own_profile"
)
async def change_user(request: HttpRequest, payload: schemas.ProfileIn) -> schemas.UserOut:
    """Change the names given; the others stay."""
    names = payload.model_dump(exclude_unset=True)
    return schemas.UserOut.of(await personal_data.rename(person(request), **names, actor=Actor.of(request, "api")))


@router.post("/register", auth=None, response={201: schemas.UserOut, **refusals(400, 404, 413, 422, 429, 503)})
async def register(
    request: HttpRequest, response: HttpResponse, payload: schemas.RegisterIn
) -> Status[schemas.UserOut]:
    """Ask for an account; it opens with the code mailed by `request-verification-token`.

    `X-Registration-Token` of the answer (for browsers a cookie) tells the next two calls whose registration it is.
    """
    never_store(response)
    await act(request, registration.check_register, email=payload.email, password=payload.password)
    password_hash = await hashing.amake(payload.password, registration.salt(payload.email))
    # Where no one is to learn who has an account, the clock must not give it away either.
    async with as_if_mailed() if settings.USERS_REGISTER_ENUMERATION == "safe" else nullcontext():
        given = payload.model_dump(exclude={"password"})
        held = auth.registration_token(request)
        user_id, token = await act(request, registration.register, password_hash=password_hash, held=held, **given)
    auth.hand_registration_token(request, response, token)
    return Status(201, schemas.UserOut(id=user_id.hex, **given))


@router.post(
    "/auth/request-verification-token",
    auth=None,
    response={200: schemas.VerificationOut, **refusals(413, 422, 429, 503)},
    exclude_none=True,
)
async def request_verification_token(
    request: HttpRequest, response: HttpResponse, payload: schemas.EmailIn
) -> schemas.VerificationOut:
    """Mail a code to an unverified account; every address is answered alike."""
    never_store(response)
    async with as_if_mailed():
        held = auth.registration_token(request)
        token, code = await act(request, registration.request_code, email=payload.email, held=held)
    shown = code if settings.USERS_RETURN_VERIFICATION_TOKENS else None
    return schemas.VerificationOut(verification_token=token, registration_code=shown)


@router.post("/auth/verify", auth=None, response={200: schemas.VerifiedOut, **refusals(400, 413, 422, 503)})
async def verify(request: HttpRequest, payload: schemas.VerifyIn) -> schemas.VerifiedOut:
    """Prove the address with the token and the mailed code."""
    # Anyone gets a token for any address; how long a wrong code takes must not tell whether it is one to be proved.
    async with as_if_mailed():
        held = auth.registration_token(request)
        await act(request, registration.verify, token=payload.token, code=payload.registration_code, held=held)
    return schemas.VerifiedOut()


@router.post(
    "/login", auth=None, response={200: schemas.LoginOut, **refusals(400, 403, 413, 422, 429, 503)}, exclude_none=True
)
async def login(request: HttpRequest, response: HttpResponse, payload: Form[schemas.LoginForm]) -> schemas.LoginOut:
    """Sign in with address and password."""
    auth.check_origin(request)
    # Seed clients do not percent-encode the form, so the plus of `ada+test@…` arrives as a blank.
    email = payload.username.strip().replace(" ", "+")
    made = await _sign_in(email, payload.password, Actor.of(request, "api"))
    set_device_cookie(response, tokens.device_cookie(normal_email(email)))
    return signed_in(response, made)


@router.post(
    "/auth/refresh-tokens",
    auth=None,
    response={200: schemas.RefreshOut, **refusals(400, 403, 413, 422, 429, 503)},
    exclude_none=True,
)
async def refresh_tokens(
    request: HttpRequest, response: HttpResponse, payload: schemas.RefreshIn
) -> schemas.RefreshOut:
    """A new access token, and with rotation the refresh token to use next time."""
    auth.check_origin(request)
    made = await sessions.refresh(token=payload.token, actor=Actor.of(request, "api"))
    return schemas.RefreshOut(
        access_token=_hand_over(response, made),
        access_token_expiration=made.access_seconds,
        refresh_token=made.refresh,
        refresh_token_expiration=made.refresh_seconds if made.refresh else None,
    )


@router.delete("/logout", auth=None, response={200: schemas.LogoutOut, **refusals(413, 503)})
async def logout(request: HttpRequest, response: HttpResponse) -> schemas.LogoutOut:
    """End the session of the bearer, the cookie or the `refresh_token` in a JSON body; always 200."""
    # A foreign page may send the cookie along; it must not sign its visitor out with it.
    cookie = auth.cookie_token(request) if auth.is_from_here(request) else ""
    try:
        token = json.loads(request.body).get("refresh_token")
    except (ValueError, RecursionError, AttributeError):
        token = None
    await act(
        request,
        sessions.logout,
        access_tokens=list(filter(None, (cookie, auth.bearer_token(request)))),
        refresh_token=token if isinstance(token, str) and token.isascii() else None,
    )
    if cookie and settings.USERS_ACCESS_TOKEN_COOKIE_DELETE_ON_LOGOUT:
        auth.set_cookie(response, "", 0)
    return schemas.LogoutOut()


@router.post(
    "/auth/forgot-password",
    auth=None,
    response={200: schemas.TokenSentOut, **refusals(413, 422, 429, 503)},
    exclude_none=True,
)
async def forgot_password(
    request: HttpRequest, response: HttpResponse, payload: schemas.AnyAddressIn
) -> schemas.TokenSentOut:
    """Mail a reset link to an active account; every address is answered alike."""
    never_store(response)
    async with as_if_mailed():
        token = await act(request, passwords.forgot, email=payload.email)
    return schemas.TokenSentOut(forgot_password_token=token if settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN else None)


@router.post(
    "/auth/reset-password", auth=None, response={200: schemas.PasswordResetOut, **refusals(400, 413, 422, 503)}
)
async def reset_password(request: HttpRequest, payload: schemas.ResetIn) -> schemas.PasswordResetOut:
    """Set a new password with the token of a mailed link; signs out everywhere."""
    row = await on_lane(passwords.check_reset, **payload.model_dump())
    await act(request, passwords.reset, row, password_hash=await hashing.amake(payload.password))
    return schemas.PasswordResetOut()


def signed_in(response: HttpResponse, made: sessions.Tokens) -> schemas.LoginOut:
    """The answer to a sign-in, by whatever proof."""
    return schemas.LoginOut(
        access_token=_hand_over(response, made),
        refresh_token=made.refresh or "",
        access_token_expiration=made.access_seconds,
        refresh_token_expiration=made.refresh_seconds,
    )


async def _sign_in(email: str, password: str, actor: Actor) -> sessions.Tokens:
    begun: list[asyncio.Task[sign_in.Attempt]] = []
    try:
        attempt = await _patiently(begun, email, actor)
        checked = await compared(attempt, password)
    except asyncio.CancelledError:
        # Who leaves once the try is counted has failed, as far as anybody knows.
        if begun and not isinstance(left := (await asyncio.gather(*begun, return_exceptions=True))[-1], BaseException):
            await on_lane(sign_in.note_failure, left, why="abandoned")
        raise
    return await asyncio.shield(sign_in.aopen_session(attempt, checked))


async def _patiently(begun: list[asyncio.Task[sign_in.Attempt]], email: str, actor: Actor) -> sign_in.Attempt:
    """Begin, waiting a moment for tries under way on the same account: many right ones at once are no guessing.

    What is `begun` goes on when the client leaves.
    """
    while True:
        begun[:] = [asyncio.ensure_future(sign_in.abegin(email=email, actor=actor))]
        try:
            return await asyncio.shield(begun[0])
        except sign_in.Paused as error:
            # A pause that stands is answered at once; and no crowd of guesses is kept waiting.
            if not error.may_clear or _waiting.locked():
                raise
        async with _waiting:
            for _ in range(_LOOKS):
                await asyncio.sleep(_LOOK_AGAIN)
                if not await on_lane(sign_in.is_paused, email=email, actor=actor):
                    break


def _hand_over(response: HttpResponse, made: sessions.Tokens) -> str | None:
    """Set the cookie in cookie mode; return what the body says of the access token."""
    never_store(response)
    if not settings.USERS_ACCESS_TOKEN_VIA_COOKIE:
        return made.access
    auth.set_cookie(response, made.access, made.access_seconds)
    return made.access if settings.USERS_ACCESS_TOKEN_COOKIE_KEEP_IN_BODY else None
