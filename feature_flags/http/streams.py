"""Server-sent events that say “ask again”: OFREP's eventStreams. They carry a revision, never a value."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import monotonic, time
from types import FrameType
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings

from feature_flags.http import ofrep, tickets, unleash
from feature_flags.http.cache import prepared
from feature_flags.http.callers import SERVER, authorised, has_expired, require_origin
from feature_flags.http.deltas import deltas
from feature_flags.http.dispatch import tidy
from feature_flags.http.wire import SECURITY, VARY, Answer, Refused, Request, shared_with, shared_with_house
from feature_flags.runtime import store
from feature_flags.runtime.snapshot import Snapshot, Token
from lib.net import holding, normal_ip
from lib.text import whole_number

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]

UPDATES = "/api/client/streaming"
_PATHS = frozenset({"/ofrep/v1/stream", UPDATES})
HEARTBEAT_SECONDS = 15.0
#: How long a client that has heard of a newer revision waits for this process to have it.
REACH_SECONDS = 0.2
_FULL_SECONDS = b"30"
#: What is handed to one connection at a time: a slow reader holds no more than this of what all are sent.
_CHUNK_BYTES = 64 * 1024


def named_revision(tag: bytes | None) -> int:
    """The revision in an entity tag of ours, or in the id of an event; 0 without one."""
    digits = (tag or b"").removeprefix(b"W/").strip(b'"').partition(b":")[0]
    return whole_number(digits) or 0


def find(path: str) -> str | None:
    """The path of a stream as it is known here; a base address may end in a slash, as for `answers.find`."""
    tidied = tidy(path)
    return tidied if tidied in _PATHS else None


async def reach(revision: int) -> None:
    """Until this process has the revision; no longer than REACH_SECONDS."""
    end = monotonic() + REACH_SECONDS
    # Asked, not told: a few clients wait a few milliseconds, on whichever event loop they are.
    while (known := store.snapshot) is not None and known.revision < revision and monotonic() < end:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def open_stream(request: Request) -> Stream | Answer:
    """The stream a ticket opens, ready to run; else the refusal to send."""
    try:
        if request.method != "GET":
            raise Refused(405)
        return _opened(request)
    except Refused as refused:
        return _refusal(request, refused)


def _opened(request: Request) -> Stream:
    known = prepared(store.snapshot)
    if request.path == UPDATES:
        server = authorised(request, known, SERVER)
        if hub.is_full() or hub.has_its_share(_holder(request)):
            # Unleash's clients know that this means: poll.
            raise Refused(503 if hub.is_stopping else 429)
        return Updates(server.id, request.headers.get(b"last-event-id", b""), request)
    query = parse_qs(request.query.decode("latin-1"))
    owner = tickets.token_id(query.get("ticket", [""])[-1], time())
    token = known.tokens.get(owner) if owner is not None else None
    if token is None or has_expired(token):
        raise Refused(401)
    require_origin(token, request.headers.get(b"origin"))
    if hub.is_full():
        raise Refused(503)
    if hub.has_its_share(_holder(request)):
        raise Refused(429)
    seen = request.headers.get(b"last-event-id", query.get("since", [""])[-1].encode(errors="replace"))
    return Stream(token.id, whole_number(seen), request)


def _holder(request: Request) -> str:
    """What one caller has of addresses; empty where none is known, as on a unix socket."""
    return holding(normal_ip(request.peer))


def _refusal(request: Request, refused: Refused) -> Answer:
    if request.path == UPDATES:
        answer = unleash.refuse_house(request, refused)
    else:
        answer = ofrep.refuse(request, refused)
    if refused.status in {429, 503}:
        return answer._replace(status=refused.status, headers=[*answer.headers, (b"retry-after", _FULL_SECONDS)])
    if refused.status == 405:
        return answer._replace(headers=[*answer.headers, (b"allow", b"GET")])
    return answer


class Stream:
    """One open connection. `seen` is the newest revision its client knows; None for whatever there is now."""

    def __init__(self, token_id: int, seen: int | None, request: Request) -> None:
        self.token_id = token_id
        self.holder = _holder(request)
        self.seen = seen
        self.headers = [
            *SECURITY,
            VARY,
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            # nginx would collect events until a buffer is full.
            (b"x-accel-buffering", b"no"),
            *(shared_with_house if request.path == UPDATES else shared_with)(request.headers.get(b"origin")),
        ]
        self.news = asyncio.Event()
        self.is_over = False

    async def run(self, receive: Receive, send: Send) -> None:
        hub.add(self)
        leaving = asyncio.ensure_future(self._watch(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.headers})
            await self._talk(send)
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()
            hub.remove(self)

    async def _talk(self, send: Send) -> None:
        piece = self._first()
        while not self.is_over:
            for chunk in _chunks(piece):
                # Waits while the client reads slowly; what happens meanwhile is one event afterwards, the newest.
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if self.is_over or self._token() is None:
                    return
            try:
                async with asyncio.timeout(self._seconds()):
                    await self.news.wait()
            except TimeoutError:
                piece = [b":\n\n"]
            else:
                self.news.clear()
                piece = self._next()
            self.is_over = self.is_over or self._token() is None

    def _first(self) -> list[bytes]:
        """An event when the client has missed something. Else only where it stands, which is no event: when the
        connection breaks, its browser names it, and learns what changed in between."""
        known = store.snapshot
        if known is None:
            return []
        has_missed = self.seen is not None and self.seen < known.revision
        self.seen = known.revision
        return [_event(known) if has_missed else b"id: %d\n\n" % known.revision]

    def _next(self) -> list[bytes]:
        known = store.snapshot
        if known is None or known.revision == self.seen:
            return []
        self.seen = known.revision
        return [_event(known)]

    def _seconds(self) -> float:
        """To the next sign of life, or to the end of the token."""
        token = self._token()
        left = token.expires_at - time() if token and token.expires_at is not None else HEARTBEAT_SECONDS
        return max(0.0, min(HEARTBEAT_SECONDS, left))

    def _token(self) -> Token | None:
        known = store.snapshot
        token = prepared(known).tokens.get(self.token_id) if known is not None else None
        return None if token is None or has_expired(token) else token

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.end()

    def end(self) -> None:
        self.is_over = True
        self.news.set()


class Updates(Stream):
    """Unleash's stream: everything at first, or what changed since the event that the client names; then changes."""

    def __init__(self, token_id: int, state: bytes, request: Request) -> None:
        super().__init__(token_id, None, request)
        self.state = state

    def _first(self) -> list[bytes]:
        return self._next() or [b":\n\n"]

    def _next(self) -> list[bytes]:
        known = store.snapshot
        if known is None:
            return []
        self.state, body, is_everything = deltas.since(known, self.state)
        name = b"unleash-connected" if is_everything else b"unleash-updated"
        return [b"id: %s\nevent: %s\ndata: " % (self.state, name), body, b"\n\n"] if body else []


