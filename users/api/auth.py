"""What the endpoints of accounts share: authentication by token or cookie, cookies, and how they answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from ninja.security.base import AuthBase

from lib.actors import Actor
from lib.asgi import on_lane
from lib.conf import conf
from lib.errors import ProductError
from lib.net import client_ip, is_listed, normal_origin
from lib.private import header
from users.models import User
from users.responses import cookie_attributes
from users.services import api_keys, hashing, sessions, sign_in, staff_calls

T = TypeVar("T")

COOKIE = "auth"
REGISTRATION_HEADER = "X-Registration-Token"
_REGISTRATION_SECONDS = 30 * 86400  # as long as an unverified account is kept
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class BearerAuth(AuthBase):
    """Who calls, by `find`. With `counts` each call counts toward the limit of staff's (users/services/staff_calls.py):
    before anything is asked of it, so that refused ones do as well."""

    openapi_type = "http"
    openapi_scheme = "bearer"

    def __init__(self, *, counts: bool = False) -> None:
        super().__init__()
        self.is_async = True
        self.counts = counts

    async def __call__(self, request: HttpRequest) -> User | None:
        user = await self.find(request)
        if user and self.counts:
            await on_lane(staff_calls.count, request, user)
        return user

    async def find(self, request: HttpRequest) -> User | None:
        raise NotImplementedError


class ApiKey(BearerAuth):
    """`Authorization: Bearer sbk_…`: an API key with `scope`; without one the operation asks for permissions itself."""

    openapi_bearerFormat = "sbk_…"  # noqa: N815 (the key of OpenAPI)
    openapi_description = "An API key, of a person or a service account."

    def __init__(self, scope: str = "", *, counts: bool = False) -> None:
        super().__init__(counts=counts)
        self.scope = scope

    async def find(self, request: HttpRequest) -> User | None:
        bearer = bearer_token(request)
        if not bearer.startswith(api_keys.PREFIX):
            return None
        user = await api_keys.authenticate(bearer, ip=client_ip(request))
        if user and self.scope and self.scope not in user.api_key.scopes.split():  # type: ignore[union-attr]
            message = f"The key lacks the scope {self.scope}."
            raise ProductError("SCOPE_MISSING", message, status=403, reason=message)
        return user


class BearerOrCookie(BearerAuth):
    """`Authorization: Bearer <access token>` (RFC 6750); with USERS_ACCESS_TOKEN_VIA_COOKIE a live cookie wins."""

    openapi_bearerFormat = "JWT"  # noqa: N815 (the key of OpenAPI)
    openapi_description = "The access token of a person who has signed in."

    async def find(self, request: HttpRequest) -> User | None:
        cookie, bearer = cookie_token(request), bearer_token(request)
        if bearer.startswith(api_keys.PREFIX):
            # An operation that takes keys has asked before; a dead one is refused like any other token.
            if await api_keys.authenticate(bearer, ip=client_ip(request)):
                message = "This takes a person who has signed in, no API key."
                raise ProductError("KEY_NOT_ACCEPTED", message, status=403, reason=message)
            return None
        if not cookie and not bearer:
            return None
        user, is_by_cookie = await _first_live(cookie, bearer)
        if user and is_by_cookie and not is_from_here(request):
            raise _foreign()
        return user


def person_or_key(scope: str = "", *, counts: bool = False) -> list[AuthBase]:
    """The `auth` of an operation that takes either."""
    return [ApiKey(scope, counts=counts), BearerOrCookie(counts=counts)]


def check_origin(request: HttpRequest) -> None:
    """In cookie mode, before an answer sets the cookie: CSRF_ORIGIN (403) for a foreign page.

    It could otherwise sign its visitor in to an account of its own, by a form that sends itself.
    """
    if settings.USERS_ACCESS_TOKEN_VIA_COOKIE and not is_from_here(request):
        raise _foreign()


def _foreign() -> ProductError:
    return ProductError("CSRF_ORIGIN", "This origin may not act with the cookie.", status=403)


async def _first_live(cookie: str, bearer: str) -> tuple[User | None, bool]:
    if cookie and (user := await sessions.authenticate(cookie)):
        return user, True
    return (await sessions.authenticate(bearer) if bearer else None), False


def bearer_token(request: HttpRequest) -> str:
    scheme, _, token = (header(request, b"authorization") or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def cookie_token(request: HttpRequest) -> str:
    return request.COOKIES.get(COOKIE, "") if conf.USERS_ACCESS_TOKEN_VIA_COOKIE else ""


def is_from_here(request: HttpRequest) -> bool:
    """Whether an unsafe request that a browser sent by itself comes from this site or a listed origin.

    Asked in the order Origin, Sec-Fetch-Site, Referer; a caller that sends none of them is no browser.
    """
    if request.method in _SAFE_METHODS:
        return True
    if (origin := request.META.get("HTTP_ORIGIN")) is not None:
        return _is_ours(request, _origin(origin, is_bare=True))
    if (site := request.META.get("HTTP_SEC_FETCH_SITE")) is not None:
        return site in {"same-origin", "same-site", "none"}
    if (referer := request.META.get("HTTP_REFERER")) is not None:
        return _is_ours(request, _origin(referer))
    return True


def _is_ours(request: HttpRequest, origin: str) -> bool:
    if is_listed(origin):
        return True
    base = _origin(settings.BASE_URL)
    own = _origin(f"{request.scheme}://{request.META.get('HTTP_HOST', '')}")
    # A proxy that is not trusted makes https look like http: a page over http is still not ours.
    secure = own.replace("http:", "https:", 1)
    if own != secure and (secure == base or is_listed(secure)):
        own = ""
    return bool(origin) and origin in {own, base}


def _origin(address: str, *, is_bare: bool = False) -> str:
    """`scheme://host[:port]` of an address in its one spelling (RFC 6454, 6.2); empty when it is none.

    `is_bare`: an Origin header, which has neither a path nor anything else behind the port.
    """
    try:
        parts = urlsplit(address)
        rest = parts.path or parts.query or parts.fragment
        return "" if is_bare and rest else normal_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError:
        return ""


def set_cookie(response: HttpResponse, token: str, seconds: int) -> None:
    """The cookie of USERS_ACCESS_TOKEN_VIA_COOKIE; no seconds delete it."""
    response.set_cookie(COOKIE, token, max_age=seconds, **cookie_attributes())


# --- Whose pending registration it is ---------------------------------------------------------------------------------


def registration_token(request: HttpRequest) -> str:
    """The token that this caller's `/register` was answered with, from the header or the cookie; else empty.

    A foreign page that makes a browser register must not speak with the token of its visitor.
    """
    if given := request.headers.get(REGISTRATION_HEADER):
        return given
    return request.COOKIES.get(_registration_cookie(), "") if is_from_here(request) else ""


def hand_registration_token(request: HttpRequest, response: HttpResponse, token: str) -> None:
    """As a header for those who keep no cookies, and as a cookie, unless a foreign page would plant it."""
    response[REGISTRATION_HEADER] = token
    if is_from_here(request):
        response.set_cookie(_registration_cookie(), token, max_age=_REGISTRATION_SECONDS, **cookie_attributes())


def _registration_cookie() -> str:
    """With `__Host-` (RFC 6265bis, 4.1.3.2) no other host of the domain can plant a token of its own registration."""
    return "__Host-registration" if settings.USERS_ACCESS_TOKEN_COOKIE_SECURE else "registration"


# --- Answers ----------------------------------------------------------------------------------------------------------

#: Above what queuing a mail takes on a busy machine, below what a person notices.
MAIL_SECONDS = 0.1


def person(request: HttpRequest) -> User:
    """Whose bearer or cookie it is."""
    return request.auth  # type: ignore[attr-defined, no-any-return]


async def act(request: HttpRequest, verb: Callable[..., T], *args: Any, **given: Any) -> T:
    """Call a verb with the client of the request, and who is signed in, as the actor."""
    return await on_lane(verb, *args, **given, actor=Actor.of(request, "api"))


async def compared(attempt: sign_in.Attempt, password: str) -> hashing.Checked:
    """What the comparison of a counted try came to; a try that the full queue turns away does not count. BUSY (503)."""
    try:
        return await hashing.acheck(password, attempt.encoded)
    except ProductError:
        await on_lane(sign_in.give_up, attempt)
        raise


@asynccontextmanager
async def as_if_mailed() -> AsyncIterator[None]:
    """Answer no earlier: what is done for a known address takes longer, and no one is to see that it was done."""
    ends = time.monotonic() + MAIL_SECONDS
    try:
        yield
    finally:
        await asyncio.sleep(max(0.0, ends - time.monotonic()))
