import io
import json
import sys
import uuid
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import CommandError, call_command, get_commands, load_command_class
from django.core.management.base import SystemCheckError
from django.utils import timezone

from notifications.models import Message
from notifications.services.recipients import suppress
from notifications.tests import kinds
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import person

pytestmark = pytest.mark.django_db
CONTEXT = json.dumps({"first_name": "Ada", "number": 1})


def run(name, *args):
    """What the command printed, or the code and text of its refusal."""
    stdout = io.StringIO()
    try:
        call_command(f"notifications_{name}", *args, stdout=stdout)
    except CommandError as error:
        return error.returncode, str(error)
    return stdout.getvalue()


def send(*args, type="tests.hello", to="ada@example.org", context=CONTEXT):
    return run("send", type, "--to", to, "--context", context, *args)


def states():
    return sorted(Message.objects.values_list("state", flat=True))


# --- notifications_send -----------------------------------------------------------------------------------------------


def test_send_with_wait_delivers_exactly_that_one():
    other = MessageFactory.create()

    printed = send("--wait")

    message = Message.objects.exclude(pk=other.pk).get()
    assert printed == f"{message.uid} sent\n"
    assert [sent.to for sent in mail.outbox] == [["ada@example.org"]]
    other.refresh_from_db()
    assert other.state == "queued"


def test_send_without_wait_only_queues(monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())

    assert send("--no-wait").endswith(" queued\n")
    # Waiting is for terminals.
    assert send().endswith(" queued\n")
    assert states() == ["queued", "queued"]
    assert not mail.outbox


def test_send_writes_to_a_person_in_their_language():
    person("ada@example.org", language="de")

    send("--wait", type="users.welcome", context='{"first_name": "Ada"}')

    assert mail.outbox[0].subject == "Willkommen!"
    assert mail.outbox[0].body.startswith("Willkommen, Ada!")


def test_send_takes_the_event_once():
    first, second = send("--wait", "--event-key", "tests:1"), send("--wait", "--event-key", "tests:1")

    assert first == second
    assert len(mail.outbox) == 1


def test_send_says_why_it_is_not_sent(mail_server):
    code, said = send("--wait")

    assert code == 1
    assert "is not sent: queued, ConnectionRefusedError" in said
    assert "stays in the queue" in said
    assert "\n" not in said


def test_send_says_that_the_recipient_is_on_the_list():
    suppress("ada@example.org", scope="all", reason="bounce", source="test")

    code, said = send("--wait")

    assert (code, said.endswith("is not sent: suppressed, suppressed.")) == (1, True)


def test_settings_that_would_send_twice_or_from_nowhere_stop_every_command(settings):
    settings.NOTIFICATIONS_LEASE = 20
    for name in ("notifications_send", "notifications_retry", "list_feature_flags", "create_admin"):
        command = load_command_class(get_commands()[name], name)

        with pytest.raises(SystemCheckError, match="NOTIFICATIONS_LEASE must be at least"):
            command.check(**command.get_check_kwargs({}))


def test_send_with_wait_is_refused_while_mail_is_off(settings):
    settings.NOTIFICATIONS_ENGINE = "off"

    assert send("--wait")[0] == 1
    assert states() == []
    assert send("--no-wait").endswith(" queued\n")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"type": "tests.nothing"}, 1),
        ({"to": "nobody"}, 1),
        ({"to": "a\ud800@example.org"}, 1),
        ({"context": '{"number": "x"}'}, 1),
        ({"context": '{"first_name": "\\u0000"}'}, 1),
        ({"context": "{"}, 2),
        ({"context": "[]"}, 2),
        ({"context": '{"number": NaN}'}, 2),
        ({"context": "[" * 100_000}, 2),
    ],
)
def test_send_refuses_what_cannot_be_sent(options, code):
    found, said = send("--no-wait", **options)

    assert found == code
    assert "\n" not in said
    assert states() == []


def test_send_refuses_a_key_that_is_none():
    assert send("--no-wait", "--event-key", "x" * 201)[0] == 1
    assert send("--no-wait", "--event-key", "")[0] == 1


def test_send_prints_no_secret():
    code, said = send("--wait", context='{"number": 666}')

    assert code == 1
    assert kinds.CODE not in said


