"""“Ask again”, pushed: the stream itself, in this process."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from functools import wraps

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from feature_flags.http import streams, wire
from feature_flags.runtime import store
from feature_flags.services import editing, tokens
from feature_flags.tests.factories import COMMAND
from feature_flags.tests.wire import APP, BULK, ask, make_flag, make_token, scope_of
from project.asgi import application

pytestmark = pytest.mark.django_db

STREAM = "/ofrep/v1/stream"


def driven(test):
    """An async test as a plain one, on the thread of the database."""

    @wraps(test)
    def run(**fixtures):
        async_to_sync(test)(**fixtures)

    return run


@pytest.fixture
def token():
    return make_token("frontend")[0]


@pytest.fixture
def flag():
    return make_flag("FF_A", on=False)


def target(token, *more):
    return "&".join([f"{STREAM}?ticket={wire.make_ticket(token.pk, wire.ticket_slot(time.time()))}", *more])


class Listener:
    """A client of the stream that reads when it is told to."""

    def __init__(self, target, headers=None, **options):
        self.scope = scope_of("GET", target, headers, **options)
        self.sent = asyncio.Queue()
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.left = asyncio.Event()

    async def __aenter__(self):
        self.task = asyncio.create_task(application(self.scope, self._receive, self._send))
        self.start = await self.next()
        self.first = await self.next()
        return self

    async def __aexit__(self, *error):
        self.left.set()
        await asyncio.wait_for(self.task, 5)

    async def _receive(self):
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        await self.may_send.wait()
        await self.sent.put(message)

    async def next(self):
        return await asyncio.wait_for(self.sent.get(), 5)

    async def text(self):
        return (await self.next())["body"].decode()

    async def is_quiet(self):
        await asyncio.sleep(0.02)
        return self.sent.empty()


def switch(flag, on):
    return sync_to_async(editing.switch)(flag, on=on, **COMMAND)


def event(revision):
    data = {"type": "refetchEvaluation", "etag": f'"{revision}"', "lastModified": int(store.snapshot.built_at)}
    return f"id: {revision}\nevent: message\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


@driven
async def test_a_switch_is_told_in_the_words_of_the_protocol(token, flag):
    async with Listener(target(token), {"origin": APP}) as listener:
        headers = {name.decode(): value.decode() for name, value in listener.start["headers"]}
        assert listener.start["status"] == 200
        assert headers["content-type"] == "text/event-stream"
        assert headers["access-control-allow-origin"] == APP
        assert "access-control-allow-credentials" not in headers

        await switch(flag, True)

        assert await listener.text() == event(store.snapshot.revision)
    assert not streams.hub.streams


@driven
async def test_at_first_a_client_is_told_where_it_stands_and_no_event(token, flag):
    async with Listener(target(token)) as listener:
        assert listener.first["body"] == b"id: %d\n\n" % store.snapshot.revision
        assert await listener.is_quiet()


@pytest.mark.parametrize(
    ("headers", "more", "is_told"),
    [
        ({"last-event-id": "1"}, [], True),
        ({}, ["since=1"], True),
        ({"last-event-id": "999999999"}, ["since=1"], False),
        ({"last-event-id": "junk"}, [], False),
        ({}, ["since=999999999"], False),
    ],
)
def test_a_client_that_missed_something_is_told_at_once(headers, more, is_told, token, flag):
    @async_to_sync
    async def run():
        async with Listener(target(token, *more), headers) as listener:
            assert listener.first["body"].decode().startswith(event(store.snapshot.revision)) == is_told

    run()


def test_a_change_between_the_answer_and_the_opening_of_its_stream_is_not_missed(token, flag):
    _, secret = make_token("frontend", name="page")
    reply = ask(application, "POST", BULK, {"authorization": secret})
    (stream,) = reply.json()["eventStreams"]
    editing.switch(flag, on=True, **COMMAND)

    @async_to_sync
    async def run():
        async with Listener(stream["url"].removeprefix("http://testserver")) as listener:
            assert listener.first["body"].decode() == event(store.snapshot.revision)

    run()


@driven
async def test_a_slow_reader_gets_the_newest_revision_only(token, flag):
    async with Listener(target(token)) as listener:
        listener.may_send.clear()
        for on in (True, False, True):
            await switch(flag, on)
            await asyncio.sleep(0.01)
        listener.may_send.set()

        # The first was on its way when the reader fell asleep.
        await listener.next()
        assert await listener.text() == event(store.snapshot.revision)
        assert await listener.is_quiet()


@driven
async def test_a_quiet_stream_is_kept_open_by_comments(token):
    heartbeat, streams.HEARTBEAT_SECONDS = streams.HEARTBEAT_SECONDS, 0.02
    try:
        async with Listener(target(token)) as listener:
            assert await listener.text() == ":\n\n"
            assert await listener.text() == ":\n\n"
    finally:
        streams.HEARTBEAT_SECONDS = heartbeat
    assert heartbeat == 15


@driven
async def test_a_revoked_token_ends_its_streams_and_no_others(token, flag):
    other = (await sync_to_async(make_token)("server", name="other"))[0]
    async with Listener(target(token)) as listener, Listener(target(other)) as stays:
        await sync_to_async(tokens.revoke_token)(token, **COMMAND)

        while (message := await listener.next()).get("more_body"):
            pass
        assert message == {"type": "http.response.body", "body": b""}
        assert await stays.text() == event(store.snapshot.revision)
        assert await stays.is_quiet()


@driven
async def test_an_expired_token_ends_its_streams_at_the_next_swap(flag):
    expires = datetime.now(UTC) + timedelta(hours=1)
    soon = (await sync_to_async(make_token)("frontend", name="soon", expires_at=expires))[0]
    async with Listener(target(soon)) as listener:
        clock, wire.time = wire.time, lambda: expires.timestamp() + 1
        try:
            await switch(flag, True)
            while (await listener.next()).get("more_body"):
                pass
        finally:
            wire.time = clock


@driven
async def test_an_expired_token_ends_its_streams_without_any_news(flag):
    expires = datetime.now(UTC) + timedelta(seconds=0.5)
    soon = (await sync_to_async(make_token)("frontend", name="soon", expires_at=expires))[0]
    async with Listener(target(soon)) as listener:
        while (await listener.next()).get("more_body"):
            pass

    assert datetime.now(UTC) >= expires


@driven
async def test_a_revision_that_cannot_be_read_counts_as_none(token):
    for odd in ("", "-1", "x", "9" * 30, "%FF", "%ED%A0%80", "%D9%A3", "1%00"):
        async with Listener(target(token, f"since={odd}")) as listener:
            assert listener.first["body"] == b"id: %d\n\n" % store.snapshot.revision


def test_a_bad_ticket_opens_nothing(token):
    for query in ("", "?ticket=", "?ticket=junk", f"?ticket={wire.make_ticket(token.pk, 0)}", "?ticket=1.2.3"):
        reply = ask(application, "GET", STREAM + query, {"origin": APP})

        assert (reply.status, reply.body) == (401, b"")
    assert ask(application, "GET", target(token).replace("ticket=", "ticket=9")).status == 401


def test_the_ticket_of_a_revoked_token_opens_nothing(token):
    address = target(token)
    tokens.revoke_token(token, **COMMAND)

    assert ask(application, "GET", address).status == 401


def test_pages_of_other_origins_open_no_stream():
    token, _ = make_token("frontend", allowed_origins=["https://shop.example"])

    reply = ask(application, "GET", target(token), {"origin": "https://evil.example"})

    assert (reply.status, "access-control-allow-origin" in reply.headers) == (403, False)


def test_over_the_cap_a_client_is_asked_to_wait(token, settings):
    settings.FLAGS_STREAMS_MAX = 1

    @async_to_sync
    async def run():
        async with Listener(target(token)):
            sent = []

            async def send(message):
                sent.append(message)

            await application(scope_of("GET", target(token), {"origin": APP}), None, send)
            return sent[0]

    refused = run()
    assert refused["status"] == 503
    assert (b"retry-after", b"30") in refused["headers"]
    assert (b"access-control-allow-origin", APP.encode()) in refused["headers"]


def test_one_address_holds_a_tenth_of_the_streams(token, settings):
    settings.FLAGS_STREAMS_MAX = 20

    @async_to_sync
    async def run():
        async with (
            Listener(target(token)),
            Listener(target(token)),
            Listener(target(token)) as third,
            Listener(target(token), client=("192.0.2.8", 1)) as other,
        ):
            statuses = third.start["status"], other.start["status"]
        async with Listener(target(token)) as again:
            return *statuses, again.start["status"]

    assert run() == (429, 200, 200)


def test_other_methods_are_not_allowed(token):
    reply = ask(application, "POST", target(token))

    assert (reply.status, reply.headers["allow"]) == (405, "GET")


def test_another_host_gets_no_stream(token):
    assert ask(application, "GET", target(token), {"host": "evil.example"}).status == 400


def test_the_stream_is_there_without_the_edge(token, settings):
    settings.FLAGS_EDGE = False
    _, secret = make_token("server", name="other")
    assert "eventStreams" in ask(application, "POST", BULK, {"authorization": secret}).json()

    @async_to_sync
    async def run():
        async with Listener(target(token)) as listener:
            assert listener.start["status"] == 200

    run()


def test_tickets_stay_out_of_the_log(token, caplog):
    caplog.set_level("DEBUG")
    ask(application, "GET", f"{STREAM}?ticket=7.0.abcdef")
    ask(application, "POST", target(token))

    assert "abcdef" not in caplog.text
    assert "ticket" not in caplog.text
