import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from notifications.models import Attempt, Message, ProviderState
from notifications.services import circuit_breaker, claims, delivery
from notifications.tests.factories import MessageFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db


def pause_is_over():
    ProviderState.objects.exclude(paused_until=None).update(paused_until=timezone.now() - timedelta(seconds=1))


def states():
    return set(Message.objects.values_list("state", "attempts"))


def test_one_workers_failure_closes_the_way_for_all(mail_server):
    MessageFactory.create_batch(3)
    first, second = delivery.QueueWorker(), delivery.QueueWorker()

    first.deliver_due()
    mail_server.start()

    assert second.deliver_due() == 0
    assert second.rest() > 0
    assert states() == {("queued", 0)}
    assert Attempt.objects.count() == 1


def test_after_the_pause_one_worker_tries_one_message(mail_server):
    MessageFactory.create_batch(3)
    delivery.QueueWorker().deliver_due()
    pause_is_over()
    prober, other = delivery.QueueWorker(), delivery.QueueWorker()

    assert prober._admitted() == 1
    assert other._admitted() == 0

    prober._clean_up()
    assert other._admitted() == 1


def test_a_worker_that_dies_while_it_tries_the_way_is_replaced_after_a_lease(mail_server, settings):
    MessageFactory.create()
    delivery.QueueWorker().deliver_due()
    pause_is_over()
    assert delivery.QueueWorker()._admitted() == 1

    lasts = ProviderState.objects.get().paused_until - timezone.now()

    assert timedelta(seconds=20) < lasts <= timedelta(seconds=settings.NOTIFICATIONS_LEASE)
    pause_is_over()
    assert delivery.QueueWorker()._admitted() == 1


def test_workers_that_fail_together_pause_once(mail_server):
    MessageFactory.create_batch(2)
    queue_workers = [delivery.QueueWorker(), delivery.QueueWorker()]
    for queue_worker in queue_workers:
        queue_worker.waiting += claims.claim("x", 1)

    for queue_worker in queue_workers:
        queue_worker._deliver_waiting()

    state = ProviderState.objects.get()
    assert state.failures == 1
    assert state.paused_until < timezone.now() + timedelta(seconds=1)


def test_a_message_that_comes_to_nothing_leaves_the_try_to_the_next(mail_server):
    MessageFactory.create(expired=True)
    fine = MessageFactory.create()
    MessageFactory.create(created_at=timezone.now() - timedelta(seconds=1))
    ProviderState.objects.create(alias="email", paused=True, paused_until=timezone.now(), failures=3)
    mail_server.start()

    assert delivery.QueueWorker().deliver_due() == 3

    fine.refresh_from_db()
    assert fine.state == "sent"
    state = ProviderState.objects.get()
    assert (state.paused, state.failures, state.reason) == (False, 0, "")
    assert state.last_ok_at is not None


@pytest.fixture
def refused_login(mail_server, settings):
    mail_server.password = "right"
    settings.MAILERS["default"]["OPTIONS"] |= {"username": "switchboard", "password": "wrong-horse"}
    settings.EMAIL_URL = "smtp://switchboard:wrong-horse@127.0.0.1"
    MessageFactory.create_batch(2)
    mail_server.start()
    delivery.QueueWorker().deliver_due()
    return mail_server


def test_a_refused_login_waits_for_people(refused_login):
    state = ProviderState.objects.get()

    assert (state.paused, state.paused_until) == (True, None)
    assert state.reason.startswith("535")
    assert "wrong-horse" not in str(ProviderState.objects.values())
    assert states() == {("queued", 0)}
    assert delivery.QueueWorker().deliver_due() == 0


def test_staff_resume_after_a_refused_login(refused_login, settings):
    settings.MAILERS["default"]["OPTIONS"]["password"] = "right"

    assert circuit_breaker.resume("email", actor=COMMAND)

    assert delivery.QueueWorker().deliver_due() == 2
    assert not circuit_breaker.resume("email", actor=COMMAND)


