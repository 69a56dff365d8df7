"""Workers and staff at the same announcement at once, on connections of their own, and a worker that is killed."""

import os
import signal
from collections import Counter

import django_tasks.signals  # noqa: F401  (lets a test change TASKS)
import pytest
from django.db import connections

from lib.actors import Actor
from notifications.models import Announcement, InAppNotification, Message
from notifications.services import announcements
from notifications.tests.test_announcements import draft_of
from notifications.tests.test_crash import dying_after, kill
from notifications.tests.test_races import CROWD, at_once
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)
COMMAND = Actor.command("tests")


@pytest.fixture(autouse=True)
def _slices(settings, monkeypatch):
    settings.NOTIFICATIONS_ENGINE = "off"
    monkeypatch.setattr(announcements, "SLICE", 5)


def run():
    return sum(count for _, count in announcements.work())


def test_workers_at_once_write_to_each_person_once():
    everyone = UserFactory.create_batch(42)
    row = draft_of()
    run()
    announcements.send(row, actor=COMMAND)

    at_once(*[run] * CROWD)

    wanted = Counter(person.pk for person in everyone)
    assert Counter(Message.objects.values_list("user", flat=True)) == wanted
    assert Counter(InAppNotification.objects.values_list("user", flat=True)) == wanted
    row.refresh_from_db()
    assert (row.counts["people"], row.counts["looked"], row.counts["mails"]) == (42, 42, 42)


def test_pressed_at_once_it_is_sent_once():
    UserFactory.create_batch(3)
    row = draft_of()

    found = at_once(*[lambda: announcements.send(row, actor=COMMAND)] * CROWD)

    assert sorted(found) == [0, 0, 0, 3]


def test_paused_while_workers_write_it_holds_back_all_that_is_written():
    UserFactory.create_batch(42)
    row = draft_of()
    run()
    announcements.send(row, actor=COMMAND)

    at_once(run, run, lambda: announcements.pause(row))
    run()

    row = Announcement.objects.get()
    assert row.state == "paused"
    assert Message.objects.count() == row.counts.get("mails", 0)
    assert not Message.objects.exclude(announcements._HELD).exists()
    announcements.resume(row)
    run()
    assert Message.objects.values("user").distinct().count() == Message.objects.count() == 42


def killed_at(point):
    """A worker in a process of its own, killed at its third slice."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        try:
            work = announcements.work()
            next(work)
            next(work)
            if point == "cursor":
                announcements._Slice.write = kill
            elif point == "written":
                write = announcements._Slice.write
                announcements._Slice.write = lambda self, **options: kill(write(self, **options))
            else:
                announcements._next_slice = dying_after(announcements._next_slice)
            next(work)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
@pytest.mark.parametrize(("point", "there"), [("cursor", 10), ("written", 10), ("committed", 15)])
def test_a_worker_that_is_killed_leaves_no_one_out_and_reaches_no_one_twice(point, there):
    everyone = UserFactory.create_batch(32)
    row = draft_of()
    run()
    announcements.send(row, actor=COMMAND)

    killed_at(point)
    assert Message.objects.count() == InAppNotification.objects.count() == there
    run()

    wanted = Counter(person.pk for person in everyone)
    assert Counter(Message.objects.values_list("user", flat=True)) == wanted
    assert Counter(InAppNotification.objects.values_list("user", flat=True)) == wanted
    row.refresh_from_db()
    assert (row.counts["people"], row.counts["looked"]) == (32, 32)


def test_each_mail_of_a_slice_becomes_a_task(settings):
    settings.NOTIFICATIONS_ENGINE, settings.NOTIFICATIONS_THREADS = "tasks", 0
    settings.TASKS = {"default": {"BACKEND": "django_tasks.backends.dummy.DummyBackend"}}
    from notifications import tasks

    tasks.deliver.get_backend().clear()
    UserFactory.create_batch(7)
    row = draft_of()
    run()
    announcements.send(row, actor=COMMAND)
    run()

    enqueued = {result.args[0] for result in tasks.deliver.get_backend().results}
    assert enqueued == {str(uid) for uid in Message.objects.values_list("uid", flat=True)}
    assert len(enqueued) == 7
