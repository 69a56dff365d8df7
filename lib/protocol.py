"""What one connection may send, and in what time. uvicorn's own protocol has no bound for either."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from lib import stopping
from lib.text import remember

logger = logging.getLogger("switchboard.request")


#: What says where an answer ends.
_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection"})
#: Answers without a body and without its length (RFC 9110, 15.3.5 and 15.4.5).
_BODILESS = frozenset({204, 304})


def _head(headers: Sequence[tuple[bytes, bytes]], is_bodiless: bool = False) -> tuple[bytes, int] | None:
    """The fields of an answer of known length, up to the empty line, and that length; None for any other answer."""
    lines, length = [], None
    for name, value in headers:
        name, line, number = _line(name, value)
        if name in _FRAMING:
            if number is None or length is not None or is_bodiless:
                return None
            length = number
        lines.append(line)
    if is_bodiless:
        length = 0
    if length is None:
        return None
    lines.append(b"\r\n")
    return b"".join(lines), length


# Most lines are those of many answers.
@lru_cache(1024)
def _line(name: bytes, value: bytes) -> tuple[bytes, bytes, int | None]:
    """The name in lower case, the line of a head, and the number when it is a length."""
    if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
        raise RuntimeError("Invalid HTTP header.")
    name = name.lower()
    return name, b"%b: %b\r\n" % (name, value), int(value) if name == b"content-length" else None


@lru_cache(2)
def _own_lines(*headers: tuple[bytes, bytes]) -> bytes:
    """Those of the server itself, which change once a second."""
    return b"".join(b"%b: %b\r\n" % field for field in headers)


@remember(1024)
def _target(url: bytes, root_path: str) -> tuple[str, bytes, bytes]:
    """`path`, `raw_path` and `query_string` of a scope."""
    parsed = httptools.parse_url(url)
    raw_path = root_path.encode("ascii") + parsed.path
    return root_path + unquote(parsed.path.decode("ascii")), raw_path, parsed.query or b""


#: For headers that come as a tuple: those of many answers.
_cached_head = lru_cache(1024)(_head)


class Cycle(RequestResponseCycle):
    """uvicorn's, with the head of an answer of known length checked at once and sent together with its body."""

    _head = b""

    async def send(self, message: Any) -> None:
        if self.response_started or message["type"] != "http.response.start" or self.access_log:
            if self._head and not self.disconnected:
                await self._send_with_head(message)
            else:
                await super().send(message)
            return
        if stopping.is_draining:
            # A connection that is kept would be closed with the port, perhaps while a request is under way on it.
            self.keep_alive = False
        given = message.get("headers", ())
        is_bodiless = message["status"] in _BODILESS
        head = _cached_head(given, is_bodiless) if type(given) is tuple else _head(given, is_bodiless)
        if head is None or self.disconnected or not self.keep_alive or self.scope["method"] == "HEAD":
            await super().send(message)
            return
        fields, self.expected_content_length = head
        self.response_started = True
        self.waiting_for_100_continue = self.chunked_encoding = False
        self._head = b"".join([STATUS_LINE[message["status"]], _own_lines(*self.default_headers), fields])

    async def _send_with_head(self, message: Any) -> None:
        head, self._head = self._head, b""
        body = message.get("body", b"")
        if message.get("more_body", False) or len(body) != self.expected_content_length or self.flow.write_paused:
            self.transport.write(head)
            await super().send(message)
            return
        self.transport.write(head + body)
        self.response_complete = True
        self.message_event.set()
        self.on_response()


