"""The endpoints as routes of Django: described in OpenAPI, and served where no `asgi.edge` stands in front."""

from __future__ import annotations

import logging
from typing import Any, Literal

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import register_converter
from django.urls.converters import StringConverter
from ninja import NinjaAPI, Router
from pydantic import BaseModel, ConfigDict, Field, RootModel

from feature_flags.http import asgi, streams, wire
from feature_flags.http.ofrep import wanted_revision
from feature_flags.http.wire import FRONTEND, SERVER, Refused, Request, Response
from feature_flags.runtime import store
from lib.api import Schema

logger = logging.getLogger("switchboard.flags")

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


class KeyConverter(StringConverter):
    """Any text, slashes and line breaks included."""

    regex = r"[\s\S]+"


register_converter(KeyConverter, "key")


async def answer(request: HttpRequest) -> HttpResponse:
    """The response of the route at this path, for any method: `asgi` knows which it takes."""
    route = asgi.find(request.path)
    if route is None:
        raise LookupError(f"{request.path} is routed here, and no endpoint is.")
    given = _request(request)
    try:
        given.body = request.body if request.method == "POST" else b""
    except RequestDataTooBig:
        return _response(route.refuse(given, Refused(413)))
    if store.snapshot is None:
        # No lifespan has read it where there is none, as under WSGI.
        await sync_to_async(store.current)()
    if route is asgi.BULK and (revision := wanted_revision(given.query)):
        await streams.wait_for(revision)
    try:
        return _response(asgi.respond(route, given, store.snapshot))
    except Exception:
        logger.exception("unhandled error")
        return _response(route.refuse(given, Refused(500)))


def preflight(request: HttpRequest) -> HttpResponse:
    """The response to a browser's preflight; any page may call."""
    return _response(wire.preflight(_request(request)))


def _request(request: HttpRequest) -> Request:
    scope = request.scope if isinstance(request, ASGIRequest) else {}
    return Request(
        method=request.method or "",
        path=request.path,
        query=request.META.get("QUERY_STRING", "").encode("latin-1", "replace"),
        headers={name.lower().encode(): value.encode("latin-1", "replace") for name, value in request.headers.items()},
        body=b"",
        peer=request.META.get("REMOTE_ADDR", ""),
        origin=f"{request.scheme}://{request.get_host()}" if scope.get(asgi.HAS_STREAMS) else "",
    )


def _response(found: Response) -> HttpResponse:
    response = HttpResponse(found.body, status=found.status)
    del response["Content-Type"]
    for name, value in found.headers:
        response[name.decode()] = value.decode("latin-1")
    return response


# --- Shapes on the wire, for the API's own description: answers are ready bytes ---------------------------------------


class FlagOut(Schema):
    codename: str
    label: str | None
    description: str | None
    is_active: bool


class _Open(Schema):
    model_config = ConfigDict(extra="allow")


class EvaluationIn(Schema):
    context: dict[str, Any] | None = Field(
        None,
        description="What describes the user: texts, numbers, booleans. Without `userId`, `targetingKey` is it.",
        examples=[{"targetingKey": "7f9c", "country": "IT"}],
    )


