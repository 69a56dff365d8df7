"""What goes over a big table takes some rows at a time: no statement, and no transaction, grows with the table."""

from datetime import timedelta

import pytest
from django.contrib.sessions.models import Session
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from feature_flags.models import FlagUsage
from lib import db
from lib.actors import Actor, RequestInfo
from notifications.models import Message
from notifications.services import periodic_jobs
from notifications.tests.factories import MessageFactory
from users.models import AuditEvent, User, UserSession
from users.services import sessions, staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
AGO = timezone.now() - timedelta(days=1000)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(db, "SLICE", 2)


def statements(run, kind, table):
    """How many statements of this kind this made about the table."""
    with CaptureQueriesContext(connection) as captured:
        run()
    return sum(query["sql"].startswith(f'{kind} "{table}"') for query in captured.captured_queries)


def test_sessions_of_the_admin_that_have_ended():
    for number in range(5):
        Session.objects.create(session_key=str(number), expire_date=AGO if number else timezone.now() + timedelta(1))

    assert statements(lambda: periodic_jobs.run_due(only="admin.sessions"), "DELETE FROM", "django_session") == 2
    assert Session.objects.get().session_key == "0"


def test_the_use_of_flags():
    for number in range(4):
        FlagUsage.objects.create(codename="FF_A", app_name=str(number), hour=AGO)

    job = "feature_flags.usage"
    assert statements(lambda: periodic_jobs.run_due(only=job), "DELETE FROM", "feature_flags_flagusage") == 2
    assert not FlagUsage.objects.exists()


def test_the_sessions_of_everybody(user):
    for _ in range(3):
        sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())

    run = lambda: staff.sign_out_all(actor=Actor.command("test"))  # noqa: E731
    assert statements(run, "UPDATE", "users_usersession") == 2
    assert not UserSession.objects.filter(revoked_at=None).exists()
    assert AuditEvent.objects.get().data == {"ended": 3, "why": "everybody"}


def test_all_messages_that_wait(capsys):
    MessageFactory.create_batch(3)
    MessageFactory.create(finished=True)

    run = lambda: call_command("notifications_cancel", "--all-queued")  # noqa: E731
    # The last slice begins where the one before it ended.
    assert statements(run, "UPDATE", "notifications_message") == 2
    assert capsys.readouterr().out == "3 messages cancelled.\n"
    assert Message.objects.filter(state="cancelled").count() == 3


def test_rows_that_stay_are_looked_at_once():
    users = UserFactory.create_batch(5)
    rows = User.objects.all()

    slices = list(db.slices(rows, by="email"))

    assert {pk for keys in slices for pk in keys} == {user.pk for user in users}
    assert [email for (email,) in db.in_order(rows, "email")] == sorted(user.email for user in users)
