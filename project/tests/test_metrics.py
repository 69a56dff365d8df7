import re
import socket
import threading
from contextlib import suppress

import httpx
import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from lib import metrics, metrics_server
from lib.actors import Actor
from notifications.models import Worker
from notifications.services import circuit_breaker, health, outbox
from users.tests.factories import UserFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db

TOKEN = "metrics-0123456789-abcdefghijklmnopqrstuv"
DESIGNED = {
    "notifications_enqueued_total",
    "notifications_outcome_total",
    "notifications_retries_total",
    "notifications_lost_lease_total",
    "notifications_duplicate_key_total",
    "notifications_queue_depth",
    "notifications_oldest_due_seconds",
    "notifications_send_seconds",
    "notifications_render_seconds",
    "notifications_worker_last_beat_seconds",
    "notifications_provider_paused",
}


@pytest.fixture
def scrape(client, settings):
    settings.METRICS_TOKEN = TOKEN
    metrics.forget()
    return lambda: client.get("/metrics", headers={"authorization": f"Bearer {TOKEN}"})


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN} ", "Bearer é"])
def test_without_the_bearer_there_is_no_such_page(client, settings, given):
    settings.METRICS_TOKEN = TOKEN

    assert client.get("/metrics", headers={"authorization": given}).status_code == 404


def test_without_a_token_there_is_no_such_page(client):
    assert client.get("/metrics", headers={"authorization": "Bearer "}).status_code == 404


def test_every_figure_has_its_name(scrape):
    answer = scrape()

    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert set(re.findall(r"^# TYPE (\S+)", answer.content.decode(), re.MULTILINE)) >= DESIGNED


def test_what_happens_is_counted(scrape, django_capture_on_commit_callbacks):
    user = UserFactory.create()
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(2):
            outbox.queue("users.welcome", to=user.email, context={"first_name": "Ada"}, event_key="once")
    Worker.objects.create(host="a", pid=1, engine="worker")
    circuit_breaker.pause("email", actor=COMMAND, reason="test")

    lines = scrape().content.decode().splitlines()

    for line in (
        'notifications_enqueued_total{channel="email",type="users.welcome"} 1.0',
        'notifications_outcome_total{outcome="accepted",provider="memory"} 1.0',
        "notifications_duplicate_key_total 1.0",
        "notifications_retries_total 0.0",
        "notifications_send_seconds_count 1.0",
        'notifications_render_seconds_bucket{le="+Inf"} 1.0',
        'notifications_queue_depth{state="queued"} 0.0',
        "notifications_oldest_due_seconds 0.0",
        "notifications_provider_paused 1.0",
        "switchboard_database_up 1.0",
        "switchboard_database_writable 1.0",
    ):
        assert line in lines
    assert any(line.startswith("notifications_worker_last_beat_seconds 0") for line in lines)


def test_answers_are_counted_by_route_and_never_by_path(client, scrape):
    client.get("/api/_status")
    client.get("/api/nope-of-a-stranger")
    client.get("/api/feature-flags/feature-flags")
    client.post("/api/login", {"username": "ada@example.org", "password": "wrong-password-1"})

    text = scrape().content.decode()

    counted = re.findall(r"^http_request_duration_seconds_count(\{.*\}) (\S+)$", text, re.MULTILINE)
    assert ('{method="GET",route="api/_status",status="200"}', "1.0") in counted
    assert ('{method="POST",route="api/login",status="400"}', "1.0") in counted
    assert 'switchboard_account_events_total{event="login.failed",outcome="failed"} 1.0' in text.splitlines()
    assert "nope-of-a-stranger" not in text


def test_without_a_database_it_still_answers(client, scrape, monkeypatch):
    def away():
        raise OperationalError

    monkeypatch.setattr(health, "gauges", away)

    answer = scrape()

    assert answer.status_code == 200
    assert "switchboard_database_up 0.0" in answer.content.decode().splitlines()


def test_a_worker_answers_on_a_port_of_its_own(settings):
    settings.METRICS_TOKEN, settings.METRICS_PORT, settings.HOST = TOKEN, 0, "127.0.0.1"
    server = metrics_server.start(lambda: [metrics.build_info()])
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        answer = httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"})
        hidden = httpx.get(url)
    finally:
        server.shutdown()
        server.server_close()

    assert "switchboard_build_info{" in answer.text
    assert hidden.status_code == 404


def test_a_full_disk_stops_the_figures_and_no_process(tmp_path, scrape, monkeypatch, caplog):
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr(metrics, "_ROOM", 2**62)

    answers = [scrape(), scrape()]
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    answers.append(scrape())

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len([line for line in caplog.records if line.name == "switchboard.metrics"]) == 1
    assert not metrics._export().known


def test_who_sends_a_byte_now_and_then_does_not_keep_the_worker_from_answering(settings, monkeypatch):
    settings.METRICS_TOKEN, settings.METRICS_PORT, settings.HOST = TOKEN, 0, "127.0.0.1"
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.3)
    server = metrics_server.start(list)
    held = socket.create_connection(("127.0.0.1", server.server_port))
    given_up = threading.Event()

    def dribble():
        with suppress(OSError):
            while not given_up.wait(0.05):
                held.send(b"G")

    dribbling = threading.Thread(target=dribble)
    dribbling.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        answer = httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"}, timeout=10)
    finally:
        given_up.set()
        dribbling.join()
        held.close()
        server.shutdown()
        server.server_close()

    assert answer.status_code == 200


def test_a_database_may_take_longer_than_a_request(settings, monkeypatch):
    settings.METRICS_TOKEN, settings.METRICS_PORT, settings.HOST = TOKEN, 0, "127.0.0.1"
    monkeypatch.setattr(metrics_server._Handler, "timeout", 0.3)

    def asked():
        for deadline in [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]:
            deadline.join()
        return []

    server = metrics_server.start(asked)
    try:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        answer = httpx.get(url, headers={"authorization": f"Bearer {TOKEN}"})
    finally:
        server.shutdown()
        server.server_close()

    assert answer.status_code == 200


def test_a_worker_answers_on_ipv6(settings):
    settings.METRICS_TOKEN, settings.METRICS_PORT, settings.HOST = TOKEN, 0, "::1"
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    server = metrics_server.start(list)
    try:
        assert httpx.get(f"http://[::1]:{server.server_port}/metrics").status_code == 404
    finally:
        server.shutdown()
        server.server_close()


def test_what_is_rolled_back_is_not_counted(scrape):
    outbox.queue("users.welcome", to="ada@example.org", context={"first_name": "Ada"})

    assert "users.welcome" not in scrape().content.decode()


def test_an_index_answers_each_gauge():
    with CaptureQueriesContext(connection) as made:
        health.gauges()

    for query in made.captured_queries:
        if "notifications_message" not in query["sql"]:
            continue
        with connection.cursor() as cursor:
            cursor.execute("SET enable_seqscan = off" if connection.vendor == "postgresql" else "SELECT 1")
            explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{explain} {query['sql']}")
            plan = str(cursor.fetchall())
        assert "message_due" in plan or "message_state_finished" in plan, plan
