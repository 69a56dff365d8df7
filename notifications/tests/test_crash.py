"""A process that dies at a named point: real processes, each killed by the signal nobody can catch."""

import os
import signal
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connections, transaction
from django.utils import timezone

from notifications.models import Message
from notifications.services import claims, delivery
from notifications.tests.factories import MessageFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning"),
]

HANDED_OVER = ("hand-over", "after 250", "finish")


def kill(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


def dying_after(write):
    return lambda *args: kill(write(*args))


def die_at(point):
    """Arm the crash in this process, a forked child."""
    if point == "claim":
        take = claims.claim
        claims.claim = lambda *args, **kwargs: kill(take(*args, **kwargs))
    elif point == "render":
        delivery.build = kill
    elif point == "render of the first":
        build, first = delivery.build, min(Message.objects.values_list("pk", flat=True))
        delivery.build = lambda message, *args, **kwargs: (kill if message.pk == first else build)(
            message, *args, **kwargs
        )
    elif point == "hand-over":
        hand_over = claims.Claim.hand_over
        claims.Claim.hand_over = lambda *args: kill(hand_over(*args))
    elif point == "after 250":
        delivery.claims.record = kill
    elif point == "finish":
        # The row is written, the next one handed over, and nothing committed.
        for name in ("_record_at_once", "_record_in_steps"):
            setattr(claims, name, transaction.atomic(dying_after(getattr(claims, name))))
    elif point == "next hand-over":
        record = claims.record
        delivery.claims.record = lambda *args, following, **kwargs: (kill if following else str)(
            record(*args, following=following, **kwargs)
        )


def killed_at(point):
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            die_at(point)
            delivery.QueueWorker().deliver_due()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def lease_ends():
    Message.objects.filter(state="sending").update(due_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.parametrize("point", ["claim", "render", "next hand-over", *HANDED_OVER])
def test_a_kill_loses_nothing_and_leaves_at_most_one_copy(sink, point):
    messages = MessageFactory.create_batch(3)

    killed_at(point)
    lease_ends()
    delivery.QueueWorker().deliver_due()

    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": 3}
    assert set(sink.message_ids) == {message.message_id for message in messages}
    assert len(sink.message_ids) == (4 if point in {"after 250", "finish"} else 3)


def test_a_kill_between_two_messages_leaves_one_in_doubt(sink):
    MessageFactory.create_batch(4, type="tests.once")

    killed_at("next hand-over")
    lease_ends()
    delivery.QueueWorker().deliver_due()

    assert Counter(Message.objects.values_list("state", flat=True)) == {"sent": 3, "unknown": 1}
    assert len(set(sink.message_ids)) == len(sink.message_ids) == 3


def test_a_message_that_workers_die_of_takes_no_other_with_it(sink):
    deadly, *others = MessageFactory.create_batch(3, max_attempts=2)

    for _ in range(2):
        killed_at("render of the first")
        lease_ends()
    delivery.QueueWorker().deliver_due()

    deadly.refresh_from_db()
    assert (deadly.state, deadly.reason) == ("failed", "worker_killer")
    assert sink.message_ids == [message.message_id for message in others]


@pytest.mark.parametrize("point", HANDED_OVER)
def test_what_must_not_be_sent_twice_is_unknown_after_a_kill(sink, point):
    message = MessageFactory.create(type="tests.once")

    killed_at(point)
    lease_ends()
    delivery.QueueWorker().deliver_due()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("unknown", "interrupted")
    assert len(sink.message_ids) == (0 if point == "hand-over" else 1)
