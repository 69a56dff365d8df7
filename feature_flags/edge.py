"""The flag answers in front of Django: plain ASGI over `answers`, from memory. All else is handed on untouched."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from functools import lru_cache
from time import monotonic, perf_counter
from typing import Any

from django.conf import settings
from django.http.request import split_domain_port, validate_host

from feature_flags import answers, store, streams
from feature_flags.answers import Answer, Request, Route
from feature_flags.answers.ofrep import wanted_revision
from feature_flags.live import live
from lib.logs import request_id
from lib.middleware import log_request, normal_request_id

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
        is_stream = route is None and path in streams.PATHS
        if route is None and not is_stream:
            await inner(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if len(headers) != len(scope["headers"]):
            headers = _joined(scope["headers"])
        host = _served_host(headers.get(b"host"), live.hosts)
        client = scope.get("client")
        request = Request(
            scope["method"],
            path,
            scope["query_string"],
            headers,
            b"",
            client[0] if client else "",
            f"{scope['scheme']}://{host}" if live.offers_streams else "",
        )
        if not host or (route is not None and not _is_ours(route, request)):
            scope[HAS_STREAMS] = True
            await inner(scope, receive, send)
        elif route is None:
            await _stream(request, receive, send)
        else:
            await _serve(route, request, receive, send)

    return app


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Repeated headers as one list (RFC 9110, 5.3), as Django reads them."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b"," + value if name in headers else value
    return headers


def _is_ours(route: Route, request: Request) -> bool:
    # The house answers preflights for its own origins before it looks at a path.
    return live.is_edge_on and not (route.is_house and request.method == "OPTIONS")


@lru_cache(maxsize=256)
def _served_host(host: bytes | None, allowed: tuple[str, ...]) -> str:
    """The Host header when it is one of ours, as Django sees it; else empty."""
    if not allowed and settings.DEBUG:
        allowed = (".localhost", "127.0.0.1", "[::1]")
    text = (host or b"").decode("latin-1")
    domain, _ = split_domain_port(text)
    return text if domain and validate_host(domain, list(allowed)) else ""


async def _serve(route: Route, request: Request, receive: Receive, send: Send) -> None:
    started = perf_counter()
    error = None
    try:
        if request.method == "POST":
            if _declared_length(request) > route.limit:
                await _send(route.name, request, answers.too_large(route, request), send, started)
                return
            body = await _read(receive, route.limit)
            if body is None:
                return
            request = request._replace(body=body)
        if route is answers.BULK and (revision := wanted_revision(request.query)):
            await streams.reach(revision)
        answer = answers.respond(route, request, store.snapshot)
    except Exception as problem:
        error = problem
        answer = answers.failed(route, request)
    await _send(route.name, request, answer, send, started, error)


async def _stream(request: Request, receive: Receive, send: Send) -> None:
    started = perf_counter()
    opened = streams.open_stream(request)
    if isinstance(opened, Answer):
        await _send("stream", request, opened, send, started)
    else:
        _count("stream", 200)
        await opened.run(receive, send)


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The body, or as much of it as shows that it is too large; None when the client has left."""
    body: bytes = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += message.get("body", b"")
        if len(body) > limit or not message.get("more_body", False):
            return body


def _declared_length(request: Request) -> int:
    declared = request.headers.get(b"content-length", b"")
    return int(declared) if declared.isdigit() and len(declared) < 19 else 0


async def _send(
    name: str, request: Request, answer: Answer, send: Send, started: float, error: Exception | None = None
) -> None:
    status, headers, body = answer
    _count(name, status)
    if status >= 400:
        # A success is counted; a failure can be found again.
        identity = normal_request_id(request.headers.get(b"x-request-id", b"").decode("latin-1"))
        request_id.set(identity)
        headers = [*headers, (b"x-request-id", identity.encode())]
        if error is not None:
            logger.error("unhandled error", exc_info=error)
        log_request(request.method, request.path, status, started)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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
