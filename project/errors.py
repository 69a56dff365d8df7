"""How the API words what went wrong: the wire form seed clients compare literally."""

from __future__ import annotations

import logging
import sys
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, cast

from django.core.exceptions import BadRequest, DisallowedHost, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.handlers.asgi import ASGIRequest
from django.core.serializers.json import DjangoJSONEncoder
from django.db import InterfaceError, InternalError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.utils import translation
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError, ValidationErrorContext

from lib.asgi import IS_OVERSIZED
from lib.background import log_failure
from lib.conf import conf
from lib.errors import STATUS_WORDS, ProductError
from lib.middleware import HookMiddleware
from lib.private import PlainResponse, header, host_is_allowed, json_of, without_error_line
from lib.text import remember

logger = logging.getLogger("switchboard.errors")
_encode = json_of(DjangoJSONEncoder(separators=(",", ":")))


def answer(request: HttpRequest, status: int, detail: Any = None, code: str = "", **extra: Any) -> HttpResponse:
    """`{"detail", "code", "request_id"}` and `extra` with `status`; the words of the status where none are given."""
    words, slug = STATUS_WORDS.get(status, STATUS_WORDS[400 if status < 500 else 500])
    detail, code, identity = words if detail is None else detail, code or slug, getattr(request, "id", "")
    if detail is words and code is slug and not extra:
        body = f'{{"detail":"{words}","code":"{slug}","request_id":{quoted(identity)}}}'
    else:
        body = _encode({"detail": detail, "code": code, "request_id": identity, **extra})
    response = PlainResponse(body.encode(), status)
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def common(request: HttpRequest, status: int) -> HttpResponse:
    """What all are answered who ask for this path without credentials (lib/common_answers.py)."""
    response = answer(request, status)
    response.is_common = True  # type: ignore[attr-defined]
    return response


#: Where a refusal carries the sentence for people beside its code: no client of the seed calls these.
TOLD = ("/api/staff/", "/api/auth/api-keys")


def _refusal(request: HttpRequest, error: ProductError) -> HttpResponse:
    detail: Any = error.detail or f"ErrorCode.{error.code}"
    if error.nested:
        detail = {"code": f"ErrorCode.{error.code}"}
        if error.reason:
            detail["reason"] = error.reason
    sentence = {"message": str(error.message)} if request.path.startswith(TOLD) else {}
    response = answer(request, error.status, detail, error.slug, **sentence, **error.extra)
    if error.extra:
        response["Cache-Control"] = "no-store"
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    return response


def _http(request: HttpRequest, error: HttpError) -> HttpResponse:
    if isinstance(error.__cause__, (ValueError, RecursionError)):
        # ninja's word for a body that is no JSON is 400; the seed's is 422.
        problem = {"type": "json_invalid", "loc": ["body"], "msg": "JSON decode error"}
        return answer(request, 422, [problem])
    return answer(request, error.status_code)


def _unavailable(request: HttpRequest, error: Exception) -> HttpResponse:
    # Every request has such an error while the database is away or full: its kind and place tell all there is.
    log_failure("database", error)
    response = answer(request, 503)
    response["Retry-After"] = "1"
    return without_error_line(response)


def _internal(request: HttpRequest, error: Exception) -> HttpResponse:
    """A primary that has become read-only (SQLSTATE 25006) is one that does not answer; the rest are bugs."""
    is_read_only = getattr(error.__cause__, "sqlstate", None) == "25006"
    return _unavailable(request, error) if is_read_only else _bug(request, error)


def _bug(request: HttpRequest, error: Exception) -> HttpResponse:
    logger.error("unhandled error", exc_info=error)
    return without_error_line(answer(request, 500))


def page(request: HttpRequest) -> HttpResponse:
    """What Django answers for an error that a page of the admin let rise (`handler500`)."""
    if not isinstance(sys.exception(), (OperationalError, InterfaceError)):
        return HttpResponse(render_to_string("500.html"), status=500)
    response = _unavailable(request, cast(Exception, sys.exception()))
    # Which language the reader chose is in the database.
    with translation.override(translation.get_language_from_request(request)):
        response["Content-Type"], response.content = "text/html; charset=utf-8", render_to_string("503.html").encode()
    return response


def install(api: NinjaAPI) -> None:
    """Word every error of `api`."""
    handlers: dict[type[Exception], Any] = {
        Exception: _bug,
        ProductError: _refusal,
        ValidationError: lambda request, error: answer(request, 422, error.errors),
        HttpError: _http,
        AuthenticationError: lambda request, error: common(request, 401),
        Http404: lambda request, error: answer(request, 404),
        PermissionDenied: lambda request, error: answer(request, 403),
        RequestDataTooBig: lambda request, error: answer(request, 413),
        BadRequest: lambda request, error: answer(request, 400),
        SuspiciousOperation: lambda request, error: answer(request, 400),
        MultiPartParserError: lambda request, error: answer(request, 400),
        UnreadablePostError: lambda request, error: answer(request, 400),
        OperationalError: _unavailable,
        InterfaceError: _unavailable,
        InternalError: _internal,
    }
    for kind, handler in handlers.items():
        api.add_exception_handler(kind, handler)


def validation_error(contexts: list[ValidationErrorContext[Any]]) -> ValidationError:
    """`[{"type", "loc", "msg"}]` with `loc` = `["body", field]`: no parameter names, and never the input."""
    problems = []
    for context in contexts:
        model, error = context.model, context.pydantic_validation_error
        place = "body" if model.__ninja_param_source__ == "form" else model.__ninja_param_source__
        parameter = getattr(model, "__read_from_single_attr__", None)
        for problem in error.errors(include_url=False, include_input=False, include_context=False):
            loc = tuple(model.__ninja_flatten_map_reverse__.get(problem["loc"], problem["loc"]))
            if loc and parameter and loc[0] == parameter:
                loc = loc[1:]
            problems.append({"type": problem["type"], "loc": [place, *loc], "msg": problem["msg"]})
    return ValidationError(problems)


class JsonErrorsMiddleware(HookMiddleware):
    """JSON for errors that never reach ninja: unknown hosts, wrong methods, what Django caught; bodies that are too
    large for any path."""

    def before(self, request: HttpRequest) -> HttpResponse | None:
        if isinstance(request, ASGIRequest) and IS_OVERSIZED in request.scope:
            return answer(request, 413)
        # What CommonMiddleware asks on the other pages.
        if request.path.startswith(_CHECKED):
            host = header(request, b"host")
            if host is None or not _is_listed(host, tuple(conf.ALLOWED_HOSTS)):
                try:
                    request.get_host()
                except DisallowedHost:
                    return answer(request, 400)
        return None

    def after(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        if response.status_code < 400 or not request.path.startswith(_APIS):
            return response
        # Without a type it has no body, and means it: OFREP's 401 and 403.
        kind = response.headers.get("Content-Type")
        if kind is None or kind.startswith("application/json"):
            return response
        worded = answer(request, response.status_code)
        for name in ("Allow", "Retry-After", "WWW-Authenticate"):
            if name in response.headers:
                worded[name] = response.headers[name]
        return worded


_APIS = ("/api/", "/ofrep/", "//ofrep/", "/edge/", "//edge/", "/mcp")
_CHECKED = ("/api", *_APIS)


_is_listed = remember(maxsize=256)(host_is_allowed)
