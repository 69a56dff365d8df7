"""The answers as routes of Django: described in OpenAPI, and served where no edge stands in front."""

from __future__ import annotations

import logging
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import RequestDataTooBig
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.urls import register_converter
from django.urls.converters import StringConverter
from ninja import NinjaAPI, Router
from pydantic import BaseModel

from feature_flags.http import dispatch as answers
from feature_flags.http import schemas, streams, wire
from feature_flags.http.asgi import HAS_STREAMS
from feature_flags.http.dispatch import Answer, Request
from feature_flags.http.ofrep import wanted_revision
from feature_flags.runtime import store

logger = logging.getLogger("switchboard.flags")


class KeyConverter(StringConverter):
    """Whatever follows, slashes and line breaks included."""

    regex = r"[\s\S]+"


register_converter(KeyConverter, "key")

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


async def answer(request: HttpRequest) -> HttpResponse:
    """The answer of the route at this path, whatever the method: `answers` knows which it takes."""
    route = answers.find(request.path)
    if route is None:
        raise LookupError(f"{request.path} is routed here, and no answer is.")
    asked = _asked(request)
    try:
        asked.body = request.body if request.method == "POST" else b""
    except RequestDataTooBig:
        return _response(answers.too_large(route, asked))
    if store.snapshot is None:
        # No lifespan has read it where there is none, as under WSGI.
        await sync_to_async(store.current)()
    if route is answers.BULK and (revision := wanted_revision(asked.query)):
        await streams.reach(revision)
    try:
        return _response(answers.respond(route, asked, store.snapshot))
    except Exception:
        logger.exception("unhandled error")
        return _response(answers.failed(route, asked))


def preflight(request: HttpRequest) -> HttpResponse:
    """The answer to a browser that asks before it calls; any page may."""
    return _response(wire.preflight(_asked(request), None))


def _asked(request: HttpRequest) -> Request:
    scope = request.scope if isinstance(request, ASGIRequest) else {}
    return Request(
        method=request.method or "",
        path=request.path,
        query=request.META.get("QUERY_STRING", "").encode("latin-1", "replace"),
        headers={name.lower().encode(): value.encode("latin-1", "replace") for name, value in request.headers.items()},
        body=b"",
        peer=request.META.get("REMOTE_ADDR", ""),
        origin=f"{request.scheme}://{request.get_host()}" if scope.get(HAS_STREAMS) else "",
    )


def _response(found: Answer) -> HttpResponse:
    response = HttpResponse(found.body, status=found.status)
    del response["Content-Type"]
    for name, value in found.headers:
        response[name.decode()] = value.decode("latin-1")
    return response


# --- Description ------------------------------------------------------------------------------------------------------

_TOKEN = {
    "in": "header",
    "name": "X-API-Key",
    "schema": {"type": "string"},
    "description": "A flag token. `Authorization: Bearer <token>` and `Authorization: <token>` do as well.",
}
_UNCHANGED = {
    "in": "header",
    "name": "If-None-Match",
    "schema": {"type": "string"},
    "description": "The `ETag` of an earlier answer: 304 without a body while it is the same.",
}


def _described(*parameters: dict[str, Any], body: type[BaseModel] | None = None) -> dict[str, Any]:
    """What stands in the description only: `answers` reads requests, and refuses in the words of each protocol."""
    extra: dict[str, Any] = {"parameters": [_TOKEN, *parameters]}
    if body is not None:
        extra["requestBody"] = {"content": {"application/json": {"schema": body.model_json_schema()}}}
    return extra


def refusals(*statuses: int) -> dict[int, Any]:
    return dict.fromkeys(statuses, schemas.RefusalOut)


_TAKEN: dict[int, Any] = {202: None, **refusals(400, 401, 403, 413, 503)}
_FAILED: dict[int, Any] = {401: None, 403: None, 413: schemas.FailureOut, 500: schemas.FailureOut}


def _close(router: Router, *paths: str) -> None:
    """The other methods of these paths: preflights, and what is not allowed."""
    for path in paths:
        router.api_operation(_METHODS, path, auth=None, include_in_schema=False)(answer)


# --- The seed's list --------------------------------------------------------------------------------------------------

router = Router(tags=["Feature flags"])


@router.get("/feature-flags", response=list[schemas.FlagOut], auth=None, operation_id="list_feature_flags")
@router.get("", response=list[schemas.FlagOut], auth=None, summary="All flags, short path", operation_id="list_flags")
async def list_flags(request: HttpRequest) -> HttpResponse:
    """Every exposed flag with its stored switch, in codename order."""
    return await answer(request)


# --- Unleash ----------------------------------------------------------------------------------------------------------

unleash = Router(tags=["Unleash"])


