"""The lanes beside Django's stock handler: streams, clients that leave, threads and bodies."""

import asyncio
import contextlib
import sys
import threading

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.handlers.asgi import ASGIHandler
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from lib.asgi import LaneHandler, Lanes, loading, with_lifespan

happened = []
stall = threading.Event()


async def stream(request):
    async def parts():
        for n in range(3):
            yield f"{n}\n"
            await asyncio.sleep(0)

    return StreamingHttpResponse(parts())


async def endless(request):
    async def parts():
        try:
            while True:
                yield "."
                await asyncio.sleep(0)
        finally:
            happened.append("stream closed")

    return StreamingHttpResponse(parts())


async def wait(request):
    happened.append("waiting")
    try:
        await asyncio.Event().wait()
    finally:
        happened.append("cancelled")


async def threads(request):
    names = [await sync_to_async(threading.get_ident)() for _ in range(3)]
    return HttpResponse(str(len(set(names))))


async def pid(request):
    def ask():
        connection.ensure_connection()
        return id(connection.connection)

    return HttpResponse(str(await sync_to_async(ask)()))


async def stalled(request):
    await sync_to_async(stall.wait)(10)
    return HttpResponse("late")


async def lane(request):
    return HttpResponse(await sync_to_async(lambda: threading.current_thread().name)())


async def closing(request):
    response = HttpResponse("x")

    class Resource:
        def close(self):
            happened.append("closed")

    response._resource_closers.append(Resource().close)
    return response


async def echo(request):
    return HttpResponse(request.body)


urlpatterns = [
    path(view.__name__, view) for view in (stream, endless, wait, threads, pid, stalled, lane, closing, echo)
]


class Client:
    """One ASGI request; `leave` disconnects."""

    def __init__(self, name, body=(b"",)):
        self.scope = {"type": "http", "method": "POST", "path": f"/{name}", "query_string": b"", "headers": []}
        self.incoming = asyncio.Queue()
        for n, part in enumerate(body, 1):
            self.incoming.put_nowait({"type": "http.request", "body": part, "more_body": n < len(body)})
        self.sent = []
        self.got_some = asyncio.Event()

    def leave(self):
        self.incoming.put_nowait({"type": "http.disconnect"})

    async def send(self, message):
        self.sent.append(message)
        if message.get("body"):
            self.got_some.set()

    async def run(self, app):
        await asyncio.wait_for(app(self.scope, self.incoming.get, self.send), 10)
        return self

    @property
    def status(self):
        return self.sent[0]["status"]

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent[1:])


@pytest.fixture(params=["lanes", "stock", "carried"])
def app(request):
    happened.clear()
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        if request.param == "stock":
            yield get_asgi_application()
        elif request.param == "carried":
            lanes = Lanes(2)
            yield lanes.carry(get_asgi_application())
            lanes.close()
        else:
            handler = LaneHandler(lanes=Lanes(2), middleware=[])
            yield handler
            handler.lanes.close()


def test_a_stream_arrives_in_parts(app):
    client = asyncio.run(Client_run(app, "stream"))

    assert (client.status, client.body) == (200, b"0\n1\n2\n")
    assert client.sent[-1].get("more_body", False) is False


async def Client_run(app, name, **options):  # noqa: N802
    return await Client(name, **options).run(app)


def test_a_client_that_leaves_ends_its_stream(app):
    async def scenario():
        client = Client("endless")
        running = asyncio.ensure_future(client.run(app))
        await client.got_some.wait()
        client.leave()
        await running

    asyncio.run(scenario())

    assert happened == ["stream closed"]


def test_a_client_that_leaves_cancels_the_work(app):
    async def scenario():
        client = Client("wait")
        running = asyncio.ensure_future(client.run(app))
        while not happened:
            await asyncio.sleep(0)
        client.leave()
        await running
        return client

    client = asyncio.run(scenario())

    assert happened == ["waiting", "cancelled"]
    assert client.sent == []


def test_a_client_that_leaves_before_its_body_is_no_error(app):
    async def scenario():
        client = Client("echo", body=())
        client.leave()
        return await client.run(app)

    assert asyncio.run(scenario()).sent == []


def test_a_body_in_parts_is_whole(app):
    client = asyncio.run(Client_run(app, "echo", body=(b"ab", b"cd", b"")))

    assert client.body == b"abcd"


def test_one_request_stays_on_one_thread(app):
    assert asyncio.run(Client_run(app, "threads")).body == b"1"


def test_what_the_answer_holds_is_closed(app):
    asyncio.run(Client_run(app, "closing"))

    assert happened == ["closed"]


