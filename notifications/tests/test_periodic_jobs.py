import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from notifications.models import (
    Attempt,
    DeliveryEvent,
    InAppNotification,
    Message,
    PeriodicJob,
    Suppression,
    Worker,
)
from notifications.services import periodic_jobs, personal_data
from notifications.services.claims import claim_these
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db


def ago(days):
    return timezone.now() - timedelta(days=days)


def finished(state, days, **fields):
    return MessageFactory.create(state=state, due_at=None, finished_at=ago(days), **fields)


def purged():
    counts = Counter()
    for what, count in periodic_jobs.purge():
        counts[what] += count
    return dict(counts)


def test_each_kind_is_kept_for_its_time(user, settings):
    gone = [finished("sent", 91), finished("failed", 366), finished("suppressed", 366)]
    kept = [finished("sent", 89), finished("failed", 364), finished("unknown", 91)]
    waiting = MessageFactory.create(created_at=ago(400))
    for days in (179, 181):
        DeliveryEvent.objects.create(
            provider="p", event_id=str(days), kind="delivered", at=ago(days), received_at=ago(days)
        )
    for days in (89, 91):
        InAppNotification.objects.create(user=user, type="t", category="security", title="x", read_at=ago(days))
    for hours in (23, 25):
        Worker.objects.create(host="a", pid=1, engine="worker", beat_at=ago(hours / 24))
    for expires_at in (None, ago(-1), ago(1)):
        Suppression.objects.create(
            address=f"{expires_at}@example.org", scope="all", reason="staff", expires_at=expires_at
        )

    counts = purged()

    assert not Message.objects.filter(pk__in=[row.pk for row in gone]).exists()
    assert set(Message.objects.all()) == {*kept, waiting}
    assert counts == {
        "messages": 3,
        "contexts": 3,
        "delivery events": 1,
        "in-app notifications": 1,
        "suppressions": 1,
        "workers": 1,
    }
    settings.NOTIFICATIONS_RETENTION_DAYS = 30
    assert purged() == {"messages": 1}


def test_a_context_is_emptied_after_a_month_and_never_before_the_end():
    old, young, waiting = finished("sent", 31), finished("sent", 29), MessageFactory.create(created_at=ago(60))

    assert purged() == {"contexts": 1}

    contexts = {row.pk: bool(row.context) for row in Message.objects.all()}
    assert contexts == {old.pk: False, young.pk: True, waiting.pk: True}
    assert purged() == {}


def test_the_next_run_looks_only_at_what_came_since():
    long_ago, since_then = finished("sent", 60), finished("sent", 31)

    list(periodic_jobs.purge(since=ago(2)))

    assert Message.objects.get(pk=long_ago.pk).context
    assert not Message.objects.get(pk=since_then.pk).context


def test_attempts_go_with_their_message_and_copies_stay():
    message = finished("sent", 91)
    copy = finished("sent", 1, parent=message)
    Attempt.objects.create(message=message, n=1, worker="w", created_at=ago(91), duration_ms=1, outcome="accepted")

    purged()

    copy.refresh_from_db()
    assert copy.parent is None
    assert not Attempt.objects.exists()


def test_it_goes_slice_by_slice(monkeypatch):
    monkeypatch.setattr(periodic_jobs, "SLICE", 2)
    for _ in range(5):
        finished("sent", 91)

    assert [count for what, count in periodic_jobs.purge() if what == "messages"] == [2, 2, 1]
    assert not Message.objects.exists()


def test_the_command_counts_first_and_acts_when_told(capsys):
    finished("sent", 91)
    finished("sent", 31)

    call_command("notifications_purge", "--dry-run")
    assert capsys.readouterr().out == "3 would be purged: 1 messages, 2 contexts\n"
    assert Message.objects.count() == 2

    call_command("notifications_purge")
    assert capsys.readouterr().out == "2 purged: 1 messages, 1 contexts\n"
    assert Message.objects.count() == 1


# --- Chores ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ran():
    """A job of two slices, and how often it ran."""
    runs = []

    def work(since):
        runs.append(since)
        yield "rows", 2
        yield "rows", 3

    before = dict(periodic_jobs._jobs)
    periodic_jobs._jobs.clear()
    periodic_jobs.register("tests.job", work)
    yield runs
    periodic_jobs._jobs.clear()
    periodic_jobs._jobs.update(before)


