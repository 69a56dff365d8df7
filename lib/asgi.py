"""The lanes: a few threads that live as long as the process and keep their database connections; Django's stock ASGI
path makes a thread and a connection for every request, and hops into it for signals and synchronous middleware. Here a
request takes a lane at its first synchronous call: an answer that needs no database touches no thread."""

import asyncio
import gc
import logging
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    MutableMapping,
    Sequence,
)
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from contextvars import ContextVar, copy_context
from importlib import import_module
from io import BytesIO
from math import inf
from types import coroutine
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections, connections
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from lib import metrics, stopping, traffic
from lib.common_answers import CommonAnswers
from lib.private import StepHandler, Threads
from lib.text import whole_number

logger = logging.getLogger("switchboard.request")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
T = TypeVar("T")


class Lane:
    """One long-lived thread and its database connections."""

    def __init__(self, number: int) -> None:
        self.executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"lane-{number}")
        self.waiting: set[Future[Any]] = set()

    def submit(self, call: Callable[[], Any]) -> "Future[Any]":
        future = self.executor.submit(call)
        self.waiting.add(future)
        # Called however it ends: a call whose client has left is cancelled in the queue and never runs.
        future.add_done_callback(self.waiting.discard)
        return future


class RequestExecutor(Executor):
    """The executor of one request: it takes the emptiest lane at its first synchronous call and stays there. Inside
    `with`, `sync_to_async` and `on_lane` use it."""

    def __init__(self, lanes: "Lanes") -> None:
        self.lanes = lanes
        self.lane: Lane | None = None

    def __enter__(self) -> "RequestExecutor":
        self._outer = _executor.set(self), self.lanes.threads.enter()
        return self

    def __exit__(self, *error: object) -> None:
        token, entered = self._outer
        self.lanes.threads.leave(entered)
        _executor.reset(token)

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        if self.lane is not None:
            return self.lane.submit(lambda: call(*args, **kwargs))
        self.lane = min(self.lanes.lanes, key=lambda lane: len(lane.waiting))

        def first() -> Any:
            # What the request_started signal does, on the thread that owns the connections.
            close_old_connections()
            return call(*args, **kwargs)

        return self.lane.submit(first)


_executor: ContextVar[RequestExecutor | None] = ContextVar("lib.asgi.executor", default=None)


class _OfRequest(Executor):
    """The executor of whichever request submits."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        executor = _executor.get()
        if executor is None:
            raise RuntimeError("a call of no request")
        return executor.submit(call, *args, **kwargs)


_named: "dict[str, Lanes]" = {}


class Lanes:
    """`count` lanes. A request inside `with lanes.place()` makes its synchronous calls on one of them; metrics know
    them by `name`."""

    def __init__(self, count: int, name: str = "") -> None:
        if name:
            _named[name] = self
        self.lanes = [Lane(number) for number in range(count)]
        self.threads = Threads(_OfRequest())

    def place(self) -> RequestExecutor:
        return RequestExecutor(self)

    def carry(self, app: App) -> App:
        async def carried(scope: Scope, receive: Receive, send: Send) -> None:
            with self.place():
                await app(scope, receive, send)

        return carried

    def close(self, timeout: float = 1.0) -> None:
        """Close the lanes' database connections, but of those that wait for the database all that time; a lane that is
        used again opens its own."""
        wait([lane.submit(connections.close_all) for lane in self.lanes], timeout)


def _calls() -> Iterator[tuple[str, list[int]]]:
    """How many calls each lane has, of each set of lanes by its name."""
    for name, each in _named.items():
        yield name, [len(lane.waiting) for lane in each.lanes]


metrics.Gauge(
    "switchboard_lanes_busy",
    "Threads that answer requests, and do so at the moment.",
    lambda: {(name,): sum(map(bool, calls)) for name, calls in _calls()},
    ("lanes",),
)
metrics.Gauge(
    "switchboard_lane_calls_waiting",
    "Calls that wait for such a thread.",
    lambda: {(name,): sum(max(0, count - 1) for count in calls) for name, calls in _calls()},
    ("lanes",),
)


async def on_lane(call: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """What `call` returns, on the lane of this request; outside of a request as `sync_to_async` has it.

    The call sees the context variables of its caller; what it sets stays with it.
    """
    executor = _executor.get()
    if executor is None:
        return await sync_to_async(call)(*args, **kwargs)
    future: Future[T] = executor.submit(copy_context().run, call, *args, **kwargs)
    return await asyncio.wrap_future(future)


class LaneHandler(StepHandler):
    """Serves requests on lanes between the hooks of `middleware` (dotted paths, outermost first).

    Bodies have at most `limit` bytes; those of larger ones are empty, and their scope is marked IS_OVERSIZED.
    """

    def __init__(self, *, lanes: Lanes, middleware: Sequence[str], limit: float = inf) -> None:
        self.lanes, self.limit, self.common = lanes, limit, CommonAnswers()
        super().__init__(middleware)

    async def _answer(self, request: ASGIRequest) -> HttpResponseBase:
        response = await super()._answer(request)
        if getattr(response, "is_common", False):
            self.common.keep(request, response)  # type: ignore[arg-type]
        return response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if await self.common.give(scope, send):
            return
        headers = dict(scope["headers"])
        body: bytes | None
        if scope.get("http_version") == "1.1" and _BODY.isdisjoint(headers):
            body, is_oversized = b"", False
        else:
            body, is_oversized = await read_bounded(headers, receive, self.limit)
        if body is None:
            return
        if is_oversized:
            scope[IS_OVERSIZED] = True
        with self.lanes.place():
            request, error = self.read_request(scope, BytesIO(body))
            if request is None:
                await self.send_response(error, send)  # type: ignore[arg-type]
            else:
                await _while_connected(self.answer(request, send), receive)


#: Without one of them a request of HTTP/1.1 has no body (RFC 9112, 6.3).
_BODY = frozenset({b"content-length", b"transfer-encoding"})


@coroutine
def _while_connected(answering: Coroutine[Any, Any, None], receive: Receive) -> Generator[Any, Any, None]:
    """Await the answer, and stop it when the client goes away first: looked for once the answer waits for something."""
    try:
        waited = answering.send(None)
    except StopIteration:
        return
    task: Any = asyncio.current_task()
    has_left = False

    async def watch() -> None:
        nonlocal has_left
        while (await receive())["type"] != "http.disconnect":
            pass
        has_left = True
        task.cancel()

    watching = asyncio.ensure_future(watch())
    try:
        while True:
            try:
                yield waited
            except BaseException as error:
                waited = answering.throw(error)
            else:
                waited = answering.send(None)
    except StopIteration:
        pass
    except asyncio.CancelledError:
        if not has_left:
            raise
        task.uncancel()
    finally:
        watching.cancel()


class PiecesResponse(StreamingHttpResponse):
    """A long answer from a plain iterator: as much memory as one piece takes, under ASGI and WSGI alike.

    Under ASGI each piece is made in the request's lane, and others get in between; Django's own class would gather all
    of a plain iterator before it sends the first byte there.
    """

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces: Any = self.streaming_content
        step: Any = sync_to_async(next)
        while (piece := await step(pieces, None)) is not None:
            yield piece


#: In the scope of a request whose body was too large: it is empty, and 413 is the answer.
IS_OVERSIZED = "lib.is_oversized"


async def read_body(receive: Receive, limit: float = inf) -> bytes | None:
    """The whole body, or as much of it as shows that it is over `limit`; None when the client has left."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body
    pieces = bytearray()
    while message["type"] != "http.disconnect":
        pieces += message.get("body", b"")
        if len(pieces) > limit or not message.get("more_body", False):
            return bytes(pieces)
        message = await receive()
    return None


