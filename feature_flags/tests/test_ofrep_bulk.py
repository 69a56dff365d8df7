"""All flags for one context: entity tags, streams on offer, and what is kept between snapshots."""

import re
from datetime import UTC, datetime

import pytest
from django.utils import timezone

from feature_flags.http import cache, ofrep, streams, wire
from feature_flags.runtime import snapshot, store
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND
from feature_flags.tests.wire import BULK, make_flag, make_token

pytestmark = pytest.mark.django_db


def test_the_tag_hangs_on_the_values_and_not_on_the_rest(bulk, scene):
    first = bulk({"country": "IT"})
    make_token("server", name="another")  # a newer revision, another address of the stream
    again, other = bulk({"country": "IT"}), bulk({"country": "FR"})

    assert first.headers["etag"] == again.headers["etag"] != other.headers["etag"]
    assert first.json()["metadata"]["revision"] < again.json()["metadata"]["revision"]
    assert re.fullmatch('"[0-9a-f]{32}-[0-9a-f]+"', first.headers["etag"])


def test_a_known_tag_is_a_304_that_repeats_it(bulk, subtests):
    tag = bulk().headers["etag"]

    for form in ["{}", "W/{}", '"a", W/{}', "*", '"a",{} , "b"']:
        with subtests.test(form):
            reply = bulk(headers={"if-none-match": form.format(tag)})

            assert (reply.status, reply.body, reply.headers["etag"]) == (304, b"", tag)
            assert "content-length" not in reply.headers


def test_another_tag_is_answered_in_full(bulk):
    assert bulk(headers={"if-none-match": '"a", W/"b"'}).status == 200


def test_the_tag_changes_before_the_ticket_of_a_stream_ends(bulk, monkeypatch):
    """Browsers keep the address of a stream with the values: a 304 for ever would leave them with a dead ticket."""
    first = bulk()
    now = datetime.now(UTC).timestamp() + 12 * 3600
    monkeypatch.setattr(ofrep, "time", lambda: now)

    reply = bulk(headers={"if-none-match": first.headers["etag"]})

    assert reply.status == 200
    assert reply.json()["eventStreams"] != first.json()["eventStreams"]


def test_the_stream_is_offered_at_the_address_that_was_asked(bulk, scene):
    (stream,) = bulk(headers={"host": "localhost:8000"}, scheme="https").json()["eventStreams"]

    assert stream["url"].startswith("https://localhost:8000/ofrep/v1/stream?ticket=")
    assert (stream["type"], stream["inactivityDelaySec"]) == ("sse", 120)
    assert scene.server not in stream["url"]


def test_no_stream_is_offered_where_none_can_be_opened(bulk, settings, scene, client):
    settings.FLAGS_STREAMS_MAX = 0
    assert "eventStreams" not in bulk().json()
    settings.FLAGS_STREAMS_MAX = 5

    behind_wsgi = client.post(BULK, b"", "application/json", headers={"authorization": scene.server})

    assert behind_wsgi.status_code == 200
    assert "eventStreams" not in behind_wsgi.json()
    assert client.get("/ofrep/v1/stream").status_code == 404


@pytest.mark.parametrize("is_edge", [True, False])
def test_a_client_that_has_heard_of_a_newer_revision_waits_for_it(is_edge, bulk, scene, monkeypatch, settings):
    settings.FLAGS_EDGE = is_edge
    before = store.snapshot
    tag = bulk().headers["etag"]
    editing.switch(make_flag("FF_LATE", on=False), on=True, **COMMAND)
    newest = store.snapshot
    store.put(before)
    waited = []

    async def arrive(seconds):
        waited.append(seconds)
        store.put(newest)

    monkeypatch.setattr(streams.asyncio, "sleep", arrive)
    query = f"?flagConfigEtag=%22{newest.revision}%22&flagConfigLastModified=1"

    reply = bulk(headers={"if-none-match": tag}, query=query)

    assert (reply.status, len(waited)) == (200, 1)
    assert "FF_LATE" in {flag["key"] for flag in reply.json()["flags"]}


def test_a_revision_that_never_comes_is_waited_for_only_so_long(bulk, monkeypatch):
    monkeypatch.setattr(streams, "REACH_SECONDS", 0.01)

    assert bulk(query="?flagConfigEtag=%22999999999%22").status == 200
    for junk in ("%22x%22", "-1", "9" * 30, "", "%D9%A3"):
        assert bulk(query=f"?flagConfigEtag={junk}").status == 200


def test_what_was_written_for_an_unchanged_flag_serves_the_next_snapshot(bulk, monkeypatch):
    bulk()
    made = []
    original = cache.evaluation
    monkeypatch.setattr(cache, "evaluation", lambda flag, result: made.append(flag.name) or original(flag, result))
    before = store.snapshot
    make_flag("FF_NEW")
    # As the watcher does it; here a write reads everything anew.
    store.put(snapshot.build(before, timezone.now()))
    bulk()
    bulk()

    assert made == ["FF_NEW"]


def test_tickets_are_signed_and_end():
    ticket = wire.make_ticket(7, wire.ticket_slot(0.0))

    assert wire.ticket_token_id(ticket, 0.0) == 7
    assert wire.ticket_token_id(ticket, 12 * 3600) == 7
    assert wire.ticket_token_id(ticket, 18 * 3600) is None
    for forged in (ticket[:-1], ticket.replace("7.", "8.", 1), "7.0", "", "a.b.c", "7.0.é", "..", "٣.0.x"):
        assert wire.ticket_token_id(forged, 0.0) is None