def test_another_email_url_is_tried_without_staff(refused_login, settings):
    settings.MAILERS["default"]["OPTIONS"]["password"] = "right"
    settings.EMAIL_URL = "smtp://switchboard:right@127.0.0.1"

    assert delivery.QueueWorker().deliver_due() == 2

    assert not ProviderState.objects.get().paused


def test_what_staff_pause_stays_paused(mail_server, settings):
    MessageFactory.create()
    assert circuit_breaker.pause("email", actor=COMMAND, reason="wrong template")
    assert not circuit_breaker.pause("email", actor=COMMAND, reason="again")
    settings.EMAIL_URL = "smtp://another.example.org"
    mail_server.start()

    queue_worker = delivery.QueueWorker()
    assert queue_worker.deliver_due() == 0
    queue_worker.deliver_these([Message.objects.get().pk])

    assert not mail_server.mails
    assert queue_worker.rest() == float("inf")
    state = circuit_breaker.states()[0]
    assert (state.paused_by, state.reason, state.is_paused(timezone.now())) == (
        "command:tests",
        "wrong template",
        True,
    )


def test_a_pause_by_staff_outlasts_the_message_in_hand(sink):
    MessageFactory.create()
    queue_worker = delivery.QueueWorker()
    queue_worker._admitted()
    circuit_breaker.pause("email", actor=COMMAND, reason="")

    queue_worker.waiting += claims.claim("x", 1)
    queue_worker._deliver_waiting()
    queue_worker._clean_up()

    assert states() == {("sent", 1)}
    assert ProviderState.objects.get().paused


@pytest.mark.parametrize("reason", ["x" * 501, "nul\0", "half \ud800"])
def test_a_reason_that_cannot_be_kept_is_refused(reason):
    with pytest.raises(ProductError, match="500 characters"):
        circuit_breaker.pause("email", actor=COMMAND, reason=reason)


def test_an_unknown_channel_is_refused():
    for verb in (
        lambda: circuit_breaker.pause("fax", actor=COMMAND, reason=""),
        lambda: circuit_breaker.resume("fax", actor=COMMAND),
    ):
        with pytest.raises(ProductError) as refusal:
            verb()
        assert refusal.value.status == 404


def test_a_channel_nothing_has_happened_to_is_open():
    assert [(state.alias, state.paused) for state in circuit_breaker.states()] == [("email", False)]


def test_success_is_noted_once_a_minute(django_assert_num_queries):
    MessageFactory.create()
    delivery.QueueWorker().deliver_due()
    noted = ProviderState.objects.get().last_ok_at
    MessageFactory.create_batch(2)

    delivery.QueueWorker().deliver_due()

    assert ProviderState.objects.get().last_ok_at == noted


def test_a_message_costs_few_statements(queries):
    MessageFactory.create()
    delivery.QueueWorker().deliver_due()
    MessageFactory.create_batch(10)

    with queries() as made:
        assert delivery.QueueWorker().deliver_due() == 10

    # Is anything due, the state, the claim, and what is due now; each message: the list, what staff
    # have written, hand-over, finish, attempt.
    assert made() <= 6 + 10 * 5


@pytest.mark.django_db(transaction=True)
def test_workers_that_see_the_pause_end_together_send_one_to_try():
    ProviderState.objects.create(alias="email", paused=True, failures=1)
    rounds, workers = 10, 4
    over = threading.Barrier(workers, action=lambda: (pause_ends(), admissions.append([])))
    admissions = []

    def pause_ends():
        ProviderState.objects.update(paused_until=timezone.now() - timedelta(seconds=1))

    def ask():
        for _ in range(rounds):
            over.wait()
            admissions[-1].append(circuit_breaker.admit("email"))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [sum(admission.is_probe for admission in asked) for asked in admissions] == [1] * rounds
    assert all(admission.is_probe or admission.wait > 0 for asked in admissions for admission in asked)
