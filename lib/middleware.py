"""What every answer gets, whichever door it leaves by: an id, one log line and the security headers."""

import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from corsheaders.middleware import CorsMiddleware as CorsHeaders
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.cache import patch_vary_headers

from lib import metrics, tracing
from lib.conf import conf
from lib.logs import log_request, request_id
from lib.private import accepted_languages, header, is_secure, loaded_user, remember_texts, set_header, set_missing
from lib.text import remember

_OFFERED_ID = re.compile(r"[A-Za-z0-9._-]{8,64}", re.ASCII)

JSON_POLICY = "default-src 'none'; base-uri 'none'; frame-ancestors 'none'"
PAGE_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
#: What no page of ours asks a browser for, nor anything a page might be made to show.
PERMISSIONS = "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), serial=(), usb=()"
#: On every answer that does not bring its own.
SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def normal_request_id(offered: str) -> str:
    """The caller's own id when it is plain, else a fresh one, which names a request and opens nothing."""
    return offered if offered and _OFFERED_ID.fullmatch(offered) else f"{random.getrandbits(128):032x}"


class HookMiddleware:
    """A middleware of two plain hooks, at home in sync and in async stacks alike.

    `before` may answer in place of the view; `after` sees every answer. Neither may block.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if not self.is_async:
            return self.after(request, self.before(request) or self.get_response(request))

        async def answer() -> HttpResponseBase:
            return self.after(request, self.before(request) or await self.get_response(request))

        return answer()

    def before(self, request: HttpRequest) -> HttpResponse | None:
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        return response


def hsts() -> str:
    """The header of an answer over https (RFC 6797); empty in debug."""
    return f"max-age={settings.SECURE_HSTS_SECONDS}" if settings.SECURE_HSTS_SECONDS else ""


def _by_key(headers: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {name.lower(): (name, value) for name, value in headers.items()}


_VARY = _by_key({"Vary": "origin"})
_ALWAYS = {**SECURITY, "Cache-Control": "no-store"}
_ON_DATA = _by_key({**_ALWAYS, "Content-Security-Policy": JSON_POLICY})
_ON_PAGES = _by_key({**_ALWAYS, "Content-Security-Policy": PAGE_POLICY, "Permissions-Policy": PERMISSIONS})


def secure(request: HttpRequest, response: HttpResponseBase, more: Mapping[str, tuple[str, str]] | None = None) -> None:
    """Add the security headers, and `more`; an answer without a Cache-Control is not to be stored."""
    is_page = (set_header(response, "content-type") or "").startswith("text/html")
    set_missing(response, _ON_PAGES if is_page else _ON_DATA, more)
    if is_secure(request) and (value := hsts()):
        response.headers.setdefault("Strict-Transport-Security", value)


class RequestMiddleware(HookMiddleware):
    """Give the request an id (`X-Request-ID`, the caller's own when it is plain), log its end, add headers."""

    def before(self, request: HttpRequest) -> None:
        request.id = normal_request_id(header(request, b"x-request-id") or "")  # type: ignore[attr-defined]
        request.started = time.perf_counter()  # type: ignore[attr-defined]
        request_id.set(request.id)  # type: ignore[attr-defined]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        own = {"x-request-id": ("X-Request-ID", request.id)}  # type: ignore[attr-defined]
        if not response.streaming and response.status_code != 304:
            own["content-length"] = "Content-Length", str(len(response.content))  # type: ignore[attr-defined]
        secure(request, response, own | request.__dict__.get("own_headers", {}))
        user = request.__dict__.get("auth") or loaded_user(request)
        user_id = str(user.pk) if user is not None and user.pk else None
        # Without what its route calls a token: that opens something, and a log has many readers.
        match = getattr(request, "resolver_match", None)
        token = match.kwargs.get("token") if match else None
        path = request.path.replace(token, "…") if token else request.path
        started: float = request.started  # type: ignore[attr-defined]
        leave_traces(request.method or "", path, match.route if match else "", response.status_code, started, user_id)
        return response


def leave_traces(method: str, path: str, route: str, status: int, started: float, user_id: str | None = None) -> None:
    """What an answer leaves behind: its line in the log, the name of its span, a place in the figures of its route."""
    log_request(method, path, status, started, user_id)
    if tracing.tracer is not None:
        tracing.name_span(method, route)
    metrics.answered(method, route, status, time.perf_counter() - started)


class CorsMiddleware(HookMiddleware, CorsHeaders):
    """django-cors-headers between our hooks; of a request without an Origin there is nothing to look up."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        return self.check_preflight(request) if request.method == "OPTIONS" else None  # type: ignore[return-value]

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if request.method == "OPTIONS" or header(request, b"origin") or set_header(response, "vary"):
            return self.add_response_headers(request, response)
        if _is_covered(request.path_info, conf.CORS_URLS_REGEX) or self.is_enabled(request):
            set_missing(response, _VARY)
        return response


@remember(maxsize=1024)
def _is_covered(path: str, pattern: str) -> bool:
    return re.match(pattern, path) is not None


class ReaderMiddleware:
    """Pages spell moments in the zone of their reader, and those of the admin speak the reader's language.

    The zone: `admin/zone.js` sends its IANA name in the cookie `zone`. Without the cookie, or with a zone this machine
    does not know, that of the product (UTC). The language, one of PAGE_LANGUAGES: the user's `chosen_language`, else
    the best of `Accept-Language`, else English. What is stored or sent by mail is not written in it.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        with timezone.override(_zone(request.COOKIES.get("zone", ""))):
            if not request.path.startswith(reverse("admin:index")):
                return self.get_response(request)
            language = _language(request)
            remember_texts(language)
            with translation.override(language):
                response = self.get_response(request)
            response.headers.setdefault("Content-Language", language)
            patch_vary_headers(response, ("Accept-Language",))
            return response


def _language(request: HttpRequest) -> str:
    """A code as Django calls it: `en-gb`, the product's own, stands for every English."""
    chosen = getattr(request.user, "chosen_language", "")
    asked = [chosen] if chosen else accepted_languages(request.META.get("HTTP_ACCEPT_LANGUAGE", ""))
    known = (name for code in asked for name in (code, code.partition("-")[0]) if name in settings.PAGE_LANGUAGES)
    found = next(known, "en")
    return settings.LANGUAGE_CODE if found == "en" else found


def _zone(name: str) -> ZoneInfo | None:
    # ZoneInfo keeps those it has made: only names there are reach it.
    return ZoneInfo(name) if name in _zones() else None


@cache
def _zones() -> set[str]:
    return available_timezones()
