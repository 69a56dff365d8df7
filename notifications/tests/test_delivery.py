import logging
import threading
from collections import Counter
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core import mail
from django.db import connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from lib.logs import JsonFormatter
from notifications.models import Attempt, Message
from notifications.providers.base import Result
from notifications.services import claims, delivery, outbox
from notifications.services.claims import record
from notifications.tests import kinds
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db


def deliver():
    return delivery.QueueWorker().deliver_due()


def lease_ends():
    Message.objects.filter(state="sending").update(due_at=timezone.now() - timedelta(seconds=1))


def test_a_mail_has_one_recipient_two_parts_and_the_headers():
    message = MessageFactory.create(to_name="Ada, Countess", to_address="ada@example.org")

    deliver()

    sent = mail.outbox[0].message()
    assert sent["Subject"] == "Hello from Switchboard"
    assert sent["To"] == '"Ada, Countess" <ada@example.org>'
    assert sent["From"] == "Switchboard <noreply@example.org>"
    assert sent["Message-ID"] == message.message_id
    assert sent["Auto-Submitted"] == "auto-generated"
    assert sent["Date"]
    assert sent.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in sent.get_payload()] == ["text/plain", "text/html"]


def test_each_try_is_noted():
    message = MessageFactory.create()

    deliver()

    attempt = message.tries.get()
    assert (attempt.n, attempt.outcome) == (1, "accepted")
    message.refresh_from_db()
    assert message.sent_at == message.finished_at
    assert message.sent_at is not None
    assert (message.lease_token, message.lease_owner, message.handed_at) == (None, "", None)


def test_a_withdrawn_message_is_cancelled_with_its_reason():
    message = MessageFactory.create(context={"first_name": "Ada", "number": -1})

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("cancelled", "superseded")
    assert not mail.outbox


def test_no_secret_address_or_name_rests_in_rows_or_logs(caplog):
    caplog.set_level(logging.INFO)
    MessageFactory.create(to_address="ada@example.org")
    MessageFactory.create(to_address="ada@example.org", context={"first_name": "Ada", "number": 666})

    deliver()

    rows = str([*Message.objects.values(), *Attempt.objects.values()])
    lines = " ".join(JsonFormatter().format(record) for record in caplog.records)
    assert kinds.CODE in mail.outbox[0].body
    assert kinds.CODE not in rows + lines
    assert "ada@example.org" not in lines
    assert "Ada" not in lines
    assert '"state": "sent"' in lines
    assert '"state": "failed"' in lines


def test_a_message_that_cannot_be_rendered_fails_alone():
    broken, fine = MessageFactory.create(type="tests.broken"), MessageFactory.create()

    deliver()

    broken.refresh_from_db()
    fine.refresh_from_db()
    assert (broken.state, broken.reason, broken.attempts) == ("failed", "render_error", 1)
    assert broken.last_code == "TemplateDoesNotExist"
    assert fine.state == "sent"


def test_nothing_is_sent_after_its_end():
    message = MessageFactory.create(expired=True)

    deliver()

    message.refresh_from_db()
    assert message.state == "expired"
    assert not mail.outbox


def test_nothing_is_sent_before_its_time():
    message = MessageFactory.create(due_at=timezone.now() + timedelta(minutes=1))

    assert deliver() == 0

    message.refresh_from_db()
    assert (message.state, message.attempts) == ("queued", 0)


def test_an_idle_poll_reads_one_row_and_writes_none(django_assert_num_queries):
    MessageFactory.create(finished=True)

    with django_assert_num_queries(1) as poll:
        deliver()

    assert poll.captured_queries[0]["sql"].startswith("SELECT")


def test_security_goes_before_bulk():
    MessageFactory.create(type="tests.bulk", priority=2, to_address="bulk@example.org")
    MessageFactory.create(to_address="security@example.org")

    deliver()

    assert [sent.to for sent in mail.outbox] == [["security@example.org"], ["bulk@example.org"]]


def test_bulk_has_its_turn_however_much_else_is_due(settings):
    settings.NOTIFICATIONS_BATCH = 1
    MessageFactory.create_batch(15)
    MessageFactory.create(priority=2, to_address="bulk@example.org")

    deliver()

    assert mail.outbox[9].to == ["bulk@example.org"]


def test_a_message_of_a_dead_worker_is_sent_with_the_same_message_id():
    message = MessageFactory.create(interrupted=True)

    deliver()

    message.refresh_from_db()
    assert (message.state, message.attempts, message.handed_at) == ("sent", 2, None)
    assert mail.outbox[0].message()["Message-ID"] == message.message_id


def test_a_type_that_must_not_come_twice_is_left_to_staff_after_an_interruption():
    message = MessageFactory.create(type="tests.once", interrupted=True)

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason, message.due_at) == ("unknown", "interrupted", None)
    assert message.handed_at is not None
    assert not mail.outbox


def test_a_message_that_workers_die_of_is_not_tried_for_ever():
    message = MessageFactory.create(interrupted=True, attempts=8)

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("failed", "worker_killer")
    assert not mail.outbox


