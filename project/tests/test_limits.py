"""What one connection may send, and in what time: at every door of a real server."""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time

import pytest
import uvicorn

from feature_flags.tests.wire import ask
from lib.protocol import BoundedProtocol
from project.asgi import application
from project.tests.processes import serving, until

KB, MB = 1024, 1024 * 1024
# One path of each door: the lanes, a flag answer from memory, Unleash, a webhook, the admin, no door at all.
DOORS = {
    "/api/login": MB,
    "/ofrep/v1/evaluate/flags": 64 * KB,
    "/api/frontend": 64 * KB,
    "/api/client/metrics": 1_000_000,
    "/api/notifications/webhooks/postmark": MB,
    "/admin/login/": MB,
    "/nowhere": MB,
}


class Connection:
    """A raw client: it sends what it is told, and reads answers as they come."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=10)
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()

    def send(self, *pieces):
        for piece in pieces:
            self.socket.sendall(piece)
        return self

    def post(self, path, body=b"", headers=""):
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        return self.send(head.encode(), body)

    def answer(self):
        """Status and body of the next answer."""
        while (found := re.match(rb"HTTP/1.1 (\d+).*?content-length: (\d+).*?\r\n\r\n", self.received, re.S)) is None:
            self._more()
        end = found.end() + int(found[2])
        while len(self.received) < end:
            self._more()
        body, self.received = self.received[found.end() : end], self.received[end:]
        return int(found[1]), body

    def _more(self):
        piece = self.socket.recv(65536)
        assert piece, f"closed after {self.received[-200:]}"
        self.received += piece

    def is_closed(self):
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True


@pytest.fixture(scope="module", params=["1", "2"])
def address(request, tmp_path_factory):
    with contextlib.ExitStack() as stack:
        if request.param == "2":
            server = request.getfixturevalue("server")
        else:
            server = stack.enter_context(serving(tmp_path_factory.mktemp("limits")))
        host, port = server.url.removeprefix("http://").split(":")
        yield host, int(port)


@pytest.mark.parametrize("path", DOORS)
@pytest.mark.parametrize("extra", ["", "Connection: close\r\n"])
def test_a_body_over_the_bound_is_sent_to_its_end_and_answered_413(path, extra, address):
    with Connection(address) as client:
        status, body = client.post(path, b"x" * (DOORS[path] + 500 * KB), extra).answer()

    assert status == 413
    assert json.loads(body)


@pytest.mark.parametrize("path", DOORS)
def test_a_body_in_chunks_is_counted_as_it_comes(path, address):
    with Connection(address) as client:
        client.send(f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        client.send(*[b"%x\r\n%b\r\n" % (64 * KB, b"x" * 64 * KB)] * (DOORS[path] // (64 * KB) + 1), b"0\r\n\r\n")
        assert client.answer()[0] == 413
        # The rest has been read: the connection goes on.
        assert client.post("/api/nowhere").answer()[0] == 404


def test_a_body_without_end_is_not_read_for_ever(address):
    with Connection(address) as client:
        client.send(b"POST /admin/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200000000\r\n\r\n")
        assert client.answer()[0] == 413
        with contextlib.suppress(ConnectionError):
            client.send(*[b"x" * MB] * 200)
        assert client.is_closed()


@pytest.mark.parametrize(
    "fields",
    [
        [b"A: " + b"x" * 65 * KB],
        [b"A%d: %b" % (number, b"x" * KB) for number in range(65)],
        [b"A: b"] * 300,
        [b"A: " + b"x" * MB],
    ],
    ids=["one long", "many", "very many", "huge"],
)
@pytest.mark.parametrize(
    "path", ["/api/_status", "/admin/", "/nowhere", "/ofrep/v1/evaluate/flags", "/" + "x" * 65 * KB]
)
def test_a_head_over_the_bound_is_431(fields, path, address):
    with Connection(address) as client:
        assert client.send(b"GET /api/_status HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").answer()[0] == 200
        with contextlib.suppress(ConnectionError):
            client.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode(), *(field + b"\r\n" for field in fields))
            client.send(b"\r\n")
        status, body = client.answer()

        assert (status, json.loads(body)["code"]) == (431, "request_header_fields_too_large")
        assert client.is_closed()


@pytest.mark.parametrize(
    "endless",
    [
        [b"GET / HTTP/1.1\r\nA: ", b"x" * KB],
        [b"GET /", b"x" * KB],
        [b"GET / HTTP/1.1\r\n", b"A: b\r\n" * 100],
        [b"", b"\r\n" * KB],
        [b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: ", b"x" * KB],
        [b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n1;a=", b"x" * KB],
    ],
    ids=["value", "path", "fields", "empty lines", "trailer", "chunk extension"],
)
def test_what_never_ends_is_cut_off(endless, address):
    start, more = endless
    with Connection(address) as client, pytest.raises(ConnectionError):
        client.send(start, *[more] * (32 * KB))


def test_a_head_up_to_the_bound_is_served(address):
    with Connection(address) as client:
        head = b"GET /api/_status HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        client.send(head, *[b"A%d: %b\r\n" % (number, b"x" * KB) for number in range(60)], b"\r\n")
        assert client.answer()[0] == 200


def test_requests_sent_ahead_are_answered_up_to_a_bound(address):
    with Connection(address) as client:
        client.send(b"GET /api/nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1000)
        answered = sum(
            1
            for _ in iter(
                lambda: client.answer()[0] if client.received or client.socket.recv(1, socket.MSG_PEEK) else None, None
            )
        )

    assert BoundedProtocol.PIPELINED <= answered < 100


def test_a_large_body_and_the_next_head_may_come_at_once(address):
    with Connection(address) as client:
        body = b"x" * 900 * KB
        client.post("/nowhere", body).post("/api/nowhere")
        assert [client.answer()[0], client.answer()[0]] == [404, 404]


# --- Time -------------------------------------------------------------------------------------------------------------


class Quick(BoundedProtocol):
    HEAD_SECONDS = BODY_SECONDS = 0.3
    BODY_RATE = 100_000
    DRAIN_SECONDS = 0.3
    STALLED_SECONDS = 0.3


async def app(scope, receive, send):
    """Reads the body, and answers with as much as the path says."""
    if scope["type"] != "http":
        return
    while (message := await receive()).get("more_body"):
        pass
    if message["type"] == "http.disconnect":
        return
    if scope["path"] == "/slow":
        await asyncio.sleep(0.6)
    size = int(scope["path"].removeprefix("/slow")[1:] or 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": b"x" * size})


@pytest.fixture(scope="module")
def quick():
    """A server whose seconds are short, in this process; `.connections` are those it holds."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=Quick, ws="none", log_config=None, lifespan="off", timeout_keep_alive=1)
    )
    thread = threading.Thread(target=asyncio.run, args=[server.serve()])
    thread.start()
    until(lambda: server.started)
    server.address = server.servers[0].sockets[0].getsockname()
    yield server
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nA: b\r\n",
        b"\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nx",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
    ],
)
@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_request_that_does_not_end_is_closed(begun, before, quick):
    with Connection(quick.address) as client:
        if before:
            assert client.send(before).answer()[0] == 200
        started = time.monotonic()
        client.send(begun)
        assert client.is_closed()

    # uvicorn's own bound of an idle connection is 1 s here.
    assert time.monotonic() - started < 4


