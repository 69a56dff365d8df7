import threading

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models import Q

from lib import logs
from notifications import UnknownType
from notifications.models import Message
from notifications.services import outbox
from notifications.tests.staff import person


def queue(**options):
    options = {"to": "ada@example.org", "context": {"first_name": "Ada", "number": 1}} | options
    return outbox.queue(options.pop("type", "tests.hello"), **options)[0]


@pytest.mark.django_db(transaction=True)
def test_a_committed_message_is_sent():
    with transaction.atomic():
        message = queue()
        assert not mail.outbox

    message.refresh_from_db()
    assert (message.state, message.attempts, message.due_at) == ("sent", 1, None)
    assert [sent.to for sent in mail.outbox] == [["ada@example.org"]]


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_message_leaves_no_row_and_no_mail():
    with transaction.atomic():
        queue()
        transaction.set_rollback(True)

    assert not Message.objects.exists()
    assert not mail.outbox


@pytest.mark.django_db
@pytest.mark.parametrize(("named", "of_user", "written"), [("en", "de", "en"), (None, "de", "de"), (None, "", "fr")])
def test_a_message_is_in_the_language_of_its_reader_or_in_the_first(settings, named, of_user, written):
    settings.NOTIFICATIONS_LANGUAGES = ["fr", "en", "de"]

    message = queue(user=person(language=of_user), language=named)

    assert message.language == written


@pytest.mark.django_db
def test_tests_may_capture_the_commit(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        message = queue()

    message.refresh_from_db()
    assert message.state == "sent"
    assert len(mail.outbox) == 1


@pytest.mark.django_db
def test_the_same_event_gets_the_first_row(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        first = queue(event_key="tests:1")
        second = queue(event_key="tests:1", context={"number": 2})
        other = queue(event_key="tests:1", to="grace@example.org")

    assert first.pk == second.pk != other.pk
    assert len(mail.outbox) == 2


@pytest.mark.django_db(transaction=True)
def test_two_requests_with_one_event_at_once_leave_one_row():
    ready, found = threading.Barrier(4), []

    def request():
        ready.wait()
        with transaction.atomic():
            found.append(queue(event_key="tests:race").pk)
        connection.close()

    threads = [threading.Thread(target=request) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(mail.outbox) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"context": {"number": 1, "code": "481516"}},
        {"context": {"number": "Ada of example.org"}},
        {"context": {"first_name": "A" * 17_000}},
        {"to": "ada@example.org\nBcc: everybody@example.org"},
        {"to": "nobody"},
        {"to_name": "Ada\r\nBcc: everybody@example.org"},
    ],
)
def test_what_cannot_be_sent_is_refused_at_once(wrong):
    with pytest.raises(ValueError, match=r"\w") as refusal:
        queue(**wrong)

    assert "481516" not in str(refusal.value)
    assert "of example.org" not in str(refusal.value)
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_an_unknown_type_is_refused():
    with pytest.raises(UnknownType):
        queue(type="tests.nothing")


@pytest.mark.django_db
def test_a_row_carries_what_delivery_needs(settings):
    reset = logs.request_id.set("request-1")
    message = queue(to="Ada@Example.org", to_name="Ada", language="de")
    logs.request_id.reset(reset)

    assert message.to_address == "ada@example.org"
    assert message.message_id == f"<{message.uid}@example.org>"
    assert (message.request_id, message.language, message.to_name) == ("request-1", "de", "Ada")
    assert (message.expires_at - message.due_at).total_seconds() == 72 * 3600
    assert message.due_at == message.created_at


@pytest.mark.django_db
def test_queuing_takes_two_statements(django_assert_num_queries):
    with django_assert_num_queries(2):  # the suppression list, the row
        queue()


@pytest.mark.django_db
def test_while_mail_is_off_messages_wait(settings, django_capture_on_commit_callbacks):
    settings.NOTIFICATIONS_ENGINE = "off"

    with django_capture_on_commit_callbacks(execute=True):
        message = queue()

    message.refresh_from_db()
    assert message.state == "queued"
    assert not mail.outbox


@pytest.mark.django_db
def test_a_withdrawn_message_is_not_sent(settings, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        message = queue(event_key="tests:1")
        assert outbox.cancel_open(Q(event_key="tests:1"), reason="withdrawn") == 1

    message.refresh_from_db()
    assert (message.state, message.reason) == ("cancelled", "withdrawn")
    assert outbox.cancel_open(Q(event_key="tests:1"), reason="withdrawn") == 0
    assert not mail.outbox
