"""The engine `tasks`: Django's Tasks API wakes, the outbox guarantees."""

import os
import shutil
import signal
import subprocess
import sys
import time

import django_tasks.signals  # noqa: F401  (lets a test change TASKS)
import pytest
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, transaction
from django.utils import timezone

from lib.env import tasks_backend
from notifications import checks, engine, metrics
from notifications.models import Message, Worker
from notifications.services import delivery, outbox
from notifications.tests.factories import MessageFactory
from notifications.tests.sink import eventually, free_port
from project.tests.processes import environment

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def tasks(settings):
    settings.NOTIFICATIONS_ENGINE = "tasks"
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    from notifications import tasks

    tasks.deliver.get_backend().clear()
    return tasks


def queue():
    with transaction.atomic():
        return outbox.queue("tests.hello", to="ada@example.org", context={"number": 1})[0]


def state(message):
    return Message.objects.get(pk=message.pk).state


def test_the_commit_enqueues_and_the_task_sends_exactly_its_message(sink, tasks):
    other = MessageFactory.create()

    message = queue()

    (task,) = tasks.deliver.get_backend().results
    assert task.args == [str(message.uid)]
    tasks.deliver.call(*task.args)
    tasks.deliver.call(*task.args)
    assert (state(message), state(other)) == ("sent", "queued")
    assert sink.message_ids == [message.message_id]


def test_without_a_commit_there_is_no_task(tasks):
    with transaction.atomic():
        outbox.queue("tests.hello", to="ada@example.org", context={"number": 1})
        transaction.set_rollback(True)

    assert tasks.deliver.get_backend().results == []


def test_a_task_of_a_message_that_is_gone_ends_quietly(tasks):
    tasks.deliver.call("5b8dbf52-6b5a-4f3c-9d3c-1b5c0a9b3d11")


def test_a_broker_that_is_away_is_logged_and_counted_and_fails_nobody(settings, caplog, monkeypatch):
    from lib.celery_backend import app

    values, _ = tasks_backend("lib.celery_backend.CeleryBackend", f"redis://:hidden@127.0.0.1:{free_port()}/0")
    settings.TASKS = values.pop("TASKS")
    for name, value in values.items():
        monkeypatch.setitem(app.conf, name.removeprefix("CELERY_").lower(), value)
    before = metrics.LOST_WAKE_UPS.values.get((), 0)

    started = time.monotonic()
    message = queue()

    assert time.monotonic() - started < 10  # seconds: it does not wait for the broker to come back
    assert state(message) == "queued"
    assert metrics.LOST_WAKE_UPS.values[()] == before + 1
    assert "task not enqueued" in caplog.text
    assert "hidden" not in caplog.text


def test_the_sweeper_sends_what_a_task_has_lost_and_leaves_the_rest_to_it(sink, settings):
    settings.NOTIFICATIONS_POLL = 0.05
    lost, young = queue(), queue()
    Message.objects.filter(pk=lost.pk).update(due_at=timezone.now() - engine.OVERDUE)

    engine.start()

    eventually(lambda: state(lost) == "sent")
    assert state(young) == "queued"
    assert delivery.QueueWorker(overdue=engine.OVERDUE).deliver_due() == 0


def test_a_task_that_cannot_reach_the_database_says_so_without_a_row(tasks, monkeypatch):
    def fail(*args):
        raise ValueError("ada@example.org")

    monkeypatch.setattr(delivery.QueueWorker, "deliver_these", fail)

    with pytest.raises(tasks.DeliveryFailed, match=r"^ValueError$") as failure:
        tasks.deliver.call(str(queue().uid))

    assert failure.value.__suppress_context__


def test_an_immediate_backend_is_refused(settings):
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.immediate.ImmediateBackend"}}

    (error,) = checks.tasks_run_elsewhere()

    assert error.id == "notifications.E002"
    with pytest.raises(ImproperlyConfigured, match="must not be immediate"):
        engine.start()