@pytest.mark.django_db(transaction=True)
def test_lanes_keep_their_connection_and_share_the_load():
    with override_settings(ROOT_URLCONF=__name__):
        handler = LaneHandler(lanes=Lanes(2), middleware=[])

        async def scenario():
            alone = [(await Client_run(handler, "pid")).body for _ in range(3)]
            together = await asyncio.gather(*(Client_run(handler, "pid") for _ in range(10)))
            return alone, {client.body for client in together}

        alone, together = asyncio.run(scenario())
        handler.lanes.close()

    assert len(set(alone)) == 1
    assert len(together) == 2


async def settled():
    for _ in range(50):
        await asyncio.sleep(0)


def leave(client, task):
    client.leave()


def cancel(client, task):
    task.cancel()


@pytest.mark.parametrize("end", [leave, cancel])
@pytest.mark.parametrize("app", ["lanes", "carried"], indirect=True)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Django's own, of a cancelled request
def test_after_a_stall_and_impatient_clients_both_lanes_are_used(app, end):
    async def scenario():
        stall.clear()
        clients = [Client("stalled") for _ in range(20)]
        tasks = [asyncio.create_task(client.run(app)) for client in clients]
        await settled()
        for client, task in list(zip(clients, tasks, strict=True))[3::2]:  # those of one lane
            end(client, task)
        await settled()
        stall.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        return await asyncio.gather(*(Client_run(app, "lane") for _ in range(10)))

    names = [client.body for client in asyncio.run(scenario())]

    # How many each: a call that is done before the next one is placed leaves its lane as free as it was.
    assert len(set(names)) == 2


@pytest.mark.django_db(transaction=True)
def test_djangos_own_handler_keeps_connections_too_when_it_is_carried():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        lanes = Lanes(1)
        app = lanes.carry(get_asgi_application())

        async def scenario():
            return {(await Client_run(app, "pid")).body for _ in range(3)}

        seen = asyncio.run(scenario())
        lanes.close()

    assert len(seen) == 1


def test_cancelling_the_server_side_is_not_swallowed():
    with override_settings(ROOT_URLCONF=__name__):
        handler = LaneHandler(lanes=Lanes(1), middleware=[])
        happened.clear()

        async def scenario():
            running = asyncio.ensure_future(Client("wait").run(handler))
            while not happened:
                await asyncio.sleep(0)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running
            return running.cancelled()

        assert asyncio.run(scenario())


def test_the_api_runs_on_lanes():
    from project.asgi import api

    assert isinstance(api, ASGIHandler)
    assert api.middleware == settings.API_MIDDLEWARE


def lifespan(app, *messages):
    async def scenario():
        incoming, sent = list(messages), []

        async def receive():
            return {"type": incoming.pop(0)}

        async def send(message):
            sent.append(message)

        await app({"type": "lifespan"}, receive, send)
        return sent

    return asyncio.run(scenario())


def test_the_lifespan_starts_and_stops():
    calls = []
    app = with_lifespan(None, start=lambda: calls.append("start"), stop=lambda: calls.append("stop"))

    sent = lifespan(app, "lifespan.startup", "lifespan.shutdown")

    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert calls == ["start", "stop"]


def test_a_start_that_fails_is_told_and_nothing_is_served():
    def start():
        raise ValueError("NOTIFICATIONS_LEASE is too short.")

    sent = lifespan(with_lifespan(None, start=start, stop=start), "lifespan.startup")

    assert sent == [{"type": "lifespan.startup.failed", "message": "NOTIFICATIONS_LEASE is too short."}]


def test_a_websocket_is_closed():
    async def scenario():
        sent = []

        async def send(message):
            sent.append(message)

        await with_lifespan(None, start=None, stop=None)({"type": "websocket"}, None, send)
        return sent

    assert asyncio.run(scenario()) == [{"type": "websocket.close", "code": 1000}]


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Writes a module that can be imported, with this text; returns its name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text):
        (tmp_path / "loaded_later.py").write_text(f"from {__name__} import happened\n{text}\n")
        return "loaded_later"

    yield write
    sys.modules.pop("loaded_later", None)


async def arrived(scope, receive, send):
    happened.append("arrived")


def test_many_first_requests_load_a_module_once_and_not_on_the_event_loop(written):
    happened.clear()
    name = written("import threading, time; time.sleep(0.05); happened.append(threading.current_thread())")

    async def ask():
        app = loading(name, arrived)
        await asyncio.gather(*(app({}, None, None) for _ in range(3)))
        await app({}, None, None)

    asyncio.run(ask())

    thread, *rest = happened
    assert thread is not threading.current_thread()
    assert rest == ["arrived"] * 4


def test_a_module_that_fails_is_tried_again_and_the_app_answers(written):
    happened.clear()
    app = loading(written("happened.append('tried'); raise OSError"), arrived)

    for _ in range(2):
        asyncio.run(app({}, None, None))

    assert happened == ["tried", "arrived"] * 2