async def read_bounded(headers: Mapping[bytes, bytes], receive: Receive, limit: float) -> tuple[bytes | None, bool]:
    """The whole body, None when the client has left; and whether it is over `limit`: then empty, the rest not read."""
    if (whole_number(headers.get(b"content-length", b"")) or 0) > limit:
        return b"", True
    body = await read_body(receive, limit)
    return (b"", True) if body is not None and len(body) > limit else (body, False)


def bounded(app: App, limit: int) -> App:
    """`app` with bodies of at most `limit` bytes, in memory before it starts. Larger ones are marked IS_OVERSIZED."""

    async def inner(scope: Scope, receive: Receive, send: Send) -> None:
        body, is_oversized = await read_bounded(dict(scope["headers"]), receive, limit)
        if body is None:
            return
        if is_oversized:
            scope[IS_OVERSIZED] = True
        whole: list[Mapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_whole() -> Mapping[str, Any]:
            if whole:
                return whole.pop()
            # What is left of an oversized body is of no interest: it is read until the client has left.
            while (message := await receive())["type"] != "http.disconnect":
                pass
            return message

        await app(scope, receive_whole, send)

    return inner


def by_path(prefixes: Sequence[str], inside: App, outside: App) -> App:
    """Send a path that is one of `prefixes`, or below one, to `inside`; all else to `outside`."""
    exact = frozenset(prefixes)
    below = tuple(f"{prefix}/" for prefix in prefixes)

    def app(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path = scope["path"]
        return (inside if path in exact or path.startswith(below) else outside)(scope, receive, send)

    return app


def loading(module: str, app: App) -> App:
    """`app`, before whose first requests `module` is loaded in a thread: on the event loop all others would wait."""
    is_loaded = False

    def load() -> None:
        import_module(module)
        # It stays: a collection that walked it each time would delay every request.
        gc.freeze()

    async def loaded(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal is_loaded
        if not is_loaded:
            # What a module raises, its next import raises as well: in `app`, which has an answer to it.
            (found,) = await asyncio.gather(asyncio.to_thread(load), return_exceptions=True)
            is_loaded = not isinstance(found, BaseException)
        await app(scope, receive, send)

    return loaded


def with_lifespan(
    app: App,
    *,
    start: Callable[[], None],
    stop: Callable[[], None],
    during: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
) -> App:
    """Answer the ASGI lifespan protocol; `start` and `stop` run in a thread, so they may block, and between them the
    block of `during` on the event loop."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            traffic.count()
            try:
                await app(scope, receive, send)
            except asyncio.CancelledError:
                logger.warning("request cut off at the stop", extra={"path": scope["path"]})
        elif scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.startup":
                pass
            async with AsyncExitStack() as stack:
                try:
                    await asyncio.to_thread(start)
                    await stack.enter_async_context(during())
                except Exception as error:
                    # Let out, uvicorn would take it for an application without lifespan and serve all the same.
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                stopping.handle_signals()
                await send({"type": "lifespan.startup.complete"})
                while (await receive())["type"] != "lifespan.shutdown":
                    pass
            await asyncio.to_thread(stop)
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await send({"type": "websocket.close", "code": 1000})

    return wrapped
