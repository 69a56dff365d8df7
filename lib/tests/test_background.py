import os
import threading

import psycopg
import pytest
from django.db import connection, connections

from lib import background
from lib.background import BackgroundThread
from lib.db import libpq_parameters

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def thread():
    calls = threading.Semaphore(0)

    def work():
        calls.release()
        return 60.0

    started = BackgroundThread("test", work)
    started.start()
    assert calls.acquire(timeout=5)
    yield started, calls
    started.stop(5)


def test_a_wake_ends_the_wait(thread):
    started, calls = thread

    started.wake()

    assert calls.acquire(timeout=5)


def test_a_stop_ends_the_thread_and_runs_finish_once():
    finished = []
    started = BackgroundThread("test", lambda: 60.0, finish=lambda: finished.append(1))
    started.start()

    assert background.stop([started], timeout=5) == []
    assert finished == [1]
    assert not started.is_running


def test_a_thread_that_does_not_end_in_time_is_named():
    go_on = threading.Event()
    started = BackgroundThread("test", lambda: go_on.wait(5) and 60.0)
    started.start()

    assert background.stop([started], timeout=0.01) == [started]
    go_on.set()
    assert background.stop([started], timeout=5) == []


def test_an_error_is_logged_without_its_message_and_the_work_goes_on(caplog):
    calls = threading.Semaphore(0)

    def work():
        calls.release()
        raise ValueError("ada@example.org")

    started = BackgroundThread("test", work, retry=0.001)
    started.start()
    started.wait_for_first_try(5)
    assert calls.acquire(timeout=5)
    assert calls.acquire(timeout=5)
    started.stop(5)

    assert caplog.records[0].message == "test failed"
    assert caplog.records[0].error == "ValueError"
    assert "ada@example.org" not in caplog.text


def test_a_forked_child_can_start_it_anew(thread):
    started, _ = thread
    connections.close_all()

    child = os.fork()
    if child == 0:
        was_running = started.is_running
        started.start()
        started.wait_for_first_try(5)
        os._exit(0 if not was_running and started.is_running else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def heard():
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL notifies.")
    heard = {name: threading.Semaphore(0) for name in ("first", "second")}
    for name, calls in heard.items():
        background.subscribe(name, calls.release)
    yield heard
    listener = background._listener
    for name in heard:
        background.unsubscribe(name)
    listener.thread.stop(5)


def notify(channel):
    with connection.cursor() as cursor:
        cursor.execute(f"NOTIFY {channel}")


def test_one_connection_hears_every_channel(heard):
    for name in heard:
        assert heard[name].acquire(timeout=5)  # the connection is new

    notify("second")

    assert heard["second"].acquire(timeout=5)
    assert not heard["first"].acquire(timeout=0.1)
    assert background.is_heard()


def test_a_cut_connection_is_made_anew_and_everyone_is_called(heard):
    for name in heard:
        assert heard[name].acquire(timeout=5)

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    for name in heard:
        assert heard[name].acquire(timeout=5)


def test_the_self_test_is_sent_by_another_connection(heard):
    """A pooler in transaction mode gives back what its own server connection told itself, and nothing else."""
    for name in heard:
        assert heard[name].acquire(timeout=5)
    with psycopg.connect(**libpq_parameters(), autocommit=True) as watching:
        watching.execute(f"LISTEN {background.SELF_TEST_CHANNEL}")
        background._listener.thread.stop(5)
        background._listener.thread.start()
        (told,) = watching.notifies(timeout=5, stop_after=1)

    for name in heard:
        assert heard[name].acquire(timeout=5)
    assert told.pid != background._listener.link.info.backend_pid