# --- notifications_retry ----------------------------------------------------------------------------------------------


def ended(state, ago=timedelta(0), **fields):
    return MessageFactory.create(state=state, due_at=None, finished_at=timezone.now() - ago, **fields)


def test_retry_queues_the_failed_ones_again():
    ended("failed")
    ended("failed", context={"number": -1})
    ended("unknown")
    ended("sent")

    assert (
        run("retry", "--dry-run") == "1 message would be queued again; 1 left, as there is nothing to say any more.\n"
    )
    assert states() == ["failed", "failed", "sent", "unknown"]
    assert run("retry") == "1 message queued again; 1 left, as there is nothing to say any more.\n"
    assert states() == ["failed", "queued", "sent", "unknown"]
    assert run("retry", "--state", "unknown") == "1 message queued again.\n"
    assert run("retry", "--state", "unknown") == "0 messages queued again.\n"


def test_retry_is_limited_to_what_was_answered():
    for code in ("503", "421", "550"):
        MessageFactory.create(state="failed", due_at=None, reason="refused", last_code=code)

    assert run("retry", "--code", "503", "--dry-run") == "1 message would be queued again.\n"
    assert run("retry", "--code", "503", "--code", "421") == "2 messages queued again.\n"
    assert Message.objects.get(state="failed").last_code == "550"


def test_retry_is_limited_to_a_type_and_a_time():
    ended("failed", timedelta(hours=3))
    ended("failed", type="tests.bulk")

    assert run("retry", "--type", "tests.bulk", "--dry-run").startswith("1 message ")
    assert run("retry", "--since", "2h", "--dry-run").startswith("1 message ")
    assert run("retry", "--since", "1d", "--dry-run").startswith("2 messages ")
    assert run("retry", "--since", "2999-01-01T00:00:00+01:00", "--dry-run").startswith("0 messages ")


@pytest.mark.parametrize(
    "args", [["--state", "sent"], ["--since", "yesterday"], ["--since", "2026-02-30"], ["--since", "0h"], ["x"]]
)
def test_retry_refuses_what_it_does_not_know(args):
    assert run("retry", *args)[0] == 2


def test_retry_refuses_a_type_nobody_declares():
    assert run("retry", "--type", "tests.nothing")[0] == 1


# --- notifications_cancel ---------------------------------------------------------------------------------------------


def test_cancel_stops_the_named_ones():
    first, second, third = MessageFactory.create_batch(3)
    interrupted = MessageFactory.create(interrupted=True)

    assert run("cancel", str(first.uid), second.uid.hex, str(uuid.uuid4()), str(interrupted.uid), "--dry-run") == (
        "2 messages would be cancelled.\n"
    )
    assert run("cancel", str(first.uid), second.uid.hex, str(interrupted.uid)) == "2 messages cancelled.\n"
    third.refresh_from_db()
    assert third.state == "queued"
    assert states() == ["cancelled", "cancelled", "queued", "sending"]


def test_cancel_stops_all_of_a_type_made_before_a_time():
    now = timezone.now()
    MessageFactory.create(type="tests.bulk", created_at=now - timedelta(hours=3))
    MessageFactory.create(type="tests.bulk")
    MessageFactory.create(created_at=now - timedelta(hours=3))

    assert run("cancel", "--type", "tests.bulk", "--before", "2h") == "1 message cancelled.\n"
    assert run("cancel", "--before", "2h") == "1 message cancelled.\n"
    assert run("cancel", "--all-queued") == "1 message cancelled.\n"
    assert run("cancel", "--all-queued") == (1, "No message that waits matches.")


def test_cancel_says_when_nothing_matched():
    sent = ended("sent")

    assert run("cancel", str(sent.uid))[0] == 1
    assert run("cancel", "--type", "tests.hello")[0] == 1
    assert states() == ["sent"]


@pytest.mark.parametrize("args", [[], ["x"], ["--dry-run"], [str(uuid.uuid4()), "--all-queued"], ["--type", "\ud800"]])
def test_cancel_wants_to_know_which(args):
    MessageFactory.create()

    assert run("cancel", *args)[0] == 2
    assert states() == ["queued"]
