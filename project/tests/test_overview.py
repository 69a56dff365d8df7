"""The head of the first page: what needs somebody, and a week in pictures."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.utils import timezone

from feature_flags.models import FeatureFlag
from feature_flags.services import editing, tokens
from feature_flags.tests.factories import COMMAND
from lib import hourly
from notifications.models import Message, MessageCount, PeriodicJob, ProviderState
from notifications.services import periodic_jobs
from notifications.tests.factories import MessageFactory
from project import periodic_jobs as jobs
from users.models import AuditEvent, SignInCount
from users.services.audit import count_sign_ins
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def a_password_is_enough(settings):
    settings.USERS_STAFF_MFA = "optional"


def signed_in(at, kind="login.ok"):
    AuditEvent.objects.create(at=at, event=kind, door="api")


def test_what_needs_somebody_leads_to_its_list(staff_client):
    now = timezone.now()
    assert "Nothing at the moment" not in staff_client.get("/admin/").content.decode(), "root has no second factor"
    MessageFactory.create(state="failed", due_at=None, finished_at=now)
    MessageFactory.create(state="failed", due_at=None, finished_at=now - timedelta(days=3))
    ProviderState.objects.create(alias="email", paused=True)
    flag = editing.create("FF_OLD", is_protected=True, **COMMAND)
    FeatureFlag.objects.filter(pk=flag.pk).update(created_at=now - timedelta(days=99))
    tokens.create_token("shop", kind="server", expires_at=now + timedelta(days=3), **COMMAND)

    needs = {str(need["label"]): need for need in staff_client.get("/admin/").context["attention"]}

    assert {label: need["count"] for label, need in needs.items()} == {
        "Mails that failed in the last 24 hours": "1",
        "Ways out that are paused": "1",
        "Flags that have outlived their purpose": "1",
        "Protected flags among them": "1",
        "Flag tokens that expire within two weeks": "1",
        "Staff without a second factor": "1",
    }
    for need in needs.values():
        assert staff_client.get(need["url"]).context["cl"].result_count >= 1, need


def test_a_reader_sees_only_what_they_may():
    MessageFactory.create(state="failed", due_at=None, finished_at=timezone.now())
    clerk = UserFactory.create(staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="view_flagtoken"))
    client = Client()
    client.force_login(clerk)

    context = client.get("/admin/").context

    assert (context["attention"], context["charts"]) == ([], [])


def test_a_week_is_counted_by_the_hour_and_drawn(staff_client):
    now = timezone.now()
    AuditEvent.objects.all()  # the sign-in of the fixture is counted, too
    for hours in (0, 0, 5, 7 * 24 + 3):
        signed_in(now - timedelta(hours=hours))
    signed_in(now - timedelta(hours=5), "login.failed")
    MessageFactory.create(state="sent", due_at=None, finished_at=now)
    before = AuditEvent.objects.filter(event="login.ok", at__gt=now - timedelta(days=7)).count()

    jobs.register()
    assert "admin.statistics" in periodic_jobs.run_due(only="admin.statistics")
    sign_ins, mail = staff_client.get("/admin/").context["charts"]

    assert {each.name: each.total for each in sign_ins.series} == {
        "Sign-ins": before,
        "Failures": 1,
        "Refused during a pause": 0,
    }
    assert mail.series[0].total == 1
    assert PeriodicJob.objects.get(name="admin.statistics").last_result == "nothing to do"


def test_counting_again_changes_nothing_and_takes_what_came_late():
    now = timezone.now().replace(minute=30)
    signed_in(now)
    for _ in range(2):
        list(count_sign_ins(now))
    signed_in(now - timedelta(hours=1))

    list(count_sign_ins(now))

    counts = SignInCount.objects.exclude(kind="").values_list("kind", "count")
    assert sorted(counts) == [("login.ok", 1), ("login.ok", 1)]


def test_an_hour_once_counted_is_not_looked_at_again(queries):
    now = timezone.now()
    MessageFactory.create(state="sent", due_at=None, finished_at=now)
    list(periodic_jobs.count_messages(now))

    with queries() as made:
        list(periodic_jobs.count_messages(now))
    list(count_sign_ins(now))
    with queries() as of_nothing:
        list(count_sign_ins(now))

    assert made() <= 9
    assert of_nothing() <= 9
    MessageCount.objects.update(hour=now - hourly.KEEP - timedelta(days=1))
    list(periodic_jobs.count_messages(now))
    assert MessageCount.objects.exclude(kind="").get().hour > now - timedelta(hours=1)
    assert Message.objects.count() == 1


def test_the_page_takes_twelve_statements_whatever_there_is(staff_client, queries):
    staff_client.get("/admin/")
    MessageFactory.create_batch(5, state="failed", due_at=None, finished_at=timezone.now())
    for number in range(5):
        signed_in(timezone.now() - timedelta(hours=number))
    list(count_sign_ins(timezone.now()))

    with queries() as made:
        staff_client.get("/admin/")

    assert made() == 12
