import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction
from django.utils import timezone

from lib import background, email_url
from notifications import engine
from notifications.models import Message
from notifications.services import delivery, outbox
from notifications.tests.factories import MessageFactory
from notifications.tests.sink import eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

# The command as an operator runs it, with this suite's database, mail server and types.
PROGRAM = """
import sys, django
from django.conf import settings
django.setup()
name, port, templates = sys.argv[1:]
settings.DATABASES["default"]["NAME"] = name
from lib import email_url
settings.MAILERS = email_url.parse(f"smtp://127.0.0.1:{port}")["MAILERS"]
settings.NOTIFICATIONS_ENGINE = "worker"
settings.TEMPLATES[0]["DIRS"].append(templates)
from notifications.tests import kinds
kinds.declare()
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "notifications_worker"])
"""


@pytest.fixture
def worker(mail_server):
    from notifications.tests import kinds

    running = []

    def start():
        name = str(connection.settings_dict["NAME"])
        values = [name, str(mail_server.port), str(kinds.TEMPLATES)]
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *values],
            cwd=django_settings.BASE_DIR,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "project.tests.settings"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


class Forked:
    """The command in a forked child: a process of its own without another start of Django."""

    def __init__(self, *args):
        connections.close_all()
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                with os.fdopen(writing, "w") as output:
                    call_command("notifications_worker", *args, stdout=output)
                code = 0
            finally:
                os._exit(code)
        os.close(writing)
        self.output = os.fdopen(reading)
        self.code = None

    def end(self, number):
        """Send a signal, wait for the end and return the exit code."""
        if self.code is None:
            os.kill(self.pid, number)
            self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self.output.close()
        return self.code


@pytest.fixture
def forked(mail_server, settings):
    running = []

    def start(*args):
        settings.NOTIFICATIONS_ENGINE = "worker"
        settings.MAILERS = email_url.parse(f"smtp://127.0.0.1:{mail_server.port}")["MAILERS"]
        running.append(Forked(*args))
        return running[-1]

    yield start
    for worker in running:
        worker.end(signal.SIGKILL)


def ended(process):
    output, errors = process.communicate(timeout=60)
    return process.returncode, output, errors


def states():
    return Counter(Message.objects.values_list("state", flat=True))


def test_a_worker_killed_while_sending_loses_nothing(sink, forked):
    sink.is_holding = True
    messages = MessageFactory.create_batch(5)
    worker = forked()
    eventually(lambda: sink.mails, within=60)

    worker.end(signal.SIGKILL)
    sink.is_holding = False
    assert states() == {"sending": 5}
    Message.objects.update(due_at=timezone.now() - timedelta(seconds=1))  # the lease ends
    delivery.QueueWorker().deliver_due()

    assert states() == {"sent": 5}
    assert set(sink.message_ids) == {message.message_id for message in messages}
    assert len(sink.message_ids) <= 6


def test_a_worker_told_to_stop_finishes_the_message_in_hand(sink, worker):
    sink.is_holding = True
    MessageFactory.create_batch(3)
    process = worker()
    eventually(lambda: sink.mails, within=60)

    process.send_signal(signal.SIGTERM)
    # Only then has it heard of the signal.
    assert any("Finishing" in line for line in process.stdout)
    sink.is_holding = False
    code, _, errors = ended(process)

    assert code == 0
    assert "Traceback" not in errors
    assert states() == {"sent": 1, "queued": 2}
    assert Counter(Message.objects.values_list("state", "attempts")) == {("sent", 1): 1, ("queued", 0): 2}


def test_a_file_tells_that_a_worker_still_turns(forked, tmp_path):
    file = tmp_path / "alive"
    forked("--alive-file", str(file))
    eventually(file.exists, within=60)

    os.utime(file, (0, 0))
    eventually(lambda: file.stat().st_mtime > 0)


def test_two_workers_send_what_is_committed_meanwhile_and_nothing_twice(sink, forked):
    workers = [forked(), forked()]
    for worker in workers:
        assert worker.output.readline() == "Delivering until stopped.\n"
    with transaction.atomic():
        for number in range(30):
            outbox.queue("tests.hello", to=f"ada{number}@example.org", context={"number": number})

    eventually(lambda: states() == {"sent": 30}, within=60)

    assert Counter(sink.message_ids).most_common(1)[0][1] == 1
    assert len(sink.message_ids) == 30
    assert [worker.end(signal.SIGTERM) for worker in workers] == [0, 0]


def test_a_worker_is_refused_while_mail_is_off(settings):
    settings.NOTIFICATIONS_ENGINE = "off"

    with pytest.raises(CommandError, match="Mail is off: set EMAIL_URL") as refusal:
        call_command("notifications_worker")

    assert refusal.value.returncode == 1


def test_once_ends_when_nothing_is_due(sink, capsys):
    MessageFactory.create_batch(12)

    call_command("notifications_worker", "--once")

    assert capsys.readouterr().out == "12 tried\n"
    assert len(sink.mails) == 12


def test_once_says_when_the_mail_server_is_away(mail_server):
    MessageFactory.create()

    with pytest.raises(CommandError, match="mail server is away"):
        call_command("notifications_worker", "--once")


def test_postgresql_wakes_the_worker(settings):
    if connection.vendor != "postgresql":
        pytest.skip("Elsewhere the worker polls.")
    settings.NOTIFICATIONS_ENGINE = "worker"
    heard = threading.Semaphore(0)
    background.subscribe(engine.CHANNEL, heard.release)
    listener = background._listener
    assert heard.acquire(timeout=5)  # whatever was queued before is looked for

    outbox.queue("tests.hello", to="ada@example.org", context={})

    assert heard.acquire(timeout=5)
    background.unsubscribe(engine.CHANNEL)
    listener.thread.stop(5)


def test_once_sends_with_as_many_threads_as_asked_for(sink, capsys):
    MessageFactory.create_batch(6)

    call_command("notifications_worker", "--once", "--threads", "2", "--batch", "1", "--channel", "email")

    assert capsys.readouterr().out == "6 tried\n"
    assert len(set(sink.message_ids)) == len(sink.message_ids) == 6


@pytest.mark.parametrize("wrong", [["--threads", "0"], ["--batch", "x"], ["--batch", "9" * 99], ["--channel", "fax"]])
def test_a_wrong_argument_exits_2(wrong):
    with pytest.raises(CommandError) as refusal:
        call_command("notifications_worker", *wrong)

    assert refusal.value.returncode == 2


def test_a_lease_that_is_too_short_refuses_the_worker(settings):
    settings.NOTIFICATIONS_LEASE = 29

    with pytest.raises(CommandError, match="at least 30 seconds") as refusal:
        call_command("notifications_worker", "--once", skip_checks=True)

    assert refusal.value.returncode == 1