class BoundedProtocol(HttpToolsProtocol):
    """Refuses heads that are too large with 431, and closes connections that are too slow, in either direction.

    An answer given before its request was here is followed by a while of reading on: closed at once, the connection
    would be reset, and the client would see that instead of the answer (RFC 9112, 9.6). Bodies are bounded by the
    application, which knows what each address takes.
    """

    HEAD_BYTES, HEAD_FIELDS = 64 * 1024, 256
    HEAD_SECONDS = 20.0
    #: A body has this long, and a second more for each so many bytes of it.
    BODY_SECONDS, BODY_RATE = 20.0, 4096
    #: Requests sent ahead on one connection.
    PIPELINED = 32
    #: What is read and thrown away after an early answer.
    DRAIN_BYTES, DRAIN_SECONDS = 8 * 1024 * 1024, 5.0
    #: A client that reads nothing for so long.
    STALLED_SECONDS = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._started_at = 0.0
        self._chunk = 0  # bytes of the last one
        self._unread = 0  # bytes since a head, a piece of body or a message has ended
        self._complete: Any = None  # the scope of the last complete head
        self._is_in_body = False
        self._received = 0  # of the body
        self._drained = 0
        self._is_refused = False
        self._is_draining = False
        self._is_resting = False  # between requests
        self._resting_since = 0.0

    # --- Time ---------------------------------------------------------------------------------------------------------

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._started_at = self.loop.time()
        self._timer = self.loop.call_later(seconds, self._is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_late(self) -> None:
        self._timer = None
        if self._is_early():
            self._end()
        elif self.flow.read_paused or not (self._is_in_body or self._is_answered()):
            # The client waits for us: a line end after its request, or half of its next one, ends no answer.
            self._wait(self.HEAD_SECONDS)
        else:
            waited = self.loop.time() - self._started_at
            left = self.BODY_SECONDS + self._received / self.BODY_RATE - waited if self._is_in_body else 0
            if left > 0:
                self._timer = self.loop.call_later(left, self._is_late)
            else:
                self._end()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._check_reader(None)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_checking()

    def _stop_checking(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def _check_reader(self, unsent: int | None) -> None:
        """End the connection when nothing of what is to be sent has left since the last look."""
        self._stop_checking()
        now = self._raw.get_write_buffer_size()
        if now == unsent:
            self._raw.abort()
        elif now:
            self._stalled = self.loop.call_later(self.STALLED_SECONDS, self._check_reader, now)

    # --- The connection -----------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._raw = transport
        closing: Any = SimpleNamespace(write=transport.write, close=self._close, is_closing=self._is_closing)
        self.transport = closing
        self._wait(self.HEAD_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_checking()
        self._unset_keepalive_if_required()
        self.transport = self._raw
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()
        if self._is_draining:
            self._end()

    def _is_closing(self) -> bool:
        return self._is_draining or self._raw.is_closing()

    def _close(self) -> None:
        """In place of the transport's own: what the client still sends is read first."""
        if self._is_closing():
            return
        if not self._is_in_body and not self._is_refused:
            self._end()
            return
        self._is_draining = True
        if self._raw.can_write_eof():
            self._raw.write_eof()
        self._wait(self.DRAIN_SECONDS)

    def _end(self) -> None:
        self._stop_waiting()
        self._raw.close()
        self._check_reader(None)

    def _is_early(self) -> bool:
        """Whether what arrives belongs to a request that is answered already."""
        return self._is_draining or self._is_refused or (self._is_in_body and self._is_answered())

    def _is_answered(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    # --- What arrives -------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._is_resting = False
        self._chunk = len(data)
        self._unread += self._chunk
        if not self._is_refused:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade:
                # Answered as if nothing else than HTTP/1.1 had been asked for (RFC 9110, 7.8).
                if self.cycle is not None:
                    self.cycle.keep_alive = False
            except httptools.HttpParserError:
                self._refuse(HTTPStatus.BAD_REQUEST)
        if self._is_in_body or self._unread or self.scope is not self._complete:
            self._continued()
        elif self._timer is not None:
            self._stop_waiting()

    def _continued(self) -> None:
        """More has to come, or is not wanted any more."""
        if self._is_early():
            self._drained += self._chunk
            if self._drained > self.DRAIN_BYTES:
                self._end()
        elif self._unread > self.HEAD_BYTES + 256 * 1024 or len(self.headers or ()) > self.HEAD_FIELDS:
            # Also lines between requests, and after a body in chunks; what one read may bring at most is allowed for.
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._timer is None and not self._is_closing():
            self._wait(self.BODY_SECONDS if self._is_in_body else self.HEAD_SECONDS)

    def on_headers_complete(self) -> None:
        if self._is_refused:
            return
        self._complete = self.scope
        if self._chunk + self._unread > self.HEAD_BYTES or len(self.headers) > self.HEAD_FIELDS:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if size > self.HEAD_BYTES or len(self.headers) > self.HEAD_FIELDS:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
                return
        if len(self.pipeline) >= self.PIPELINED:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)
            return
        if self._timer is not None:
            self._stop_waiting()
        self._unread = self._received = self._drained = 0
        self._begin()
        self._is_in_body = True
        # Fields after a body in chunks would be taken for those of its head.
        self.headers = []

    def _begin(self) -> None:
        """What uvicorn does with a complete head, but for limits of its own and WebSockets."""
        scope, parser, before = self.scope, self.parser, self.cycle
        version = parser.get_http_version()
        scope["method"] = parser.get_method().decode("ascii")
        scope["http_version"] = version
        scope["path"], scope["raw_path"], scope["query_string"] = _target(self.url, self.root_path)
        self.cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        self._unread = 0
        self._received += len(body)
        cycle = self.cycle
        if self._is_refused or cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        if self._is_refused:
            return
        self._unread = 0
        self._is_in_body = False
        cycle = self.cycle
        if self._is_draining:
            self._end()
        elif cycle.response_complete:
            self._stop_waiting()
            self._rest()
        else:
            cycle.more_body = False
            cycle.message_event.set()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self._is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._rest()
        if self._is_in_body and self.cycle.response_complete:
            self._wait(self.DRAIN_SECONDS)

    def _rest(self) -> None:
        """Wait for the next request. One timer serves many: when it fires it looks for how long nothing has come."""
        self._is_resting, self._resting_since = True, self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_again(self.timeout_keep_alive)

    def _look_again(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def timeout_keep_alive_handler(self) -> None:
        self.timeout_keep_alive_task = None
        if not self._is_resting or not self.cycle.response_complete:
            return
        left = self._resting_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_again(left)
        else:
            super().timeout_keep_alive_handler()

    def _refuse(self, status: HTTPStatus) -> None:
        """Read nothing more. What was asked before is answered; then the connection is closed."""
        self._is_refused = True
        logger.info("connection refused", extra={"status": status.value})
        cycle = self.cycle
        body = json.dumps({"detail": status.phrase, "code": status.name.lower()}).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
            (b"connection", b"close"),
        ]

        async def refusing(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": status.value, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        if self._is_in_body and self.pipeline:
            # Answered after the requests before it; its body is not read.
            self.pipeline[0] = cycle, refusing
        is_own = self._is_in_body and not self.pipeline and not cycle.response_started
        if not self._is_answered() and not is_own:
            cycle.keep_alive = False
            return
        if not self._is_in_body or is_own:
            fields = [b"%b: %b\r\n" % header for header in (*self.server_state.default_headers, *headers)]
            self._raw.writelines([STATUS_LINE[status], *fields, b"\r\n", body])
        self._close()
