"""Server-sent events. OFREP's eventStreams carry a revision and say “ask again”; Unleash's stream carries changes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import Callable, Iterator
from time import monotonic, time
from urllib.parse import parse_qs

from django.conf import settings

from feature_flags.http import ofrep, unleash, wire
from feature_flags.http.cache import cache_of
from feature_flags.http.wire import SERVER, Refused, Request, Response, authenticate
from feature_flags.runtime import store
from feature_flags.runtime.snapshot import Snapshot, Token
from lib import metrics, stopping
from lib.asgi import Receive, Send
from lib.net import caller_network, normal_ip
from lib.text import remember, whole_number

UPDATES = "/api/client/streaming"
_PATHS = frozenset({"/ofrep/v1/stream", UPDATES})
HEARTBEAT_SECONDS = 15.0
#: Milliseconds after which a client comes back whose stream a stopping process has ended.
RECONNECT_MS = 500, 5000
#: How long a client that has heard of a newer revision waits for this process to have it.
REACH_SECONDS = 0.2
_FULL_SECONDS = b"30"
#: What is passed to one connection at a time: a slow reader holds no more than this of what all are sent.
_CHUNK_BYTES = 64 * 1024


@remember(maxsize=256)
def named_revision(tag: bytes | None) -> int:
    """The revision in an entity tag of ours, or in the id of an event; 0 without one."""
    digits = (tag or b"").removeprefix(b"W/").strip(b'"').partition(b":")[0]
    return whole_number(digits) or 0


def find(path: str) -> str | None:
    """The normal path of a stream; a base address may end in a slash, as for `asgi.find`."""
    if path.endswith("/") or "//" in path:
        path = wire.normal_path(path)
    return path if path in _PATHS else None


async def wait_for(revision: int) -> None:
    """Until this process has the revision; no longer than REACH_SECONDS."""
    end = monotonic() + REACH_SECONDS
    # Polled: a few clients wait a few milliseconds, on whichever event loop they are.
    while (known := store.snapshot) is not None and known.revision < revision and monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def open_stream(request: Request) -> Stream | Response:
    """The stream a token or ticket opens, ready to run; else the refusal to send."""
    try:
        if request.method != "GET":
            raise Refused(405)
        return _updates(request) if request.path == UPDATES else _stream(request)
    except Refused as refused:
        refuse = unleash.refuse_on_site if request.path == UPDATES else ofrep.refuse
        response = refuse(request, refused)
        if refused.status in {429, 503}:
            headers = [*response.headers, (b"retry-after", _FULL_SECONDS)]
            return response._replace(status=refused.status, headers=headers)
        if refused.status == 405:
            return response._replace(headers=[*response.headers, (b"allow", b"GET")])
        return response


def _updates(request: Request) -> Updates:
    token = authenticate(request, cache_of(store.snapshot), SERVER)
    if hub.is_full() or hub.has_its_share(_holder(request)):
        # Unleash's clients know that this means: poll.
        raise Refused(503 if hub.is_stopping else 429)
    return Updates(token.id, request.headers.get(b"last-event-id", b""), request)


def _stream(request: Request) -> Stream:
    cache = cache_of(store.snapshot)
    query = parse_qs(request.query.decode("latin-1"))
    token_id = wire.ticket_token_id(query.get("ticket", [""])[-1], time())
    token = cache.tokens.get(token_id) if token_id is not None else None
    if token is None or wire.has_expired(token):
        raise Refused(401)
    wire.require_origin(token, request.headers.get(b"origin"))
    if hub.is_full():
        raise Refused(503)
    if hub.has_its_share(_holder(request)):
        raise Refused(429)
    known = request.headers.get(b"last-event-id", query.get("since", [""])[-1].encode(errors="replace"))
    return Stream(token.id, whole_number(known), request)


def _holder(request: Request) -> str:
    """The address, or network, that one caller holds; empty where none is known, as on a unix socket."""
    return caller_network(normal_ip(request.peer))


class Stream:
    """One open connection. `known` is the newest revision its client has; None for the one there is now."""

    def __init__(self, token_id: int, known: int | None, request: Request) -> None:
        self.token_id = token_id
        self.holder = _holder(request)
        self.known = known
        self.headers = [
            *wire.SECURITY,
            wire.VARY,
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            # nginx would collect events until a buffer is full.
            (b"x-accel-buffering", b"no"),
            *(wire.site_cors if request.path == UPDATES else wire.token_cors)(request),
        ]
        self.changed = asyncio.Event()
        self.is_over = False

    async def run(self, receive: Receive, send: Send) -> None:
        async def end_with_client() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            self.end()

        hub.add(self)
        leaving = asyncio.ensure_future(end_with_client())
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await self._send_events(send)
            if hub.is_stopping:
                await send({"type": "http.response.body", "body": _reconnect(), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()
            hub.streams.discard(self)

    async def _send_events(self, send: Send) -> None:
        parts = self._first()
        while not self.is_over:
            for chunk in _chunks(parts):
                # Waits while the client reads slowly; all that happens meanwhile is one event afterwards, the newest.
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if self.is_over or self._token() is None:
                    return
            token = self._token()
            expires_in = token.expires_at - time() if token and token.expires_at is not None else HEARTBEAT_SECONDS
            try:
                async with asyncio.timeout(max(0.0, min(HEARTBEAT_SECONDS, expires_in))):
                    await self.changed.wait()
            except TimeoutError:
                parts = [b":\n\n"]
            else:
                self.changed.clear()
                parts = self._next()
            self.is_over = self.is_over or self._token() is None

    def _first(self) -> list[bytes]:
        """An event when the client has missed something. Else only the current id, which is no event: when the
        connection breaks, its browser names it, and learns what changed in between."""
        snapshot = store.snapshot
        if snapshot is None:
            return []
        has_missed = self.known is not None and self.known < snapshot.revision
        self.known = snapshot.revision
        return [_event(snapshot) if has_missed else b"id: %d\n\n" % snapshot.revision]

    def _next(self) -> list[bytes]:
        snapshot = store.snapshot
        if snapshot is None or snapshot.revision == self.known:
            return []
        self.known = snapshot.revision
        return [_event(snapshot)]

    def _token(self) -> Token | None:
        snapshot = store.snapshot
        token = cache_of(snapshot).tokens.get(self.token_id) if snapshot is not None else None
        return None if token is None or wire.has_expired(token) else token

    def end(self) -> None:
        self.is_over = True
        self.changed.set()


class Updates(Stream):
    """Unleash's stream: everything at first, or what changed since the event that the client names; then changes."""

    def __init__(self, token_id: int, state: bytes, request: Request) -> None:
        super().__init__(token_id, None, request)
        self.state = state

    def _first(self) -> list[bytes]:
        return self._next() or [b":\n\n"]

    def _next(self) -> list[bytes]:
        snapshot = store.snapshot
        if snapshot is None:
            return []
        self.state, body, is_everything = unleash.deltas.since(snapshot, self.state)
        name = b"unleash-connected" if is_everything else b"unleash-updated"
        return [b"id: %s\nevent: %s\ndata: " % (self.state, name), body, b"\n\n"] if body else []


