"""Unleash's delta API and stream, and what Unleash Edge asks: on the wire."""

import asyncio
import json
from itertools import product

import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as configured
from django.db import transaction

from feature_flags.http import unleash as module
from feature_flags.models import FlagUsage, Segment
from feature_flags.runtime import store, usage
from feature_flags.services import editing, segments, tokens
from feature_flags.tests.factories import COMMAND
from feature_flags.tests.test_stream import Listener, driven, switch
from feature_flags.tests.wire import ask, make_flag, make_token, scope_of
from project.asgi import application

pytestmark = pytest.mark.django_db

STREAM = "/api/client/streaming"


@pytest.fixture(autouse=True)
def deltas(monkeypatch):
    fresh = module.Deltas()
    monkeypatch.setattr("feature_flags.http.unleash.deltas", fresh)
    return fresh


@pytest.fixture
def delta(scene):
    def call(tag=None, token=None):
        headers = {"authorization": token or scene.server, "if-none-match": tag}
        return ask(application, "GET", "/api/client/delta", headers)

    return call


def events(reply):
    return [(event["type"], event["eventId"]) for event in reply.json()["events"]]


def test_everything_comes_first_and_then_what_changed(delta):
    first = delta()
    tag, revision = first.headers["etag"], store.snapshot.revision
    hydration = first.json()["events"][0]
    assert (events(first), tag) == ([("hydration", revision)], store.snapshot.features.tag)
    assert [one["name"] for one in hydration["features"]] == sorted(store.snapshot.flags)
    assert [one["name"] for one in hydration["segments"]] == ["italy"]
    assert delta(tag).status == 304
    assert delta(f"W/{tag}").status == 304

    editing.switch(editing.get("FF_ON"), on=False, **COMMAND)
    second = delta(tag)
    editing.archive(editing.get("FF_HIDDEN"), **COMMAND)
    segments.edit_segment(Segment.objects.get(), {"constraints": []}, **COMMAND)
    third = delta(tag)

    assert second.json()["events"][0]["feature"]["enabled"] is False
    assert events(second) == [("feature-updated", revision + 1)]
    kinds = [kind for kind, _ in events(third)]
    assert kinds == ["feature-updated", "segment-updated", "feature-removed"]
    assert third.json()["events"][2]["featureName"] == "FF_HIDDEN"
    assert delta(third.headers["etag"]).status == 304


def test_a_tag_that_says_nothing_gets_everything(delta):
    for tag in ['"0"', '"999999999"', '"x"', '"' + "9" * 40 + '"', ""]:
        assert events(delta(tag))[0][0] == "hydration", tag


def test_a_client_that_was_away_for_long_gets_everything(delta, monkeypatch):
    monkeypatch.setattr(module, "_MAX_DELTAS", 2)
    tag = delta().headers["etag"]
    for on in (False, True, False):
        editing.switch(editing.get("FF_ON"), on=on, **COMMAND)
        recent = delta().headers["etag"]

    assert events(delta(tag))[0][0] == "hydration"
    assert delta(recent).status == 304


def test_a_client_that_knows_the_future_of_restored_database_is_led_back(delta):
    delta()
    with transaction.atomic():
        editing.switch(editing.get("FF_ON"), on=False, **COMMAND)
        tag = delta().headers["etag"]
        transaction.set_rollback(True)
    store.refresh(due=True)
    delta()
    editing.archive(editing.get("FF_HIDDEN"), **COMMAND)
    delta()
    editing.archive(editing.get("FF_COLOUR"), **COMMAND)

    found = delta(tag).json()["events"]
    assert [event["featureName"] for event in found[1:]] == ["FF_HIDDEN", "FF_COLOUR"]
    assert (found[0]["feature"]["name"], found[0]["feature"]["enabled"]) == ("FF_ON", True)


