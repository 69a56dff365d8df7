import os
import threading
import time

import pytest
from django.core import mail
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.db import connection, connections, transaction

from notifications import engine
from notifications.models import Message, Worker
from notifications.services import claims, outbox
from notifications.tests.factories import MessageFactory
from notifications.tests.sink import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _embedded(settings):
    settings.NOTIFICATIONS_ENGINE = "embedded"


def queue():
    with transaction.atomic():
        return outbox.queue("tests.hello", to="ada@example.org", context={"number": 1})[0]


def state(message):
    return Message.objects.get(pk=message.pk).state


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "notifications"]


def test_the_commit_wakes_the_embedded_engine(settings):
    settings.NOTIFICATIONS_POLL = 60
    engine.start()
    eventually(lambda: (worker := engine._engine.pool.workers[0]) and worker.batches)

    message = queue()

    eventually(lambda: state(message) == "sent", within=1.0)
    assert len(mail.outbox) == 1


def test_what_was_queued_before_the_start_is_sent():
    message = MessageFactory.create()

    engine.start()

    eventually(lambda: state(message) == "sent")


def test_a_dead_mail_server_neither_delays_nor_fails_the_caller(mail_server):
    engine.start()

    started = time.monotonic()
    message = queue()
    took = time.monotonic() - started

    assert took < 0.3
    eventually(lambda: message.tries.exists())
    assert state(message) == "queued"
    mail_server.start()
    eventually(lambda: state(message) == "sent")
    assert Message.objects.get().attempts == 1


def test_a_silent_mail_server_does_not_delay_the_caller(sink):
    sink.is_holding = True
    engine.start()
    queue()
    eventually(lambda: sink.mails)

    started = time.monotonic()
    queue()

    assert time.monotonic() - started < 0.3


def test_a_stop_finishes_the_message_in_hand(sink):
    sink.is_holding = True
    message = queue()
    engine.start()
    eventually(lambda: sink.mails)
    threading.Timer(0.1, setattr, (sink, "is_holding", False)).start()

    engine.stop()

    assert state(message) == "sent"
    assert not threads()


def test_a_stop_that_cannot_wait_gives_the_others_back(sink):
    sink.is_holding = True
    in_hand, *others = MessageFactory.create_batch(3)
    engine.start()
    eventually(lambda: sink.mails)

    engine.stop(timeout=0.05)

    assert state(in_hand) == "sending"
    assert [state(other) for other in others] == ["queued", "queued"]
    assert set(Message.objects.exclude(pk=in_hand.pk).values_list("attempts", flat=True)) == {0}
    sink.is_holding = False
    eventually(lambda: not threads())


def test_start_twice_is_one_thread():
    engine.start()
    engine.start()

    assert len(threads()) == 1


@pytest.mark.parametrize("other", ["worker", "inline", "off"])
def test_other_engines_start_no_thread(settings, other):
    settings.NOTIFICATIONS_ENGINE = other

    engine.start()

    assert not threads()


def test_a_command_starts_no_thread():
    message = queue()

    assert not threads()
    assert state(message) == "queued"


def test_a_wsgi_server_gets_its_thread_at_the_first_commit():
    request_started.send(sender=WSGIHandler, environ={})
    assert not threads()

    message = queue()

    eventually(lambda: state(message) == "sent")
    assert len(threads()) == 1


def test_a_forked_child_knows_of_no_thread():
    engine.start()

    child = os.fork()
    if child == 0:
        os._exit(7 if getattr(engine._engine, "pool", 0) is None else 8)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_thread_survives_trouble_with_the_database(monkeypatch, caplog, settings):
    calls = []

    def stumble(*args, **kwargs):
        calls.append(args)
        if len(calls) == 1:
            raise RuntimeError("a row's value")
        return real(*args, **kwargs)

    real = claims.claim
    monkeypatch.setattr(claims, "claim", stumble)
    settings.NOTIFICATIONS_POLL = 0.05
    message = MessageFactory.create()

    engine.start()

    eventually(lambda: state(message) == "sent")
    trouble = next(record for record in caplog.records if record.message == "notifications failed")
    assert trouble.error == "RuntimeError"
    assert "a row's value" not in caplog.text


def test_a_lease_shorter_than_the_mail_server_may_take_is_refused(settings):
    settings.NOTIFICATIONS_LEASE = 29

    with pytest.raises(ImproperlyConfigured, match="at least 30 seconds"):
        engine.start()


def test_several_threads_send_while_one_waits_for_its_server(sink, settings):
    settings.NOTIFICATIONS_THREADS = 2
    settings.NOTIFICATIONS_BATCH = 1
    sink.is_holding = True
    MessageFactory.create_batch(2)

    engine.start()

    eventually(lambda: len(sink.mails) == 2)
    assert len(threads()) == 2


def test_no_threads_is_no_thread(settings):
    settings.NOTIFICATIONS_THREADS = 0

    engine.start()
    queue()

    assert not threads()
    assert not Worker.objects.exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_dies_is_replaced(monkeypatch):
    monkeypatch.setattr(engine, "WATCH", 0.05)
    real = claims.claim

    def die(*args, **kwargs):
        monkeypatch.setattr(claims, "claim", real)
        raise SystemExit

    monkeypatch.setattr(claims, "claim", die)
    message = MessageFactory.create()

    engine.start()

    eventually(lambda: state(message) == "sent")
    assert len(threads()) == 1


def test_a_process_gives_signs_of_life_until_its_clean_stop():
    message = MessageFactory.create()
    engine.start()
    worker = eventually(Worker.objects.first)
    eventually(lambda: state(message) == "sent")
    engine._engine.pool.next_beat = 0.0

    eventually(lambda: Worker.objects.get(pk=worker.pk).sent)
    engine.stop(timeout=5)

    assert (worker.pid, worker.engine) == (os.getpid(), "embedded")
    assert not Worker.objects.exists()


def test_cut_database_connections_are_made_anew(settings):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no server that cuts them.")
    settings.NOTIFICATIONS_POLL = 0.05
    engine.start()
    eventually(lambda: (worker := engine._engine.pool.workers[0]) and worker.batches)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    message = queue()

    eventually(lambda: state(message) == "sent")


def test_a_forked_child_has_counted_nothing_and_sends_with_threads_of_its_own():
    engine.start()
    first = eventually(Worker.objects.first)
    engine.stop(timeout=5)
    connections.close_all()

    child = os.fork()
    if child == 0:
        code = 1
        try:
            engine.start()
            second = eventually(Worker.objects.first)
            engine.stop(timeout=5)
            code = 0 if second.pk != first.pk and second.pid == os.getpid() else 2
        finally:
            os._exit(code)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
