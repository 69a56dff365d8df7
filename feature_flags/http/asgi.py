"""The flag answers in front of Django: plain ASGI over `answers`, from memory. All else is handed on untouched."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from time import monotonic, perf_counter
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from feature_flags.conf import live
from feature_flags.http import dispatch as answers
from feature_flags.http import streams
from feature_flags.http.dispatch import Answer, Request, Route
from feature_flags.http.ofrep import wanted_revision
from feature_flags.runtime import store
from lib.asgi import declared_length, read_body
from lib.caches import remember
from lib.logs import request_id
from lib.middleware import hsts, log_request, normal_request_id

logger = logging.getLogger("switchboard.flags")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

#: In the scope of what is handed on: streams can be opened at this door.
HAS_STREAMS = "feature_flags.streams"
_COUNTS_SECONDS = 60.0


def edge(inner: App) -> App:
    """`inner` with the flag answers in front of it."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return
        path = scope["path"]
        route = answers.find(path)
        if route is None:
            if (stream := streams.find(path)) is None:
                await inner(scope, receive, send)
                return
            path = stream
        request = _request(scope, path)
        if not request.origin or (route is not None and not _is_ours(route, request)):
            scope[HAS_STREAMS] = True
            await inner(scope, receive, send)
            return
        if scope["scheme"] == "https":
            send = _with_hsts(send)
        if route is None:
            answer = await _stream(request, receive, send)
        elif request.method == "POST":
            answer = await _posted(route, request, receive)
        else:
            if tag := request.headers.get(b"if-none-match"):
                # Between two processes a client must not be led back to what it knew before.
                await streams.reach(streams.named_revision(tag))
            answer = _answered(route, request, perf_counter())
        if answer is not None:
            status, headers, body = answer
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
    headers = dict(scope["headers"])
    if len(headers) != len(scope["headers"]):
        headers = _joined(scope["headers"])
    origin = _origin(headers.get(b"host"), scope["scheme"], live.hosts)
    client = scope.get("client")
    return Request(scope["method"], path, scope["query_string"], headers, b"", client[0] if client else "", origin)


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Repeated headers as one list (RFC 9110, 5.3), as Django reads them."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b"," + value if name in headers else value
    return headers


def _is_ours(route: Route, request: Request) -> bool:
    # The house answers preflights for its own origins before it looks at a path.
    return live.is_edge_on and not (route.is_house and request.method == "OPTIONS")


@remember(maxsize=256)
def _origin(host: bytes | None, scheme: str, allowed: tuple[str, ...]) -> str:
    """`https://host` when the Host header is one of ours, as Django sees it; else empty."""
    if not allowed and settings.DEBUG:
        allowed = (".localhost", "127.0.0.1", "[::1]")
    text = (host or b"").decode("latin-1")
    domain, _ = split_domain_port(text)
    return f"{scheme}://{text}" if domain and validate_host(domain, list(allowed)) else ""


def _answered(route: Route, request: Request, started: float) -> Answer:
    try:
        answer = answers.respond(route, request, store.snapshot)
    except Exception as problem:
        return _noted(route.name, request, answers.failed(route, request), started, problem)
    return _noted(route.name, request, answer, started)


async def _posted(route: Route, request: Request, receive: Receive) -> Answer | None:
    """None when the client has left before its body was here."""
    started = perf_counter()
    if declared_length(request.headers.get(b"content-length", b"")) > route.limit:
        return _noted(route.name, request, answers.too_large(route, request), started)
    body = await read_body(receive, route.limit)
    if body is None:
        return None
    request.body = body
    if route is answers.BULK and (revision := wanted_revision(request.query)):
        await streams.reach(revision)
    return _answered(route, request, started)


async def _stream(request: Request, receive: Receive, send: Send) -> Answer | None:
    """None when the stream has been opened and is over."""
    started = perf_counter()
    await streams.reach(streams.named_revision(request.headers.get(b"last-event-id")))
    opened = streams.open_stream(request)
    if isinstance(opened, Answer):
        return _noted("stream", request, opened, started)
    _count("stream", 200)
    await opened.run(receive, send)
    return None


def _noted(name: str, request: Request, answer: Answer, started: float, error: Exception | None = None) -> Answer:
    """The answer as it leaves. A success is counted; a failure can be found again."""
    _count(name, answer.status)
    if answer.status < 400:
        return answer
    identity = normal_request_id(request.headers.get(b"x-request-id", b"").decode("latin-1"))
    request_id.set(identity)
    if error is not None:
        logger.error("unhandled error", exc_info=error)
    log_request(request.method, request.path, answer.status, started)
    return answer._replace(headers=[*answer.headers, (b"x-request-id", identity.encode())])


_counts: dict[tuple[str, int], int] = {}
_counted_at = monotonic()


def _count(name: str, status: int) -> None:
    """In place of a log line each: one for all of a minute."""
    global _counted_at
    key = name, status
    _counts[key] = _counts.get(key, 0) + 1
    now = monotonic()
    if now - _counted_at >= _COUNTS_SECONDS:
        served = {f"{name} {status}": count for (name, status), count in sorted(_counts.items())}
        logger.info("served from memory", extra={"served": served, "seconds": round(now - _counted_at)})
        _counts.clear()
        _counted_at = now
