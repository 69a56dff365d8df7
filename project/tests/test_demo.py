"""`manage.py demo` fills a playground and takes it away without a trace."""

from datetime import timedelta

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.utils import timezone

from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND
from notifications.models import Message, MessageCount
from users.models import SignInCount, User
from users.services import staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def debug(settings):
    settings.DEBUG = True


def kept():
    """Every row there is; the version of all flags and the counts of hours are no rows of anybody."""
    return {
        model._meta.label: sorted(map(str, model._base_manager.values_list("pk", flat=True)))
        for model in apps.get_models(include_auto_created=True)
        if model._meta.label not in {"feature_flags.FlagSetState", "users.SignInCount", "notifications.MessageCount"}
    }


def test_it_comes_and_goes_without_a_trace(staff_client, superuser):
    editing.create("FF_MINE", tags=["mine"], **COMMAND)
    before = kept()

    call_command("demo")
    staff.deactivate(User.objects.filter(email__endswith="demo.example").first(), actor=COMMAND["actor"], reason="x")
    flag = FeatureFlag.objects.filter(codename__startswith="FF_DEMO_", is_active=False, is_protected=False).first()
    assert staff_client.post(f"/admin/feature_flags/featureflag/{flag.pk}/switch/on/").status_code == 302
    assert User.objects.count() == 61
    call_command("demo", "--remove")

    assert kept() == before
    # The fixture's own sign-in alone.
    assert sum(SignInCount.objects.values_list("count", flat=True)) <= 1
    assert not MessageCount.objects.exclude(kind="").exists()


def test_it_shows_something_on_every_page(staff_client):
    call_command("demo")

    assert FeatureFlag.objects.filter(codename__startswith="FF_DEMO_").count() == 40
    assert {*Message.objects.values_list("state", flat=True)} == set(Message.State.values)
    assert FlagRevision.objects.dates("at", "day").count() > 10
    assert all(chart.rows for chart in staff_client.get("/admin/").context["charts"])
    for path in ("users/user", "users/usersession", "users/auditevent", "notifications/message"):
        assert staff_client.get(f"/admin/{path}/").context["cl"].result_count > 20, path
    for message in Message.objects.all():
        assert staff_client.get(f"/admin/notifications/message/{message.pk}/change/").status_code == 200
    for flag in FeatureFlag.objects.all():
        assert staff_client.get(f"/admin/feature_flags/featureflag/{flag.pk}/change/").status_code == 200


def test_nothing_of_it_is_sent_and_nobody_of_it_signs_in(mailoutbox):
    call_command("demo")

    assert not Message.objects.filter(due_at__lte=timezone.now() + timedelta(days=300)).exists()
    call_command("notifications_worker", "--once")
    assert not mailoutbox
    assert not any(user.has_usable_password() or user.is_staff for user in User.objects.all())


def test_it_is_refused_where_a_product_is_in_use_and_where_there_is_one(settings):
    call_command("demo")
    with pytest.raises(CommandError, match="a demo already"):
        call_command("demo")
    call_command("demo", "--remove")
    settings.DEBUG = False

    for words in (["demo"], ["demo", "--remove"]):
        with pytest.raises(CommandError, match="DEBUG=1 only"):
            call_command(*words)

    assert not User.objects.exists()


def test_what_is_named_alike_stays(capsys):
    editing.create("FF_DEMO_MODE", tags=["demo-web"], **COMMAND)
    segments.create_segment("demo-accounts", **COMMAND)
    UserFactory.create(email="real@demo.example")
    before = kept()

    call_command("demo")
    call_command("demo", "--remove")
    call_command("demo", "--remove")

    assert kept() == before
    assert "There is no demo." in capsys.readouterr().out