def test_a_job_is_done_once_an_hour(ran):
    assert periodic_jobs.run_due() == ["tests.job"]
    assert periodic_jobs.run_due() == []

    row = PeriodicJob.objects.get()
    assert row.last_result == "5 rows"
    assert row.lease_until is None
    PeriodicJob.objects.update(next_run_at=ago(1))
    assert periodic_jobs.run_due() == ["tests.job"]
    assert ran == [None, row.last_run_at]


@pytest.mark.django_db(transaction=True)
def test_of_many_processes_that_saw_it_due_one_takes_it():
    PeriodicJob.objects.create(name="tests.job")
    barrier, taken = threading.Barrier(4), []

    def take():
        barrier.wait()
        taken.append(periodic_jobs._take("tests.job"))
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(taken) == [False, False, False, True]


def test_a_job_whose_worker_died_is_done_by_the_next(ran):
    job = PeriodicJob.objects.create(name="tests.job", lease_until=timezone.now() + timedelta(minutes=5))
    assert periodic_jobs.run_due() == []

    PeriodicJob.objects.filter(pk=job.pk).update(lease_until=ago(1))
    assert periodic_jobs.run_due() == ["tests.job"]


def test_a_job_that_is_cut_short_stays_due(ran):
    assert periodic_jobs.run_due(iter([True, False]).__next__) == []

    row = PeriodicJob.objects.get()
    assert (row.last_run_at, row.lease_until) == (None, None)
    assert periodic_jobs.run_due() == ["tests.job"]


def test_a_job_that_fails_says_what_kind_of_trouble_and_waits_its_hour(ran, caplog):
    def fail(since):
        yield "rows", 1
        raise ValueError("ada@example.org")

    periodic_jobs.register("tests.job", fail)

    assert periodic_jobs.run_due() == []

    row = PeriodicJob.objects.get()
    assert row.last_result == "failed: ValueError"
    assert row.next_run_at > timezone.now() + timedelta(minutes=55)
    assert "ada@example.org" not in caplog.text


def test_the_product_has_its_periodic_jobs():
    own = ["notifications.announcements", "notifications.housekeeping", "notifications.webhooks"]
    regular = ["admin.sessions", "admin.statistics", "feature_flags.usage", *own, "users.purge"]

    assert periodic_jobs.run_due() == regular


# --- Forgetting a user ----------------------------------------------------------------------------------------------


def test_a_deleted_user_leaves_counts_and_nothing_else(user):
    sent = finished("sent", 1, user=user, to_address=user.email, to_name="Ada", subject="Hello Ada", event_key="e")
    again = finished("sent", 1, user=user, to_address="new@example.org", event_key="e")
    waiting = MessageFactory.create(user=None, to_address=user.email)
    stranger = MessageFactory.create(to_address="else@example.org")
    Attempt.objects.create(
        message=sent, n=1, worker="w", created_at=ago(1), duration_ms=1, outcome="accepted", response=user.email
    )
    DeliveryEvent.objects.create(
        provider="p", event_id="1", kind="bounced", at=ago(1), message=sent, recipient=user.email, detail=user.email
    )

    personal_data.forget_user(user)

    rows = Message.objects.filter(pk__in=[sent.pk, again.pk, waiting.pk])
    assert sorted(rows.values_list("state", flat=True)) == ["cancelled", "sent", "sent"]
    texts = str([*rows.values(), *Attempt.objects.values(), *DeliveryEvent.objects.values()])
    for trace in (user.email, "new@example.org", "Ada", str(user.pk)):
        assert trace not in texts
    stranger.refresh_from_db()
    assert (stranger.state, stranger.to_address) == ("queued", "else@example.org")


def test_a_message_in_the_hands_of_a_worker_is_stopped_too(user):
    message = MessageFactory.create(user=user, to_address=user.email)
    (claim,) = claim_these("w", [message.pk])

    personal_data.forget_user(user)

    assert not claim.hand_over("smtp")