def test_changes_that_are_longer_than_everything_are_not_kept(delta):
    tag = delta().headers["etag"]
    flag = editing.get("FF_ON")
    editing.edit(flag, {"description": "x" * 900}, **COMMAND)
    delta()
    editing.edit(editing.get("FF_ON"), {"description": ""}, **COMMAND)

    for on in [False, True] * 20:
        editing.switch(editing.get("FF_ON"), on=on, **COMMAND)
        delta()

    assert events(delta(tag))[0][0] == "hydration"


@pytest.mark.parametrize("path", ["/api/client/delta", "/api/client/features"])
@driven
async def test_a_process_that_is_behind_catches_up_before_it_answers(path):
    flag = await sync_to_async(make_flag)("FF_A", on=False)
    _, secret = await sync_to_async(make_token)("server")
    before = await sync_to_async(store.current)()
    await switch(flag, True)
    newer = store.snapshot
    store.put(before)
    headers = {"authorization": secret, "if-none-match": newer.features.tag, "unleash-client-spec": "5.2.0"}
    scope = scope_of("GET", path, headers)
    sent = asyncio.Queue()

    task = asyncio.create_task(application(scope, asyncio.Event().wait, sent.put))
    await asyncio.sleep(0)
    store.put(newer)
    await asyncio.wait_for(task, 5)

    assert (await sent.get())["status"] == 304


def test_only_server_tokens_open_them(scene):
    for path in ["/api/client/delta", STREAM, f"{STREAM}/", "/api//client/streaming"]:
        assert ask(application, "GET", path).status == 401, path
        assert ask(application, "GET", path, {"authorization": scene.frontend}).status == 403, path


# --- The stream -------------------------------------------------------------------------------------------------------


def sent(text):
    """`(id, name, document)` of one event."""
    number, name, data, _, _ = text.split("\n")
    return number.removeprefix("id: "), name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@driven
async def test_the_stream_brings_everything_and_then_each_change():
    flag = await sync_to_async(make_flag)("FF_A", on=False)
    _, secret = await sync_to_async(make_token)("server")

    async with Listener(STREAM, {"authorization": secret}) as listener:
        number, name, document = sent(listener.first["body"].decode())
        assert (listener.start["status"], name) == (200, "unleash-connected")
        assert (f'"{number}"', document["events"][0]["type"]) == (store.snapshot.features.tag, "hydration")

        await switch(flag, True)

        number, name, document = sent(await listener.text())
        assert (f'"{number}"', name) == (store.snapshot.features.tag, "unleash-updated")
        assert document["events"][0]["feature"]["enabled"] is True


@driven
async def test_a_client_that_comes_back_gets_what_it_missed():
    flag = await sync_to_async(make_flag)("FF_A", on=False)
    _, secret = await sync_to_async(make_token)("server")
    async with Listener(STREAM, {"authorization": secret}) as listener:
        seen = sent(listener.first["body"].decode())[0]

    await switch(flag, True)

    async with Listener(STREAM, {"authorization": secret, "last-event-id": seen}) as listener:
        _, name, document = sent(listener.first["body"].decode())
        assert (name, len(document["events"])) == ("unleash-updated", 1)
    async with Listener(STREAM, {"authorization": secret, "last-event-id": "999999"}) as listener:
        assert sent(listener.first["body"].decode())[1] == "unleash-connected"


@driven
async def test_a_slow_reader_holds_a_piece_and_ends_with_its_token():
    for number in range(20):
        await sync_to_async(make_flag)(f"FF_{number}", description="ü" * 500, group_id="x" * 100)
    many = [{"field": "country", "operator": "IN", "values": ["x" * 90 + str(n) for n in range(900)]}]
    await sync_to_async(segments.create_segment)("many", constraints=many, **COMMAND)
    token, secret = await sync_to_async(make_token)("server")

    async with Listener(STREAM, {"authorization": secret}) as listener:
        assert len(listener.first["body"]) <= 64 * 1024
        assert len((await listener.next())["body"]) == 64 * 1024
        listener.may_send.clear()
        await sync_to_async(tokens.revoke_token)(token, **COMMAND)
        listener.may_send.set()
        pieces = [await listener.next()]
        while pieces[-1].get("more_body"):
            pieces.append(await listener.next())

    assert sum(len(piece["body"]) for piece in pieces) <= 2 * 64 * 1024