def test_a_backend_that_is_none_is_refused(settings):
    settings.TASKS = {"default": {"BACKEND": "no.such.Backend"}}

    assert [error.id for error in checks.tasks_run_elsewhere()] == ["notifications.E002"]


def test_tasks_without_a_sweeper_are_warned_of(settings):
    settings.NOTIFICATIONS_THREADS = 0

    assert [warning.id for warning in checks.tasks_have_sweeper()] == ["notifications.W005"]
    engine.start()
    assert not Worker.objects.exists()


def test_a_backend_that_needs_a_broker_asks_for_it():
    with pytest.raises(ImproperlyConfigured, match="NOTIFICATIONS_TASKS_BROKER"):
        tasks_backend("lib.celery_backend.CeleryBackend")


def test_a_backend_that_is_not_installed_is_named():
    with pytest.raises(ImproperlyConfigured, match="pip install no-such-tasks"):
        tasks_backend("no_such_tasks.Backend")


# --- Real workers, by settings alone --------------------------------------------------------------------------------

MIGRATE = """
from django.core.management import call_command
call_command("migrate", "django_tasks_database", verbosity=0)
"""
QUEUE = """
from django.core.management import call_command
from notifications.services import outbox
outbox.queue('users.welcome', to='ada@example.org', context={'first_name': 'Ada'})
"""
#: The backends' workers, started in the process that queued: that spares the start of another one.
WORKERS = {
    "django_tasks_db.DatabaseBackend": "call_command('db_worker', '--interval', '0.1', '--no-startup-delay')",
    "django_tasks_rq.RQBackend": "call_command('rqworker', '--job-class', 'django_tasks_rq.Job')",
    "lib.celery_backend.CeleryBackend": """
from celery.bin.celery import celery
celery(["-A", "project", "worker", "-c", "1", "-l", "error"])
""",
}


@pytest.fixture
def broker(tmp_path):
    """A Redis of this test's own."""
    if not (program := shutil.which("redis-server")):
        pytest.skip("needs redis-server")
    port = free_port()
    server = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)],
        stdout=subprocess.DEVNULL,
    )
    yield f"redis://127.0.0.1:{port}/0"
    server.kill()
    server.wait()


def database_url():
    name = connection.settings_dict["NAME"]
    if connection.vendor == "sqlite":
        return f"sqlite:///{name}"
    return f"{os.environ['TEST_DATABASE_URL'].rpartition('/')[0]}/{name}"


@pytest.fixture
def _no_tables_left():
    """The suite's own settings install no backend, so nobody else would remove its tables."""
    yield
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            if table.startswith("django_tasks_"):
                cursor.execute(f"DROP TABLE {table}")
        cursor.execute("DELETE FROM django_migrations WHERE app = 'django_tasks_database'")


@pytest.mark.usefixtures("_no_tables_left")
@pytest.mark.parametrize("backend", WORKERS)
def test_a_worker_of_another_engine_sends_by_settings_alone(backend, request, mail_server, tmp_path):
    mail_server.start()
    needs_broker = not backend.startswith("django_tasks_db")
    env = environment(
        database_url(),
        EMAIL_URL=f"smtp://127.0.0.1:{mail_server.port}",
        DEFAULT_FROM_EMAIL="noreply@example.org",
        NOTIFICATIONS_ENGINE="tasks",
        NOTIFICATIONS_TASKS_BACKEND=backend,
        NOTIFICATIONS_TASKS_BROKER=request.getfixturevalue("broker") if needs_broker else "",
    )
    program = ("" if needs_broker else MIGRATE) + QUEUE + WORKERS[backend]
    log = (tmp_path / "worker.log").open("w+")
    worker = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "-v0", "-c", program],
        env=env,
        cwd=django_settings.BASE_DIR,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        eventually(lambda: Message.objects.filter(state="sent").exists(), within=30)
        assert mail_server.message_ids == [Message.objects.get().message_id]
        assert "not enqueued" not in (tmp_path / "worker.log").read_text()
    except AssertionError:
        log.seek(0)
        raise AssertionError(log.read()) from None
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        log.close()