@unleash.get(
    "/client/features",
    response={200: schemas.FeaturesOut, 304: None, **refusals(401, 403, 503)},
    auth=None,
    openapi_extra=_described(_UNCHANGED),
)
async def client_features(request: HttpRequest) -> HttpResponse:
    """All flags as server SDKs evaluate them. Needs a server token."""
    return await answer(request)


@unleash.get(
    "/client/delta",
    response={200: schemas.DeltaOut, 304: None, **refusals(401, 403, 503)},
    auth=None,
    openapi_extra=_described(_UNCHANGED),
)
async def client_delta(request: HttpRequest) -> HttpResponse:
    """All flags; then, by the `ETag`, the changes since; `/client/streaming` pushes them. Needs a server token."""
    return await answer(request)


@unleash.post("/client/metrics/bulk", response=_TAKEN, auth=None, openapi_extra=_described(body=schemas.BulkMetricsIn))
async def client_metrics_bulk(request: HttpRequest) -> HttpResponse:
    """What many SDKs have answered, collected by a proxy such as Unleash Edge. Needs a server token."""
    return await answer(request)


@unleash.post("/client/register", response=_TAKEN, auth=None, openapi_extra=_described(body=schemas.RegistrationIn))
async def client_register(request: HttpRequest) -> HttpResponse:
    """Accepted and not kept. Needs a server token."""
    return await answer(request)


@unleash.post("/client/metrics", response=_TAKEN, auth=None, openapi_extra=_described(body=schemas.MetricsIn))
async def client_metrics(request: HttpRequest) -> HttpResponse:
    """What a server SDK has answered, to be added to the usage of flags. Needs a server token."""
    return await answer(request)


@unleash.get(
    "/frontend",
    response={200: schemas.TogglesOut, 304: None, **refusals(400, 401, 403, 503)},
    auth=None,
    openapi_extra=_described(_UNCHANGED),
)
async def frontend_toggles(request: HttpRequest) -> HttpResponse:
    """The flags that are on for the context in the query: `userId=7&properties[country]=IT`. Needs a frontend token."""
    return await answer(request)


@unleash.post(
    "/frontend",
    response={200: schemas.TogglesOut, 304: None, **refusals(400, 401, 403, 413, 503)},
    auth=None,
    openapi_extra=_described(_UNCHANGED, body=schemas.FrontendIn),
)
async def frontend_toggles_post(request: HttpRequest) -> HttpResponse:
    """The same for a context in the body. Needs a frontend token."""
    return await answer(request)


@unleash.post(
    "/frontend/client/register", response=_TAKEN, auth=None, openapi_extra=_described(body=schemas.RegistrationIn)
)
async def frontend_register(request: HttpRequest) -> HttpResponse:
    """Accepted and not kept. Needs a frontend token."""
    return await answer(request)


@unleash.post("/frontend/client/metrics", response=_TAKEN, auth=None, openapi_extra=_described(body=schemas.MetricsIn))
async def frontend_metrics(request: HttpRequest) -> HttpResponse:
    """What a browser has answered, to be added to the usage of flags. Needs a frontend token."""
    return await answer(request)


_close(unleash, "/frontend", "/frontend/client/register", "/frontend/client/metrics")
_close(unleash, "/client/features", "/client/register", "/client/metrics", "/client/metrics/bulk", "/client/delta")
_close(router, "/feature-flags", "")

# --- OFREP ------------------------------------------------------------------------------------------------------------

# An API of its own: the protocol fixes its path, outside of `/api`.
ofrep = NinjaAPI(
    title="Switchboard OFREP",
    version="1",
    description="OpenFeature Remote Evaluation Protocol.",
    urls_namespace="ofrep",
    docs_url=None,
)


@ofrep.post(
    "/evaluate/flags",
    response={200: schemas.BulkOut, 304: None, 400: schemas.FailureOut, **_FAILED},
    tags=["OFREP"],
    openapi_extra=_described(_UNCHANGED, body=schemas.EvaluationIn),
)
async def evaluate_flags(request: HttpRequest) -> HttpResponse:
    """All flags for one context; a frontend token sees the exposed ones. `eventStreams` tell when to ask again."""
    return await answer(request)


@ofrep.post(
    "/evaluate/flags/{key:key}",
    response={
        200: schemas.EvaluationOut,
        400: schemas.FlagFailureOut,
        404: schemas.FlagFailureOut,
        **_FAILED,
    },
    tags=["OFREP"],
    openapi_extra=_described(body=schemas.EvaluationIn),
)
async def evaluate_flag(request: HttpRequest, key: str) -> HttpResponse:
    """One flag for one context. Whatever follows `/flags/` is its key."""
    return await answer(request)


@ofrep.api_operation(_METHODS, "/evaluate/flags/{key:key}", include_in_schema=False)
async def evaluate_flag_otherwise(request: HttpRequest, key: str) -> HttpResponse:
    return await answer(request)


_close(ofrep.default_router, "/evaluate/flags", "/evaluate/flags/")