def test_a_type_only_a_newer_version_knows_waits_for_it():
    message = MessageFactory.create(type="tests.tomorrow")

    deliver()

    message.refresh_from_db()
    assert (message.state, message.last_code) == ("queued", "unknown_type")
    assert message.due_at > timezone.now() + timedelta(seconds=10)


def test_who_lost_the_lease_sends_nothing_and_changes_nothing():
    message = MessageFactory.create()
    late = delivery.QueueWorker()
    late.waiting += claims.claim("late", 1)
    lease_ends()
    deliver()

    late._deliver_waiting()

    message.refresh_from_db()
    assert (message.state, message.attempts) == ("sent", 2)
    assert len(mail.outbox) == 1
    assert [attempt.outcome for attempt in message.tries.all()] == ["accepted", "lost_lease"]


def test_an_answer_that_comes_after_the_lease_is_noted_and_changes_nothing():
    message = MessageFactory.create()
    claim = claims.claim("slow", 1)[0]
    assert claim.hand_over("memory")
    lease_ends()
    claims.claim("quick", 1)

    recorded = record(claim, Result(Attempt.Outcome.PERMANENT, "550"), began=claim.now(), duration_ms=1)

    message.refresh_from_db()
    assert recorded is None
    assert (message.state, message.lease_owner) == ("sending", "quick")
    assert message.tries.get().outcome == "lost_lease"


def test_a_hand_over_that_was_rolled_back_with_the_record_before_it_is_written_again():
    MessageFactory.create_batch(2)
    first, second = claims.claim("x", 2)
    result, about = Result(Attempt.Outcome.ACCEPTED, "250"), {"began": first.now(), "duration_ms": 1}
    with transaction.atomic():
        record(first, result, **about, following=second)
        transaction.set_rollback(True)

    assert record(first, result, **about, following=second) == "sent"

    second.message.refresh_from_db()
    assert second.is_handed
    assert second.message.handed_at is not None
    assert first.message.tries.get().outcome == "accepted"


def test_one_recorded_too_late_leaves_the_hand_over_of_the_next_alone():
    MessageFactory.create_batch(2)
    first, second = claims.claim("slow", 2)
    Message.objects.filter(pk=first.message.pk).update(lease_token=uuid4())
    result = Result(Attempt.Outcome.ACCEPTED, "250")

    assert record(first, result, began=first.now(), duration_ms=1, following=second) is None

    assert second.is_handed
    assert first.message.tries.get().outcome == "lost_lease"


def test_the_next_one_is_not_handed_over_once_it_is_cancelled():
    MessageFactory.create_batch(2)
    first, second = claims.claim("x", 2)
    outbox.cancel_open(Q(pk=second.message.pk), reason="withdrawn")

    record(first, Result(Attempt.Outcome.ACCEPTED, "250"), began=first.now(), duration_ms=1, following=second)

    assert not second.is_handed


def test_a_mail_costs_the_database_one_statement_and_its_share_of_the_claim(django_assert_max_num_queries):
    MessageFactory.create_batch(30)
    deliver()
    MessageFactory.create_batch(30)

    # On SQLite a transaction of three.
    with django_assert_max_num_queries(60 if connection.vendor == "postgresql" else 210):
        deliver()


def test_a_message_cancelled_after_the_claim_is_not_sent():
    message = MessageFactory.create(event_key="tests:1")
    queue_worker = delivery.QueueWorker()
    queue_worker.waiting += claims.claim("slow", 1)
    outbox.cancel_open(Q(event_key="tests:1"), reason="withdrawn")

    queue_worker._deliver_waiting()

    message.refresh_from_db()
    assert message.state == "cancelled"
    assert not mail.outbox


def test_what_is_given_back_burns_no_attempt_and_stays_due():
    MessageFactory.create_batch(3)
    queue_worker = delivery.QueueWorker(stopping=lambda: True)
    queue_worker.waiting += claims.claim("stopping", 10)
    assert Message.objects.filter(state="sending").count() == 3

    queue_worker.give_back()

    assert set(Message.objects.values_list("state", "attempts", "lease_token")) == {("queued", 0, None)}
    assert Message.objects.filter(due_at=F("created_at")).count() == 3
    assert deliver() == 3


def test_a_message_with_too_little_lease_left_is_not_begun():
    MessageFactory.create()
    queue_worker = delivery.QueueWorker()
    claim = claims.claim("slow", 1)[0]
    claim.deadline -= 20
    queue_worker.waiting.append(claim)

    queue_worker._deliver_waiting()

    assert Message.objects.get().state == "queued"
    assert not mail.outbox


@pytest.mark.django_db(transaction=True)
def test_workers_that_race_send_nothing_twice(settings):
    settings.NOTIFICATIONS_BATCH = 3
    MessageFactory.create_batch(40)
    ready = threading.Barrier(4)

    def work():
        ready.wait()
        deliver()
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Counter(sent.message()["Message-ID"] for sent in mail.outbox).most_common(1)[0][1] == 1
    assert len(mail.outbox) == 40
    assert set(Message.objects.values_list("state", "attempts")) == {("sent", 1)}
