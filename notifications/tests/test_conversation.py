"""What one message leaves behind in a connection or a lease, met by the next: nothing."""

from collections import Counter
from datetime import timedelta
from itertools import product

import pytest
from django.core.management import call_command
from django.utils import timezone

from notifications.models import Message, ProviderState
from notifications.providers import smtp
from notifications.services import delivery, health
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db

SIZE = 3


def deliver():
    delivery.QueueWorker().deliver_due()


def time_passes():
    past = timezone.now() - timedelta(seconds=1)
    ProviderState.objects.exclude(paused_until=None).update(paused_until=past)
    Message.objects.filter(state="queued").update(due_at=past)


def fate(message):
    message.refresh_from_db()
    return message.state, message.attempts


REFUSALS = {
    "451 4.7.1 greylisted": [("queued", 1), ("sent", 2)],
    "452 4.2.2 full": [("queued", 1), ("sent", 2)],
    "550 5.1.1 no such person": [("failed", 1), ("failed", 1)],
    "554 5.7.1 no": [("failed", 1), ("failed", 1)],
}
INTERRUPTIONS = ["421 4.3.2 closing", "503 5.5.1 nested MAIL", "500 5.5.2 what?", "530 5.7.0 log in"]


def at_each_place(replies):
    """Each reply at each stage of each message; over connections that are reused and fresh ones by turns."""
    turns = product(["MAIL", "RCPT", "DATA", "BODY"], range(SIZE), enumerate(replies))
    rows = [(stage, n, reply, (n + turn) % 2 == 0) for stage, n, (turn, reply) in turns]
    return pytest.mark.parametrize(("stage", "n", "reply", "is_reused"), rows)


@pytest.fixture(autouse=True, params=[False, True], ids=["one by one", "pipelined"])
def is_pipelined(request, sink):
    sink.is_pipelined = request.param


@pytest.fixture
def connections(is_reused, monkeypatch):
    if not is_reused:
        monkeypatch.setattr(smtp, "PER_CONNECTION", 1)


@pytest.mark.usefixtures("connections")
@at_each_place(REFUSALS)
def test_each_message_ends_as_its_own_recipient_deserves(sink, stage, n, reply):
    first, last = REFUSALS[reply]
    sink.says = {(stage, n): reply}
    messages = MessageFactory.create_batch(SIZE)
    refused, others = messages[n], messages[:n] + messages[n + 1 :]

    deliver()

    assert [fate(message) for message in others] == [("sent", 1)] * (SIZE - 1)
    assert sink.message_ids == [message.message_id for message in others]
    assert fate(refused) == first
    time_passes()
    deliver()
    assert fate(refused) == last
    assert sink.message_ids.count(refused.message_id) == (last[0] == "sent")


@pytest.mark.usefixtures("connections")
@at_each_place(INTERRUPTIONS)
def test_an_answer_about_the_conversation_is_held_against_no_message(sink, stage, n, reply):
    sink.says = {(stage, n): reply}
    messages = MessageFactory.create_batch(SIZE)

    deliver()

    states = [fate(message) for message in messages]
    assert set(states) <= {("sent", 1), ("queued", 0)}
    if stage != "MAIL":
        assert states.count(("sent", 1)) == SIZE - 1
    ProviderState.objects.update(paused=False, paused_until=None)
    time_passes()
    deliver()
    assert [fate(message) for message in messages] == [("sent", 1)] * SIZE
    assert sorted(sink.message_ids) == sorted(message.message_id for message in messages)


def test_a_server_that_takes_few_messages_per_connection_gets_them_all_without_a_pause(sink):
    # The second MAIL of every connection is refused: the 2nd overall, the 4th, …
    sink.says = {("MAIL", n): "421 4.7.0 too many messages" for n in range(1, 2 * SIZE, 2)}
    messages = MessageFactory.create_batch(SIZE)

    deliver()

    assert [fate(message) for message in messages] == [("sent", 1)] * SIZE
    assert not ProviderState.objects.filter(failures__gt=0).exists()


def test_a_recipient_that_always_ends_the_conversation_waits_longer_each_time(sink):
    sink.refused_recipients = {"odd@example.org": "421 4.7.0 not you"}
    odd = MessageFactory.create(to_address="odd@example.org", max_attempts=2)
    waits = []

    for _ in range(4):
        deliver()
        assert fate(odd) == ("queued", 0)
        waits.append((odd.due_at - timezone.now()).total_seconds())
        time_passes()

    assert 20 < waits[0] < 60 < waits[1] < waits[2] < waits[3]
    assert not ProviderState.objects.filter(paused=True).exists()


@pytest.mark.parametrize("stage", ["RCPT", "DATA", "BODY"])
@pytest.mark.parametrize("reply", ["421 4.3.2 closing", "503 5.5.1 sequence", "530 5.7.57 not authenticated"])
def test_a_conversation_that_is_broken_for_everybody_closes_the_channel_and_is_told(sink, stage, reply):
    sink.says = {(stage, n): reply for n in range(4)}
    messages = MessageFactory.create_batch(SIZE * 2)
    queue_worker = delivery.QueueWorker()

    queue_worker.deliver_due()
    assert sink.seen[stage] == 3
    assert health.check()["status"] == "degraded"
    first_wait = queue_worker.rest()
    time_passes()
    queue_worker.deliver_due()

    assert sink.seen[stage] == 4
    assert queue_worker.rest() > first_wait
    time_passes()
    queue_worker.deliver_due()
    assert [fate(message) for message in messages] == [("sent", 1)] * SIZE * 2
    assert health.check() == {"status": "ok"}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("reply", "state"), [("550 5.1.1 no such person", "failed"), ("451 4.7.1 later", "queued")])
def test_with_every_tenth_recipient_refused_the_worker_sends_all_the_others(sink, reply, state):
    messages = MessageFactory.create_batch(60)
    sink.refused_recipients = {message.to_address: reply for message in messages[::10]}

    call_command("notifications_worker", "--once")

    assert Counter(Message.objects.values_list("state", "last_code")) == {("sent", "250"): 54, (state, reply[:3]): 6}
    assert len(sink.mails) == 54
