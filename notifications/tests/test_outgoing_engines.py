"""How webhooks travel: with each engine, past endpoints that are slow or away, and through kills of the worker."""

import signal
import threading
from collections import Counter, defaultdict
from datetime import timedelta

import django_tasks.signals  # noqa: F401  (lets a test change TASKS)
import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from lib import events
from lib.actors import Actor
from lib.events import Event
from notifications import engine
from notifications.models import WebhookAttempt, WebhookDelivery
from notifications.services import endpoints, outbox
from notifications.tests.receiver import Receiver
from notifications.tests.test_worker import Forked
from project.tests.processes import until

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]
OPERATOR = Actor.command("example")
DELIVERIES = WebhookDelivery.objects
NAME = "address.suppressed"


@pytest.fixture
def embedded(settings):
    settings.NOTIFICATIONS_ENGINE = "embedded"


@pytest.fixture
def other(receiver):
    """A second receiver."""
    server = Receiver()
    yield server
    server.stop()


@pytest.fixture
def forked(settings):
    """A worker in a process of its own; what is left of them ends with the test."""
    settings.NOTIFICATIONS_ENGINE = "worker"
    running = []

    def start():
        running.append(Forked())
        return running[-1]

    yield start
    for worker in running:
        worker.end(signal.SIGKILL)


def listen(receiver, name="CRM"):
    return endpoints.create(name=name, url=receiver.url, events=[NAME], actor=OPERATOR)


def about(n):
    return {"address": f"{n}@example.org", "scope": "all", "reason": "staff", "until": None}


def publish(number=1, subjects=1):
    with transaction.atomic():
        events.publish_all([Event(NAME, f"address:{n % subjects}", about(n)) for n in range(number)])


def lease_ends():
    DELIVERIES.filter(state="sending").update(due_at=timezone.now() - timedelta(seconds=1))


def test_the_commit_wakes_the_embedded_engine(receiver, embedded, settings):
    settings.NOTIFICATIONS_POLL = 60
    _, secret = listen(receiver)
    engine.start()
    until(lambda: not engine._engine.pool.dispatcher.running and engine._engine.pool.webhooks.is_running)

    publish()

    until(lambda: DELIVERIES.get().state == "delivered")
    assert receiver.events(secret)[0]["data"] == about(0)


def test_an_endpoint_that_hangs_holds_up_neither_others_nor_mail(receiver, other, embedded, mailoutbox, settings):
    settings.WEBHOOKS_TIMEOUT = 300
    listen(receiver, "hangs")
    listen(other, "works")
    receiver.release.clear()
    engine.start()

    publish(30, subjects=30)
    until(lambda: len(receiver.requests) == 4)
    with transaction.atomic():
        outbox.queue("tests.hello", to="ada@example.org", context={"number": 1})

    until(lambda: len(other.requests) == 30)
    until(lambda: len(mailoutbox) == 1)
    assert len(receiver.requests) == 4
    assert not WebhookAttempt.objects.filter(delivery__endpoint__name="hangs").exists()
    receiver.release.set()
    until(lambda: not DELIVERIES.exclude(state="delivered").exists())


def test_a_stop_waits_for_what_is_under_way(receiver, embedded):
    listen(receiver)
    receiver.release.clear()
    engine.start()
    publish(9, subjects=9)
    until(lambda: len(receiver.requests) == 4)

    threading.Timer(0.2, receiver.release.set).start()
    engine.stop(timeout=10)

    assert Counter(DELIVERIES.values_list("state", flat=True)) == {"delivered": 4, "queued": 5}


def test_a_task_sends_exactly_its_delivery(receiver, settings):
    settings.NOTIFICATIONS_ENGINE = "tasks"
    settings.NOTIFICATIONS_THREADS = 0
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    from notifications import tasks

    tasks.deliver_webhook.get_backend().clear()
    listen(receiver)

    publish(2, subjects=2)
    task, _ = tasks.deliver_webhook.get_backend().results
    for _ in range(2):
        tasks.deliver_webhook.call(*task.args)

    first, second = DELIVERIES.order_by("pk")
    assert task.args == [str(first.uid)]
    assert (first.state, second.state, len(receiver.requests)) == ("delivered", "queued", 1)
    tasks.deliver_webhook.call("5b8dbf52-6b5a-4f3c-9d3c-1b5c0a9b3d11")


def test_the_worker_sends_them_once(receiver, settings, capsys):
    settings.NOTIFICATIONS_ENGINE = "worker"
    endpoint, _secret = listen(receiver)
    endpoints.pause(endpoint, actor=OPERATOR)
    publish(3)
    endpoints.resume(endpoint, actor=OPERATOR)

    call_command("notifications_worker", "--once")

    assert capsys.readouterr().out == "3 tried\n"
    assert len(receiver.requests) == 3


def test_nothing_is_lost_however_often_the_worker_is_killed(receiver, forked):
    _, secret = listen(receiver)
    publish(200, subjects=20)
    seen = 0

    for _ in range(5):
        worker = forked()
        until(lambda: len(receiver.requests) >= seen + 25)  # noqa: B023  (asked at once)
        assert worker.end(signal.SIGKILL) == -signal.SIGKILL
        seen = len(receiver.requests)
        lease_ends()
    forked()
    until(lambda: not DELIVERIES.exclude(state="delivered").exists())

    assert Counter(DELIVERIES.values_list("state", flat=True)) == {"delivered": 200}
    assert set(receiver.ids) == {row.uid.hex for row in DELIVERIES.all()}
    assert len(receiver.events(secret)) - 200 <= 5 * 4
    bodies = defaultdict(set)
    for _path, headers, body in receiver.requests:
        bodies[headers["webhook-id"]].add(body)
    assert {len(same) for same in bodies.values()} == {1}
    by_id = {row.uid.hex: row for row in DELIVERIES.all()}
    turns = defaultdict(list)
    for webhook_id in dict.fromkeys(receiver.ids):
        turns[by_id[webhook_id].subject].append(by_id[webhook_id].pk)
    assert all(turn == sorted(turn) for turn in turns.values())