def _chunks(parts: list[bytes]) -> Iterator[bytes]:
    """What is small in one piece; what is large is never copied as a whole."""
    if sum(map(len, parts)) <= _CHUNK_BYTES:
        parts = [b"".join(parts)]
    for part in parts:
        for start in range(0, len(part), _CHUNK_BYTES):
            yield part[start : start + _CHUNK_BYTES]


def _reconnect() -> bytes:
    """When to come back: all streams of a process end at once, and should not all be opened again at once."""
    return b"retry: %d\n\n" % random.randint(*RECONNECT_MS)  # noqa: S311  (spreads them, guards nothing)


def _event(snapshot: Snapshot) -> bytes:
    data = {"type": "refetchEvaluation", "etag": f'"{snapshot.revision}"', "lastModified": int(snapshot.built_at)}
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {snapshot.revision}\nevent: message\ndata: {text}\n\n".encode()


class Hub:
    """The open streams of this process. Lives on the event loop; new snapshots come from elsewhere."""

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_stopping = False

    def is_full(self) -> bool:
        return self.is_stopping or len(self.streams) >= settings.FLAGS_STREAMS_MAX

    def has_its_share(self, holder: str) -> bool:
        """Whether an address holds a tenth of the places: no caller keeps the others out."""
        share = max(1, settings.FLAGS_STREAMS_MAX // 10)
        return bool(holder) and sum(stream.holder == holder for stream in self.streams) >= share

    def add(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop, self.is_stopping = loop, False
            store.listen(self._snapshot_changed)
        self.streams.add(stream)

    def stop(self) -> None:
        """End all streams: clients come back, to another process or to the next one. The server waits for open
        connections first and ends the lifespan afterwards."""
        self.is_stopping = True
        for stream in self.streams:
            stream.end()

    def _snapshot_changed(self, snapshot: Snapshot) -> None:
        def wake() -> None:
            for stream in self.streams:
                stream.changed.set()

        if self.streams:
            self._on_loop(wake)

    def _on_loop(self, call: Callable[[], None]) -> None:
        # A loop that was closed in this moment has no streams left.
        with contextlib.suppress(RuntimeError):
            if self.loop is not None:
                self.loop.call_soon_threadsafe(call)


hub = Hub()
metrics.Gauge("flags_streams_open", "Event streams that clients hold open.", lambda: len(hub.streams))
stopping.before_closing(hub.stop)
