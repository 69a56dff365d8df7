"""What is answered again from memory is what Django would answer: `lib/common_answers.py`."""

import asyncio
import re
from itertools import product

import pytest
from django.conf import settings
from django.test import override_settings

from lib.asgi import LaneHandler, Lanes
from lib.common_answers import IGNORED, CommonAnswers

HOST = (b"host", b"testserver")
#: Answered by CommonAnswers from the second time on.
COMMON = {"/api/_status": 200, "/api/users/user": 401, "/api/staff/people": 401, "/api/nothing": 404}
PATHS = [
    *COMMON,
    *("/api", "/api/", "/api//nothing", "/api/nothing/", "/api/_status/", "/api/staff/", "/api/staff/people/x/y"),
    *("/api/notifications/0b9e2c3a4d5e4f60a1b2c3d4e5f60718/read", "/api/n\u00e4h\x00 %", f"/api/{'long' * 200}"),
    *("/api/frontend/x", "/api/docs", "/api/login", "/ofrep/v1/nothing", "/healthz", f"/api/{'t' * 54}"),
]
HEADERS = {
    "none": [HOST],
    "no host": [],
    "unknown host": [(b"host", b"evil.example")],
    "two hosts": [HOST, HOST],
    "listed origin": [HOST, (b"origin", b"https://app.example.org")],
    "foreign origin": [HOST, (b"origin", b"https://evil.example")],
    "preflight": [HOST, (b"origin", b"https://app.example.org"), (b"access-control-request-method", b"GET")],
    "junk bearer": [HOST, (b"authorization", b"Bearer junk")],
    "junk cookie": [HOST, (b"cookie", b"auth=junk; a=b")],
    "own id": [HOST, (b"x-request-id", b"my-own-request-1")],
    "odd id": [HOST, (b"x-request-id", b"what is <this>")],
    "tag": [HOST, (b"if-none-match", b"*")],
    "unknown header": [HOST, (b"x-unknown", b"1")],
    "empty body": [HOST, (b"content-length", b"0")],
    "browser": [HOST, (b"user-agent", b"Mozilla/5.0"), (b"accept-language", b"de"), (b"sec-fetch-site", b"cross-site")],
}
MORE = [{}, {"scheme": "https"}, {"query_string": b"token=secret"}]
CORS = override_settings(CORS_ALLOWED_ORIGINS=["https://app.example.org"], USERS_ACCESS_TOKEN_VIA_COOKIE=True)


@pytest.fixture(scope="module")
def handler():
    lanes = Lanes(1)
    yield LaneHandler(lanes=lanes, middleware=settings.API_MIDDLEWARE)
    lanes.close()


def ask(handler, method="GET", path="/api/_status", headers=(HOST,), **scope):
    """Status, headers and body, the id of the request left out of both."""
    sent, whole = [], [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return whole.pop() if whole else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    raw = {"type": "http", "http_version": "1.1", "scheme": "http", "query_string": b"", "client": ("192.0.2.1", 1)}
    asyncio.run(handler({**raw, "method": method, "path": path, "headers": list(headers), **scope}, receive, send))
    start, *bodies = sent
    found = {name.lower(): value for name, value in start["headers"]}
    identity = found.get(b"x-request-id", b"-")
    assert len(found) == len(start["headers"])
    body = b"".join(part["body"] for part in bodies)
    kept = sorted(found.items() - {(b"x-request-id", identity)})
    return start["status"], kept, body.replace(identity, b"id"), identity if len(identity) < 20 else "made"


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "ODD"])
@CORS
def test_an_answer_given_again_is_the_one_that_would_be_made(handler, caplog, method):
    caplog.set_level("INFO", logger="switchboard.request")
    kept = CommonAnswers()

    def answer(common, *asked, **more):
        handler.common = common
        caplog.clear()
        found = ask(handler, *asked, **more)
        return found, [(line.method, line.path, line.status) for line in caplog.records if line.msg == "request"]

    for path, headers, more in product(PATHS, HEADERS.values(), MORE if method == "GET" else MORE[:1]):
        made = answer(CommonAnswers(), method, path, headers, **more)

        assert answer(kept, method, path, headers, **more) == made, (path, headers, more)
        assert answer(kept, method, path, headers, **more) == made, (path, headers, more)
    assert len(kept) > 10


@pytest.mark.parametrize(("path", "status"), COMMON.items())
@CORS
def test_no_ignored_header_changes_a_common_answer(handler, caplog, path, status):
    handler.common = CommonAnswers()
    plain = ask(handler, "GET", path)
    for name in IGNORED:
        handler.common = CommonAnswers()

        assert ask(handler, "GET", path, [HOST, (name, b"https")]) == plain, name
    assert plain[0] == status


@pytest.fixture
def made(handler, monkeypatch):
    """The paths of the requests that Django has answered."""
    paths, read = [], handler.read_request
    monkeypatch.setattr(handler, "common", CommonAnswers())
    monkeypatch.setattr(handler, "read_request", lambda scope, file: paths.append(scope["path"]) or read(scope, file))
    return paths


def test_common_answers_are_made_once_for_all(handler, made):
    for headers in (HEADERS["none"], HEADERS["browser"], HEADERS["own id"]):
        for path in COMMON:
            ask(handler, "GET", path, headers)

    assert made == list(COMMON)


def test_whoever_brings_more_is_answered_anew(handler, made):
    kinds = "junk bearer", "junk cookie", "tag", "unknown header", "empty body", "two hosts", "unknown host"
    ask(handler, "GET", "/api/users/user")
    for kind in kinds:
        ask(handler, "GET", "/api/users/user", HEADERS[kind])
    ask(handler, "GET", "/api/users/user", root_path="/below")
    ask(handler, "GET", "/api/users/user", http_version="1.0")
    ask(handler, "DELETE", "/api/users/user")

    assert len(made) == len(kinds) + 4


def test_what_is_kept_is_bounded(handler, made, monkeypatch):
    monkeypatch.setattr("lib.common_answers._MOST", 10)
    for number in range(15):
        ask(handler, "GET", f"/api/nothing-{number}")
    ask(handler, "GET", f"/api/{'long' * 100}")

    assert len(handler.common) == 5
    assert ask(handler, "GET", "/api/nothing")[0] == 404


def test_each_has_an_id_of_its_own(handler):
    handler.common = CommonAnswers()
    bodies = set()

    async def receive():
        raise AssertionError

    async def send(message):
        if message["type"] == "http.response.body":
            bodies.add(re.search(rb'"request_id":"(\w{32})"', message["body"])[1])

    scope = {"type": "http", "http_version": "1.1", "scheme": "http", "query_string": b"", "method": "GET"}
    for _ in range(3):
        asyncio.run(handler({**scope, "path": "/api/nothing", "headers": [HOST]}, receive, send))

    assert len(bodies) == 3
