"""The stream of a real server: across processes, and when it stops."""

import contextlib
import json
import socket
import time
from urllib.parse import urlsplit

import httpx
import pytest

from feature_flags.tests.wire import BULK
from project.tests.processes import command, serving, until

pytestmark = pytest.mark.database

PREPARE = """
from feature_flags.tests.wire import make_flag, make_token
make_flag("FF_A", on=False)
made = [make_token("frontend", name=name)[1] for name in ("many", "gone", "page")]
# The newest first: a process that knows it has heard of all changes before, and sends no event for them.
print(*reversed(made))
"""

REVOKE = """
from feature_flags import models
from feature_flags.services import tokens
from feature_flags.tests.factories import COMMAND
tokens.revoke_token(models.FlagToken.objects.get(name="gone"), **COMMAND)
"""


@pytest.fixture(scope="module", params=["1", "2"])
def server(request, tmp_path_factory):
    """One for the whole module: the last test stops it."""
    with serving(tmp_path_factory.mktemp("served"), WEB_CONCURRENCY=request.param) as server:
        server.tokens = iter(run(server, "shell", "-v", "0", "-c", PREPARE).split())
        yield server


def run(server, *words):
    done = command(server.env["DATABASE_URL"], *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def bulk(server, secret, **options):
    return httpx.post(server.url + BULK, headers={"authorization": secret, **options.pop("headers", {})}, **options)


def stream_of(server, secret):
    """A new token is known to every process after a moment."""
    reply = until(lambda: (reply := bulk(server, secret)).status_code == 200 and reply)
    return reply.json()["eventStreams"][0]["url"]


class Stream:
    """A raw connection: what arrives, as it arrives."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self.socket.sendall(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
        self.text = ""
        self.read_until("\r\n\r\n")

    @property
    def status(self):
        return int(self.text.split()[1])

    def read_until(self, wanted, seconds=10):
        end = time.monotonic() + seconds
        while wanted not in self.text and time.monotonic() < end:
            piece = self.socket.recv(65536)
            if not piece:
                break
            self.text += piece.decode()
        assert wanted in self.text, self.text

    def read_to_the_end(self):
        while piece := self.socket.recv(65536):
            self.text += piece.decode()


def accepted(url):
    stream = Stream(url)
    if stream.status == 200:
        return stream
    stream.socket.close()
    return None


@contextlib.contextmanager
def opened(url, count=1):
    found = []
    try:
        for _ in range(count):
            # Each process learns of the token by itself.
            found.append(until(lambda: accepted(url)))
        yield found
    finally:
        for stream in found:
            stream.socket.close()


def test_a_switch_from_the_command_line_reaches_every_open_stream(server):
    secret = next(server.tokens)
    with opened(stream_of(server, secret), 6) as listeners:
        run(server, "set_feature_flag", "FF_A", "on")

        for listener in listeners:
            listener.read_until("refetchEvaluation")
        event = next(line for line in listeners[0].text.splitlines() if line.startswith("data: "))
        # Whichever process answers next has the revision the event names.
        etag = json.loads(event[6:])["etag"]
        for _ in range(6):
            reply = bulk(server, secret, params={"flagConfigEtag": etag})
            assert {flag["key"]: flag["value"] for flag in reply.json()["flags"]}["FF_A"] is True


def test_a_revoked_token_loses_its_streams(server):
    secret = next(server.tokens)
    with opened(stream_of(server, secret), 4) as listeners:
        run(server, "shell", "-v", "0", "-c", REVOKE)

        for listener in listeners:
            listener.read_until("\r\n0\r\n\r\n")
    until(lambda: bulk(server, secret).status_code == 401)


def workers(server):
    return json.loads(run(server, "notifications_status", "--json"))["workers"]


def test_a_stop_does_not_wait_for_open_streams_and_leaves_no_worker(server):
    until(lambda: len(workers(server)) == int(server.env["WEB_CONCURRENCY"]))
    with opened(stream_of(server, next(server.tokens)), 40) as listeners:
        seconds = server.stop()

        for listener in listeners:
            listener.read_to_the_end()
            # Ended in order, not cut off.
            assert listener.text.endswith("0\r\n\r\n")
        # They do not all come back at the same moment.
        assert len({listener.text.rpartition("retry: ")[2] for listener in listeners}) > 20
    assert seconds < 10
    assert server.process.returncode == 0
    assert workers(server) == []
    assert "cut off" not in server.log.read_text()