class EvaluationOut(Schema):
    """No `value`: the default in the caller's code holds."""

    key: str
    value: Any = None
    reason: Literal["STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "DEFAULT", "UNKNOWN"]
    variant: str


class EventStreamOut(Schema):
    type: Literal["sse"]
    url: str
    inactivityDelaySec: int  # noqa: N815


class BulkOut(Schema):
    flags: list[EvaluationOut]
    metadata: dict[str, int]
    eventStreams: list[EventStreamOut] = []  # noqa: N815


class FailureOut(Schema):
    errorCode: str  # noqa: N815
    errorDetails: str  # noqa: N815


class FlagFailureOut(FailureOut):
    key: str


class FeaturesOut(_Open):
    """The document of Unleash's client API, version 2. `segments` only for clients of specification 4.2.0 and newer."""

    version: int
    features: list[dict[str, Any]]
    segments: list[dict[str, Any]] = []
    query: dict[str, str]
    meta: dict[str, Any]


class FrontendIn(Schema):
    context: dict[str, Any] | None = None


class VariantOut(Schema):
    name: str
    enabled: bool
    payload: dict[str, str] | None = None
    feature_enabled: bool
    featureEnabled: bool  # noqa: N815


class ToggleOut(Schema):
    name: str
    enabled: bool
    impressionData: bool  # noqa: N815
    variant: VariantOut


class TogglesOut(Schema):
    toggles: list[ToggleOut]


class RefusalOut(Schema):
    """As everywhere under `/api`; the request's id stands in the header alone."""

    detail: str
    code: str


class MetricsIn(_Open):
    """What cannot be counted is left out, whatever its shape: no report is refused for it."""

    appName: Any = ""  # noqa: N815
    bucket: Any = Field(
        None,
        description="What was counted since the last report.",
        examples=[{"start": "…", "stop": "…", "toggles": {"FF_A": {"yes": 3, "no": 1, "variants": {"blue": 2}}}}],
    )


class BulkMetricsIn(_Open):
    metrics: list[Any] = Field(
        [], examples=[[{"featureName": "FF_A", "appName": "shop", "yes": 3, "no": 1, "variants": {"blue": 2}}]]
    )


class DeltaOut(_Open):
    """`hydration` holds everything; then `feature-updated`, `feature-removed`, `segment-updated`, `segment-removed`."""

    events: list[dict[str, Any]]


class RegistrationIn(RootModel[Any]):
    """Not read: every application may register."""


# --- Description: requests are read by `asgi`, which refuses them in the form of each protocol --------------------

_OTHERWISE = "`X-API-Key: <token>` and `Authorization: <token>` do as well."
#: How the flag APIs know who calls, by the name in the description: a kind of flag token each.
SECURITY_SCHEMES = {
    name: {"type": "http", "scheme": "bearer", "bearerFormat": form, "description": f"{about} {_OTHERWISE}"}
    for name, form, about in (
        ("ServerToken", "sbs_…", "A flag token of a server: it sees every flag."),
        ("FrontendToken", "sbf_…", "A flag token of pages and apps: it sees the exposed flags."),
    )
}
_SCHEMES = {SERVER: ["ServerToken"], FRONTEND: ["FrontendToken"], "": list(SECURITY_SCHEMES)}
_UNCHANGED = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier answer: 304 without a body while it is the same.",
}


def _described(*parameters: dict[str, Any], body: type[BaseModel] | None = None) -> dict[str, Any]:
    extra: dict[str, Any] = {"parameters": [*parameters], "security": _secured("")}
    if body is not None:
        extra["requestBody"] = {"content": {"application/json": {"schema": body.model_json_schema()}}}
    return extra


def _secured(needs: str) -> list[dict[str, list[str]]]:
    """By which kind of token, of all that do."""
    return [{name: []} for name in _SCHEMES[needs]]


def _refusals(*statuses: int) -> dict[int, Any]:
    return dict.fromkeys(statuses, RefusalOut)


router = Router(tags=["Feature flags"])


@router.get("/feature-flags", response=list[FlagOut], auth=None, operation_id="list_public_flags")
@router.get(
    "", response=list[FlagOut], auth=None, summary="All flags, short path", operation_id="list_public_flags_short"
)
async def list_flags(request: HttpRequest) -> HttpResponse:
    """Every exposed flag with its stored switch, in codename order."""
    return await answer(request)


unleash = Router(tags=["Unleash"])

_ACCEPTED: dict[int, Any] = {202: None, **_refusals(400, 401, 403, 413, 503)}
_TOGGLES: dict[int, Any] = {200: TogglesOut, 304: None, **_refusals(400, 401, 403, 503)}