def test_a_process_without_room_sends_clients_to_polling(scene, settings):
    settings.FLAGS_STREAMS_MAX = 0

    reply = ask(application, "GET", STREAM, {"authorization": scene.server})

    assert (reply.status, reply.headers["retry-after"]) == (429, "30")


# --- Unleash Edge -----------------------------------------------------------------------------------------------------


def test_tokens_that_are_good_are_told_and_nothing_of_the_others(scene, settings, subtests):
    rest = {"environment": configured.FLAGS_ENVIRONMENT, "projects": ["*"]}
    # Edge reads no token that is not written like this.
    edge = f"*:{configured.FLAGS_ENVIRONMENT}.{scene.server}"
    asked = [
        scene.server,
        edge,
        f"*:other.{scene.server}",
        scene.frontend,
        scene.server[:-1],
        scene.server.upper(),
        "",
        "\ud800",
    ]

    good = [
        {"token": scene.server, "type": "client", **rest},
        {"token": edge, "type": "client", **rest},
        {"token": scene.frontend, "type": "frontend", **rest},
    ]
    doors = list(product([True, False], ["/edge/validate", "/edge/validate/", "//edge/validate"]))

    for settings.FLAGS_EDGE, path in doors:
        with subtests.test(path, edge=settings.FLAGS_EDGE):
            assert ask(application, "POST", path, body={"tokens": asked}).json() == {"tokens": good}
    assert ask(application, "GET", "/api/client/features", {"authorization": edge}).status == 200
    tokens.revoke_token(scene.server_token, **COMMAND)
    assert ask(application, "GET", "/api/client/features", {"authorization": edge}).status == 401
    for settings.FLAGS_EDGE, path in doors:
        with subtests.test(path, edge=settings.FLAGS_EDGE, revoked=True):
            assert ask(application, "POST", path, body={"tokens": asked}).json() == {"tokens": good[2:]}


def test_what_is_no_list_of_tokens_is_refused(scene):
    for body, status in [(b"{", 400), (b'{"tokens": [7]}', 400), (b"[]", 400), (b"x" * 70_000, 413)]:
        assert ask(application, "POST", "/edge/validate", body=body).status == status, body[:20]


def test_metrics_of_many_applications_come_in_bulk(scene):
    metric = {"environment": configured.FLAGS_ENVIRONMENT, "timestamp": "2026-01-01T00:00:00Z"}
    metrics = [
        {**metric, "featureName": "FF_ON", "appName": "shop", "yes": 3, "no": 1},
        {**metric, "featureName": "FF_COLOUR", "appName": "desk", "yes": 2, "no": 0, "variants": {"red": 2, "x": 1}},
        7,
        {"featureName": []},
    ]

    reply = ask(
        application,
        "POST",
        "/api/client/metrics/bulk",
        {"authorization": scene.server},
        {"applications": [{"appName": "shop"}], "metrics": metrics},
    )
    usage.flush()

    assert reply.status == 202
    rows = FlagUsage.objects.values_list("app_name", "codename", "variant", "yes", "no")
    assert sorted(rows) == [
        ("desk", "FF_COLOUR", "", 2, 0),
        ("desk", "FF_COLOUR", "other", 1, 0),
        ("desk", "FF_COLOUR", "red", 2, 0),
        ("shop", "FF_ON", "", 3, 1),
    ]
    for given, body, status in (
        (scene.frontend, b"{}", 403),
        (scene.server, b"{}", 202),
        (scene.server, b'{"metrics":{}}', 400),
    ):
        assert ask(application, "POST", "/api/client/metrics/bulk", {"authorization": given}, body).status == status