def test_a_connection_in_use_is_closed_once_it_rests(quick):
    with Connection(quick.address) as client:
        for _ in range(3):
            assert client.send(b"GET /slow HTTP/1.1\r\n\r\n").answer()[0] == 200

        assert client.is_closed()
    until(lambda: not quick.server_state.connections)


def test_a_body_that_breaks_behind_another_request_is_refused_in_its_turn(quick):
    with Connection(quick.address) as client:
        client.send(b"GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno number\r\n")
        assert [client.answer()[0], client.answer()[0]] == [200, 400]
        assert client.is_closed()

    until(lambda: not quick.server_state.connections)


@pytest.mark.parametrize("more", [b"\r\n", b"GET / HT", b"GET / HTTP/1.1\r\nA: b\r\n"])
def test_what_comes_behind_a_request_does_not_end_its_answer(more, quick):
    with Connection(quick.address) as client:
        client.send(b"GET /slow HTTP/1.1\r\n\r\n", more)
        assert client.answer()[0] == 200
        assert client.is_closed()


def test_a_head_in_drops_is_closed(quick):
    def drip():
        time.sleep(0.05)
        return client.send(b"A") and None

    with Connection(quick.address) as client, pytest.raises(ConnectionError):
        until(client.send(b"GET / HTTP/1.1\r\n") and drip)


def test_a_body_that_goes_on_is_read_for_longer(quick):
    with Connection(quick.address) as client:
        client.send(b"POST / HTTP/1.1\r\nContent-Length: 200000\r\n\r\n", b"x" * 100_000)
        time.sleep(0.6)
        assert client.send(b"x" * 100_000).answer()[0] == 200


def test_a_client_that_reads_nothing_is_closed(quick):
    with Connection(quick.address) as client:
        client.send(b"GET /30000000 HTTP/1.1\r\n\r\n")
        until(lambda: quick.server_state.connections)
        until(lambda: not quick.server_state.connections)


def test_a_client_that_reads_slowly_is_served(quick):
    with Connection(quick.address) as client:
        client.send(b"GET /20000000 HTTP/1.1\r\n\r\n")
        size = 0
        while size < 20_000_000:
            size += len(client.socket.recv(2_000_000))
            time.sleep(0.02)


# --- In memory --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/admin/login/", "/nowhere", "/static/x.css", "/"])
def test_nothing_too_large_is_kept(path, settings):
    settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 0  # a file at the first byte, which nothing may come to
    chunks = [b"x" * MB] * 3

    for options in ({"chunked": True}, {"headers": {"content-length": str(3 * MB)}}):
        reply = ask(application, "POST", path, chunks=list(chunks), **options)
        assert (reply.status, reply.json()["code"]) == (413, "payload_too_large")
        assert reply.headers["x-content-type-options"] == "nosniff"