def _read(schema: type[BaseModel]) -> dict[int, Any]:
    return {200: schema, 304: None, **_refusals(401, 403, 503)}


#: Method, path, name, responses, and the description of the request.
_UNLEASH_ROUTES: list[tuple[str, str, str, dict[int, Any], dict[str, Any]]] = [
    ("GET", "/client/features", "client_features", _read(FeaturesOut), _described(_UNCHANGED)),
    ("GET", "/client/delta", "client_delta", _read(DeltaOut), _described(_UNCHANGED)),
    ("POST", "/client/metrics/bulk", "client_metrics_bulk", _ACCEPTED, _described(body=BulkMetricsIn)),
    ("POST", "/client/register", "client_register", _ACCEPTED, _described(body=RegistrationIn)),
    ("POST", "/client/metrics", "client_metrics", _ACCEPTED, _described(body=MetricsIn)),
    ("GET", "/frontend", "frontend_toggles", _TOGGLES, _described(_UNCHANGED)),
    (
        "POST",
        "/frontend",
        "frontend_toggles_post",
        {**_TOGGLES, **_refusals(413)},
        _described(_UNCHANGED, body=FrontendIn),
    ),
    ("POST", "/frontend/client/register", "frontend_register", _ACCEPTED, _described(body=RegistrationIn)),
    ("POST", "/frontend/client/metrics", "frontend_metrics", _ACCEPTED, _described(body=MetricsIn)),
]
for method, path, name, responses, extra in _UNLEASH_ROUTES:
    route = asgi.ROUTES[f"/api{path}"]
    unleash.api_operation(
        [method],
        path,
        response=responses,
        auth=None,
        operation_id=f"unleash_{name}",
        summary=name.replace("_", " ").title(),
        description=f"{route.endpoints[method].__doc__} Needs a {route.needs} token.",
        openapi_extra={**extra, "security": _secured(route.needs or "")},
    )(answer)

# An API of its own: the protocol fixes its path, outside of `/api`.
ofrep = NinjaAPI(
    title="Switchboard OFREP",
    version="1",
    description="OpenFeature Remote Evaluation Protocol.",
    urls_namespace="ofrep",
    docs_url=None,
)
_FAILURES: dict[int, Any] = {401: None, 403: None, 413: FailureOut, 500: FailureOut}


@ofrep.post(
    "/evaluate/flags",
    response={200: BulkOut, 304: None, 400: FailureOut, **_FAILURES},
    tags=["OFREP"],
    operation_id="evaluate_flags",
    openapi_extra=_described(_UNCHANGED, body=EvaluationIn),
)
async def evaluate_flags(request: HttpRequest) -> HttpResponse:
    """All flags for one context; a frontend token sees the exposed ones. `eventStreams` tell when to ask again."""
    return await answer(request)


@ofrep.post(
    "/evaluate/flags/{key:key}",
    response={200: EvaluationOut, 400: FlagFailureOut, 404: FlagFailureOut, **_FAILURES},
    tags=["OFREP"],
    operation_id="evaluate_flag",
    openapi_extra=_described(body=EvaluationIn),
)
async def evaluate_flag(request: HttpRequest, key: str) -> HttpResponse:
    """One flag for one context. Whatever follows `/flags/` is its key."""
    return await answer(request)


@ofrep.api_operation(_METHODS, "/evaluate/flags/{key:key}", include_in_schema=False)
async def evaluate_flag_otherwise(request: HttpRequest, key: str) -> HttpResponse:
    return await answer(request)


# The other methods of these paths: preflights, and what is not allowed.
for part, paths in (
    (unleash, dict.fromkeys(path for _, path, *_ in _UNLEASH_ROUTES)),
    (router, ("/feature-flags", "")),
    (ofrep.default_router, ("/evaluate/flags", "/evaluate/flags/")),
):
    for path in paths:
        part.api_operation(_METHODS, path, auth=None, include_in_schema=False)(answer)
