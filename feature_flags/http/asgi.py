"""The flag endpoints in front of Django: plain ASGI, from memory. All else is passed on untouched. Endpoints are pure
functions from a request and a snapshot to a response: none reads a database or waits. `routes` is their other
entrance, inside Django."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

from django.conf import settings

from feature_flags.http import ofrep, streams, unleash
from feature_flags.http.cache import ResponseCache, cache_of
from feature_flags.http.wire import FRONTEND, SERVER, Refused, Request, Response, authenticate, normal_path, preflight
from feature_flags.runtime import store
from feature_flags.runtime.snapshot import Snapshot
from lib import metrics, tracing
from lib.asgi import App, Receive, Scope, Send, read_bounded
from lib.conf import conf
from lib.logs import log_request, request_id
from lib.middleware import hsts, normal_request_id
from lib.private import by_name, host_is_allowed
from lib.text import remember

logger = logging.getLogger("switchboard.flags")

#: In the scope of what is passed on: streams can be opened at this entrance.
HAS_STREAMS = "feature_flags.streams"
_COUNTS_SECONDS = 60.0

#: Larger bodies of reports are refused.
_METRICS_LIMIT = 1_000_000

Endpoint = Callable[[Request, ResponseCache, Any], Response]


@dataclass(frozen=True)
class Route:
    """One path. `refuse` writes a refusal as its clients expect; `is_site`: CORS_ORIGINS hold, not those of a token.

    `needs` is the kind of token that endpoints are called with: any when empty, without one when None.
    """

    name: str
    endpoints: Mapping[str, Endpoint]
    refuse: Callable[[Request, Refused], Response]
    needs: str | None = ""
    limit: int = 64 * 1024
    is_site: bool = False


_site = partial(Route, refuse=unleash.refuse_on_site, is_site=True)
_frontend = partial(Route, refuse=unleash.refuse, needs=FRONTEND)
_SEED = _site("seed list", {"GET": unleash.seed_list}, needs=None)
BULK = Route("ofrep bulk", {"POST": ofrep.bulk}, ofrep.refuse)
SINGLE = Route("ofrep single", {"POST": ofrep.single}, ofrep.refuse)
_REGISTER, _REPORT = {"POST": unleash.register}, {"POST": unleash.report}

ROUTES = {
    "/api/feature-flags": _SEED,
    "/api/feature-flags/feature-flags": _SEED,
    "/api/client/features": _site("client features", {"GET": unleash.client_features}, needs=SERVER),
    "/api/client/delta": _site("client delta", {"GET": unleash.client_delta}, needs=SERVER),
    "/api/client/metrics": _site("client metrics", _REPORT, needs=SERVER, limit=_METRICS_LIMIT),
    "/api/client/metrics/bulk": _site(
        "client metrics bulk", {"POST": unleash.bulk_report}, needs=SERVER, limit=_METRICS_LIMIT
    ),
    "/api/client/register": _site("client register", _REGISTER, needs=SERVER),
    "/edge/validate": _site("edge validate", {"POST": unleash.validate}, needs=None),
    "/api/frontend": _frontend("frontend", {"GET": unleash.frontend, "POST": unleash.frontend_post}),
    "/api/frontend/client/register": _frontend("frontend register", _REGISTER),
    "/api/frontend/client/metrics": _frontend("frontend metrics", _REPORT, limit=_METRICS_LIMIT),
    ofrep.PREFIX: BULK,
    # A base address that ends in a slash.
    f"/{ofrep.PREFIX}": BULK,
}
#: What metrics call the routes, by their names.
_TEMPLATES = {route.name: path.lstrip("/") for path, route in reversed(ROUTES.items())} | {
    SINGLE.name: f"{ofrep.PREFIX.lstrip('/')}/<key>",
    "stream": "ofrep/v1/stream",
}
_SINGLE_PREFIXES = (f"{ofrep.PREFIX}/", f"/{ofrep.PREFIX}/")
_PREFIXES = ("/api/", "/edge/", "//edge/", *_SINGLE_PREFIXES)


def find(path: str) -> Route | None:
    """The route of a decoded path.

    A base address may end in a slash, and browsers follow no redirect of a preflight: all but the seed's own list
    answer with a closing slash, and with two slashes between base and rest, too.
    """
    route = ROUTES.get(path)
    if route is None and (path.endswith("/") or "//" in path) and path.startswith(_PREFIXES):
        route = ROUTES.get(normal_path(path))
        route = None if route is _SEED else route
    if route is None and path.startswith(_SINGLE_PREFIXES):
        return SINGLE
    return route


def respond(route: Route, request: Request, snapshot: Snapshot | None) -> Response:
    try:
        if request.method == "OPTIONS" and not route.is_site:
            return preflight(request)
        endpoint = route.endpoints.get(request.method)
        if endpoint is None:
            raise Refused(405)
        if len(request.body) > route.limit:
            raise Refused(413)
        cache = cache_of(snapshot)
        token = None if route.needs is None else authenticate(request, cache, route.needs)
        return endpoint(request, cache, token)
    except Refused as refused:
        response = route.refuse(request, refused)
        if refused.status != 405:
            return response
        methods = [*route.endpoints, *([] if route.is_site else ["OPTIONS"])]
        allowed = ", ".join(sorted(methods)).encode()
        return response._replace(headers=[*response.headers, (b"allow", allowed)])


def edge(inner: App) -> App:
    """`inner` with the flag endpoints in front of it."""

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] != "http":
            return inner(scope, receive, send)
        path = scope["path"]
        route = find(path)
        if route is None:
            if (stream := streams.find(path)) is None:
                return inner(scope, receive, send)
            path = stream
        return answer(route, path, scope, receive, send)

    async def answer(route: Route | None, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        request = _request(scope, path)
        if tracing.tracer is not None:
            tracing.name_span(request.method, _TEMPLATES[route.name if route else "stream"])
        # CORS_ORIGINS answers preflights for the site before it looks at a path.
        is_site_preflight = route is not None and route.is_site and request.method == "OPTIONS"
        if not request.origin or (route is not None and not conf.FLAGS_EDGE) or is_site_preflight:
            scope[HAS_STREAMS] = True
            await inner(scope, receive, send)
            return
        if scope["scheme"] == "https":
            send = _with_hsts(send)
        if route is None:
            response = await _stream(request, receive, send)
        elif request.method == "POST":
            response = await _post(route, request, receive)
        else:
            if tag := request.headers.get(b"if-none-match"):
                # Between two processes a client must not be led back to what it knew before.
                await streams.wait_for(streams.named_revision(tag))
            response = _respond(route, request, perf_counter())
        if response is not None:
            status, headers, body = response
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return app


def _with_hsts(send: Send) -> Send:
    async def sending(message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start" and (value := hsts()):
            added = (b"strict-transport-security", value.encode())
            message = {**message, "headers": [*message["headers"], added]}
        await send(message)

    return sending


def _request(scope: Scope, path: str) -> Request:
    headers = by_name(scope["headers"])
    origin = _origin(headers.get(b"host"), scope["scheme"], tuple(conf.ALLOWED_HOSTS))
    client = scope.get("client")
    return Request(scope["method"], path, scope["query_string"], headers, b"", client[0] if client else "", origin)


@remember(maxsize=256)
def _origin(host: bytes | None, scheme: str, allowed: tuple[str, ...]) -> str:
    """`https://host` when the Host header is one of ours, as Django sees it; else empty."""
    if not allowed and settings.DEBUG:
        allowed = (".localhost", "127.0.0.1", "[::1]")
    text = (host or b"").decode("latin-1")
    return f"{scheme}://{text}" if host_is_allowed(text, allowed) else ""


def _respond(route: Route, request: Request, started: float) -> Response:
    try:
        response = respond(route, request, store.snapshot)
    except Exception as error:
        return _finish(route.name, request, route.refuse(request, Refused(500)), started, error)
    return _finish(route.name, request, response, started)


async def _post(route: Route, request: Request, receive: Receive) -> Response | None:
    """None when the client has left before its body was here."""
    started = perf_counter()
    body, is_oversized = await read_bounded(request.headers, receive, route.limit)
    if is_oversized:
        return _finish(route.name, request, route.refuse(request, Refused(413)), started)
    if body is None:
        return None
    request.body = body
    if route is BULK and (revision := ofrep.wanted_revision(request.query)):
        await streams.wait_for(revision)
    return _respond(route, request, started)


async def _stream(request: Request, receive: Receive, send: Send) -> Response | None:
    """None when the stream has been opened and is over."""
    started = perf_counter()
    await streams.wait_for(streams.named_revision(request.headers.get(b"last-event-id")))
    opened = streams.open_stream(request)
    if isinstance(opened, Response):
        return _finish("stream", request, opened, started)
    _count("stream", request.method, 200, started)
    await opened.run(receive, send)
    return None


def _finish(
    name: str, request: Request, response: Response, started: float, error: Exception | None = None
) -> Response:
    """The response as it leaves. A success is counted; a failure is logged, with the id that it carries."""
    _count(name, request.method, response.status, started)
    if response.status < 400:
        return response
    identity = normal_request_id(request.headers.get(b"x-request-id", b"").decode("latin-1"))
    request_id.set(identity)
    if error is not None:
        logger.error("unhandled error", exc_info=error)
    log_request(request.method, request.path, response.status, started)
    return response._replace(headers=[*response.headers, (b"x-request-id", identity.encode())])


#: What metrics count answers in, by name, method and status; and how much of it is in the log.
_rows: dict[tuple[str, str, int], list[float]] = {}
_logged: dict[tuple[str, str, int], float] = {}
_logged_at = perf_counter()


def _count(name: str, method: str, status: int, started: float) -> None:
    """In a row of its own, on the event loop alone: neither lock nor look-up of labels. One log line for all requests
    of a minute, in place of one each."""
    now = perf_counter()
    row = _rows.get((name, method, status))
    if row is None:
        row = _rows[name, method, status] = metrics.row(method, _TEMPLATES[name], status)
    row[bisect_left(metrics.REQUESTS.bounds, now - started)] += 1
    row[-1] += now - started
    if now - _logged_at >= _COUNTS_SECONDS:
        _log_counts(now)


def _log_counts(now: float) -> None:
    global _logged_at
    served: dict[str, int] = {}
    for key, row in sorted(_rows.items()):
        number = sum(row[:-1])
        if new := int(number - _logged.get(key, 0)):
            name, _method, status = key
            served[f"{name} {status}"] = served.get(f"{name} {status}", 0) + new
        _logged[key] = number
    logger.info("served from memory", extra={"served": served, "seconds": round(now - _logged_at)})
    _logged_at = now