def _chunks(parts: list[bytes]) -> Iterator[bytes]:
    """What is small in one piece; what is large is never copied as a whole."""
    if sum(map(len, parts)) <= _CHUNK_BYTES:
        parts = [b"".join(parts)]
    for part in parts:
        for start in range(0, len(part), _CHUNK_BYTES):
            yield part[start : start + _CHUNK_BYTES]


def _event(snapshot: Snapshot) -> bytes:
    data = {
        "type": "refetchEvaluation",
        "etag": f'"{snapshot.revision}"',
        "lastModified": int(snapshot.built_at),
    }
    text = json.dumps(data, separators=(",", ":"))
    return f"id: {snapshot.revision}\nevent: message\ndata: {text}\n\n".encode()


class Hub:
    """The open streams of this process. Lives on the event loop; swaps and signals come from elsewhere."""

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.is_stopping = False
        self.heeds_signals = False

    def is_full(self) -> bool:
        return self.is_stopping or len(self.streams) >= settings.FLAGS_STREAMS_MAX

    def has_its_share(self, holder: str) -> bool:
        """Whether an address holds a tenth of the places: nobody keeps everybody else out."""
        share = max(1, settings.FLAGS_STREAMS_MAX // 10)
        return bool(holder) and sum(stream.holder == holder for stream in self.streams) >= share

    def add(self, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        if self.loop is not loop:
            self.loop, self.is_stopping = loop, False
            store.listen(self._swapped)
            self._heed_signals()
        self.streams.add(stream)

    def remove(self, stream: Stream) -> None:
        self.streams.discard(stream)

    def stop(self) -> None:
        """End all streams: clients come back, to another process or to the next one."""
        self.is_stopping = True
        for stream in self.streams:
            stream.end()

    def _swapped(self, snapshot: Snapshot) -> None:
        if self.streams:
            self._soon(self._tell)

    def _tell(self) -> None:
        for stream in self.streams:
            stream.news.set()

    def _soon(self, call: Callable[[], None]) -> None:
        # A loop that was closed in this moment has no streams left.
        with contextlib.suppress(RuntimeError):
            if self.loop is not None:
                self.loop.call_soon_threadsafe(call)

    def _heed_signals(self) -> None:
        """Before the server's own handlers: it waits for open connections first and says goodbye afterwards."""
        if self.heeds_signals:
            return
        self.heeds_signals = True
        for number in (signal.SIGTERM, signal.SIGINT):
            former = signal.getsignal(number)
            if not callable(former):
                continue

            def stop(number: int, frame: FrameType | None, former: Callable[..., Any] = former) -> None:
                self._soon(self.stop)
                former(number, frame)

            # Elsewhere than in the main thread nobody may; a server there is stopped by other means.
            with contextlib.suppress(ValueError):
                signal.signal(number, stop)


hub = Hub()
