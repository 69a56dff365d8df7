"""The API: routers under `/api`, one kind of authentication, one way to word errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from hashlib import sha256
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
from feature_flags.staff_api import files, flags, history, segments, tokens, why
from lib.middleware import PAGE_POLICY
from lib.private import compact, json_of
from lib.text import read_json
from notifications.api import router as notifications_router
from notifications.staff_api import announcements, messages, recipients, templates, webhooks
from project import errors
from users.api.accounts import router as users_router
from users.api.auth import BearerOrCookie, person_or_key
from users.api.keys import router as keys_router
from users.api.own_account import router as account_router
from users.api.second_factors import router as mfa_router
from users.api.staff import router as people_router

if TYPE_CHECKING:
    from ninja.openapi.schema import OpenAPISchema
    from ninja.operation import Operation


class StrictParser(Parser):
    """JSON as RFC 8259 has it: `NaN` and `Infinity` are Python's, not JSON's."""

    def parse_body(self, request: HttpRequest) -> Any:
        return read_json(request.body)


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


class SwitchboardAPI(NinjaAPI):
    _document: OpenAPISchema | None = None

    def get_openapi_schema(self, **kwargs: Any) -> OpenAPISchema:
        """Made once: that takes a second of a processor."""
        if self._document is None:
            # Loaded by the first who asks.
            from project import openapi

            document = super().get_openapi_schema(**kwargs)
            openapi.complete(document)
            # Whole, as others may ask meanwhile.
            self._document = document
        return self._document

    def get_openapi_operation_id(self, operation: Operation) -> str:
        return operation.view_func.__name__

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        return errors.validation_error(error_contexts)


api = SwitchboardAPI(
    title="Switchboard",
    version="1",
    description="Accounts, feature flags and notifications.",
    docs=Docs(),
    docs_url="/docs",
    openapi_url="/openapi.json",
    docs_decorator=_docs,
    auth=BearerOrCookie(),
    parser=StrictParser(),
    renderer=CompactRenderer(),
)
api.add_decorator(compact, mode="view")
errors.install(api)
errors.install(ofrep)


class StatusOut(BaseModel):
    status: str = "running"


@api.get("/_status", auth=None, response=StatusOut, tags=["Operation"], operation_id="get_status")
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
#: Put under `/api/staff` with the verbs of the admin, once its pages are registered (project/staff_api.py).
STAFF = [
    people_router,
    *(each.router for each in (flags, history, why, segments, tokens, files)),
    *(each.router for each in (messages, recipients, templates, webhooks, announcements)),
]


async def not_found(request: HttpRequest, path: str = "") -> HttpResponse:
    """What no route took: flag answers asked with a closing slash; 307 to the same path without it where that is one;
    else a JSON 404. What is asked by OPTIONS is never redirected."""
    if asgi.find(request.path):
        return await flag_answer(request)
    if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
        return preflight(request)
    bare = request.path.rstrip("/")
    if bare == request.path:
        return errors.answer(request, 404)
    try:
        route = resolve(bare)
    except Resolver404:
        return errors.answer(request, 404)
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
    return errors.answer(request, 404)


# The lanes see ninja's own attribute; Django's stock handler asks this one.
not_found.csrf_exempt = True  # type: ignore[attr-defined]
