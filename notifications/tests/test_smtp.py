from datetime import timedelta

import pytest
from django.utils import timezone

from notifications import services
from notifications.models import Attempt, Message
from notifications.provider import Provider
from notifications.render import build
from notifications.tests import kinds
from notifications.tests.factories import MessageFactory
from notifications.tests.sink import eventually

pytestmark = pytest.mark.django_db


def deliver():
    courier = services.Courier()
    courier.deliver_due()
    return courier


def waits_are_over():
    return Message.objects.filter(state="queued").update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_temporary_refusal_is_tried_again_later(sink):
    sink.replies = ["451 later", "451 later"]
    message = MessageFactory.create()

    deliver()
    message.refresh_from_db()
    assert (message.state, message.attempts, message.last_code) == ("queued", 1, "451")
    assert timedelta(seconds=20) < message.due_at - timezone.now() < timedelta(seconds=40)
    for _ in range(2):
        waits_are_over()
        deliver()

    message.refresh_from_db()
    assert (message.state, message.attempts) == ("sent", 3)
    assert sink.message_ids == [message.message_id]
    assert [attempt.outcome for attempt in message.tries.all()] == ["temporary", "temporary", "accepted"]


def test_attempts_end(sink):
    sink.replies = ["451 later"] * 3
    message = MessageFactory.create(max_attempts=2)

    for _ in range(3):
        deliver()
        waits_are_over()

    message.refresh_from_db()
    assert (message.state, message.reason, message.attempts) == ("failed", "attempts_used", 2)


def test_a_refused_recipient_fails_at_once_and_alone(sink):
    sink.refused_recipients = {"nobody@example.org": "550 5.1.1 no such person"}
    nobody = MessageFactory.create(to_address="nobody@example.org")
    others = MessageFactory.create_batch(2)

    deliver()

    nobody.refresh_from_db()
    assert (nobody.state, nobody.reason, nobody.last_code) == ("failed", "refused", "550")
    assert nobody.last_error == "5.1.1 no such person"
    assert sink.message_ids == [other.message_id for other in others]


def test_while_the_mail_server_is_away_no_attempt_is_burnt(mail_server):
    messages = MessageFactory.create_batch(3)

    courier = deliver()
    assert courier.rest() > 0
    assert set(Message.objects.values_list("state", "attempts")) == {("queued", 0)}
    assert Attempt.objects.get().outcome == "transport_down"
    assert Message.objects.get(last_code="ConnectionRefusedError").handed_at is None
    mail_server.start()
    deliver()

    assert sorted(mail_server.message_ids) == sorted(message.message_id for message in messages)
    assert set(Message.objects.values_list("state", "attempts")) == {("sent", 1)}


def test_the_pause_doubles_and_one_message_tries_the_way(mail_server):
    MessageFactory.create_batch(5)
    courier, pauses = services.Courier(), []

    for _ in range(9):
        assert courier.deliver_due() == 1
        assert courier.deliver_due() == 0
        pauses.append(courier.rest())
        courier.resting_until = 0

    for pause, wanted in zip(pauses, [0.5, 1, 2, 4, 8, 16, 32, 60, 60], strict=True):
        assert wanted * 0.7 < pause < wanted * 1.21
    mail_server.start()
    assert courier.deliver_due() == 5
    assert courier.rest() == 0


def test_a_login_that_fails_is_nobodys_fault(sink, settings):
    settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = "switchboard", "wrong"
    MessageFactory.create()

    deliver()

    message = Message.objects.get()
    assert (message.state, message.attempts, message.last_code) == ("queued", 0, "SMTPNotSupportedError")


def test_a_server_that_says_goodbye_does_not_hold_up_the_others(sink):
    sink.refused_recipients = {"first@example.org": "421 too many"}
    first = MessageFactory.create(to_address="first@example.org")
    second = MessageFactory.create()

    courier = deliver()
    courier.resting_until = 0
    courier.deliver_due()

    first.refresh_from_db()
    second.refresh_from_db()
    assert (first.state, first.attempts, first.last_code) == ("queued", 0, "421")
    assert second.state == "sent"


def test_a_cut_line_is_tried_again_under_the_same_message_id(sink):
    sink.replies = [None]
    message = MessageFactory.create()

    deliver()
    message.refresh_from_db()
    assert (message.state, message.tries.get().outcome) == ("queued", "ambiguous")
    waits_are_over()
    deliver()

    message.refresh_from_db()
    assert message.state == "sent"
    assert sink.message_ids == [message.message_id] * 2
    assert sink.mails[0]["Date"] == sink.mails[1]["Date"]


def test_a_type_that_must_not_come_twice_is_not_tried_again_after_a_cut(sink):
    sink.replies = [None]
    message = MessageFactory.create(type="tests.once")

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("unknown", "ambiguous")
    assert message.handed_at is not None
    assert len(sink.mails) == 1


def test_silence_costs_one_timeout(sink, settings):
    settings.EMAIL_TIMEOUT = 0.2
    sink.is_holding = True
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.tries.get().outcome, message.attempts) == ("queued", "ambiguous", 1)
    assert "timed out" in message.last_error


def test_secrets_are_scrubbed_from_what_the_server_says(sink):
    sink.replies = [f"550 spam: {kinds.CODE}"]
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert message.last_error == message.tries.get().response == "spam: ••••••"


def test_a_connection_the_server_closed_is_not_taken_for_a_lost_message(sink):
    sink.hangs_up = True
    provider, mail = Provider(), build(MessageFactory.create(), {"code": "1"}, date=timezone.now())
    provider.ready()
    provider.send(mail)
    eventually(lambda: not provider._answers())

    provider.ready()

    assert provider.send(mail).outcome == "accepted"
    provider.close()
