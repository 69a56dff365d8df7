"""The API: routers under `/api`, one kind of authentication, one way to word errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
from importlib import import_module
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe
from ninja import NinjaAPI, Swagger
from ninja.errors import ValidationError, ValidationErrorContext
from ninja.parser import Parser
from ninja.renderers import JSONRenderer
from ninja.responses import NinjaJSONEncoder
from pydantic import BaseModel

from feature_flags.http import asgi
from feature_flags.http.routes import answer as flag_answer
from feature_flags.http.routes import ofrep, preflight
from feature_flags.http.routes import router as feature_flags_router
from feature_flags.http.routes import unleash as unleash_router
from lib.api import common
from lib.middleware import PAGE_POLICY
from lib.private import compact, json_of
from lib.text import read_json
from notifications.api import router as notifications_router
from project import errors
from users.api.accounts import router as users_router
from users.api.auth import BearerOrCookie, person_or_key
from users.api.keys import router as keys_router
from users.api.own_account import router as account_router
from users.api.second_factors import router as mfa_router

if TYPE_CHECKING:
    from ninja.openapi.schema import OpenAPISchema
    from ninja.operation import Operation


class StrictParser(Parser):
    """JSON as RFC 8259 has it: `NaN` and `Infinity` are Python's, not JSON's. All bodies are objects: where one may be
    left out, `null` does not stand for it."""

    def parse_body(self, request: HttpRequest) -> Any:
        if (body := read_json(request.body)) is None:
            raise ValueError("null is no body.")
        return body


class CompactRenderer(JSONRenderer):
    """JSON without blanks, by one encoder."""

    encode = staticmethod(json_of(NinjaJSONEncoder(separators=(",", ":"))))

    def render(self, request: HttpRequest, data: Any, *, response_status: int) -> bytes:
        return self.encode(data).encode()


#: The page of the document draws its arrows from its style sheet; all it loads is served from here.
DOCS_POLICY = f"{PAGE_POLICY}; img-src 'self' data:"


def _docs(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    @require_safe
    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        response = view(request, *args, **kwargs)
        if response.headers["Content-Type"].startswith("text/html"):
            response["Content-Security-Policy"] = DOCS_POLICY
            return response
        etag = f'"{sha256(response.content).hexdigest()[:32]}"'
        response["ETag"], response["Cache-Control"] = etag, "no-cache"
        unchanged: HttpResponse | None = get_conditional_response(request, etag=etag, response=response)
        return unchanged or response

    return shown


class Docs(Swagger):
    """Ninja's own would load its script from elsewhere, since ninja is not among INSTALLED_APPS."""

    def render_page(self, request: HttpRequest, api: NinjaAPI, **kwargs: Any) -> HttpResponse:
        about = {**self.settings, "url": self.get_openapi_url(api, kwargs)}
        return render(request, self.template, {"swagger_settings": json.dumps(about, indent=1), "api": api})


#: Two thirds of all operations, which the first who asks for one loads: the URLconf below `/api/staff`.
STAFF = "project.staff_urls"


class SwitchboardAPI(NinjaAPI):
    _document: OpenAPISchema | None = None

    def get_openapi_schema(self, **kwargs: Any) -> OpenAPISchema:
        """With the operations for staff. Made once: that takes a second of a processor."""
        if self._document is None:
            # Loaded by the first who asks.
            from project import openapi

            document, staff = super().get_openapi_schema(**kwargs), import_module(STAFF).api
            openapi.add(document, NinjaAPI.get_openapi_schema(staff, path_prefix=f"{document.path_prefix}staff/"))
            openapi.add(document, ofrep.get_openapi_schema())
            openapi.complete(document, openapi.refusals())
            # Whole, as others may ask meanwhile.
            self._document = document
        return self._document

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        return errors.validation_error(error_contexts)


def make(auth: Any, **options: Any) -> SwitchboardAPI:
    """An API that reads, answers and words errors as all of ours do."""
    made = SwitchboardAPI(auth=auth, parser=StrictParser(), renderer=CompactRenderer(), **options)
    made.add_decorator(compact, mode="view")
    errors.install(made)
    return made


api = make(
    BearerOrCookie(),
    title="Switchboard",
    version="1",
    description="Accounts, feature flags and notifications.",
    docs=Docs(),
    docs_url="/docs",
    openapi_url="/openapi.json",
    docs_decorator=_docs,
)
errors.install(ofrep)


class StatusOut(BaseModel):
    status: str = "running"


@api.get("/_status", auth=None, response=StatusOut, tags=["Operation"], operation_id="get_status")
@common
async def status(request: HttpRequest) -> StatusOut:
    """Whether the API answers."""
    return StatusOut()


api.add_router("", users_router)
api.add_router("", account_router)
api.add_router("", mfa_router)
api.add_router("", keys_router)
api.add_router("/feature-flags", feature_flags_router)
api.add_router("", unleash_router)
api.add_router("/notifications", notifications_router, auth=person_or_key("inbox"))


async def not_found(request: HttpRequest, path: str = "") -> HttpResponse:
    """What no route took: flag answers asked with a closing slash; 307 to the same path without it where that is one;
    else a JSON 404. What is asked by OPTIONS is never redirected."""
    if asgi.find(request.path):
        return await flag_answer(request)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return preflight(request)
    bare = request.path.rstrip("/")
    if bare == request.path:
        return errors.common(request, 404)
    try:
        route = resolve(bare)
    except Resolver404:
        return errors.common(request, 404)
    if route.func is not not_found:
        if request.method == "OPTIONS":
            request.path = bare
            answered: Any = route.func(request, *route.args, **route.kwargs)
            response: HttpResponse = await answered if isawaitable(answered) else answered
            return response
        query = request.META.get("QUERY_STRING", "")
        moved = errors.answer(request, 307)
        moved["Location"] = f"{bare}?{query}" if query else bare
        return moved
    return errors.common(request, 404)


# The lanes see ninja's own attribute; Django's stock handler asks this one.
not_found.csrf_exempt = True  # type: ignore[attr-defined]
