"""Plans of a flag, made and cancelled on its page."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from feature_flags.models import FlagSchedule
from feature_flags.services import editing, schedules
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, make_staff
from feature_flags.tests.pages import page, told

PLAN = {"schedule-at": "2090-01-31T12:00", "schedule-action": "on", "schedule-percent": "", "schedule-reason": ""}


def plan(client, flag, **changes):
    data = {**PLAN, **{f"schedule-{name}": value for name, value in changes.items()}}
    return client.post(page(flag, "schedule"), data, follow=True)


def cancel(entry):
    return page(entry.flag, f"schedule/{entry.pk}/cancel")


def test_a_change_is_planned_shown_and_cancelled(staff_client, staff):
    flag = FeatureFlagFactory.create(codename="FF_A")

    planned = plan(staff_client, flag, reason="Go live")
    entry = FlagSchedule.objects.get()
    cancelled = staff_client.post(cancel(entry), follow=True)
    again = staff_client.post(cancel(entry), follow=True)

    assert told(planned) == ["“FF_A”: switch on at 2090-01-31 12:00 UTC, planned."]
    assert (entry.action, entry.reason, entry.created_by) == ("on", "Go live", staff.pk.hex)
    section = planned.content.decode().split("<summary>Schedule")[1]
    assert "switch on at 2090-01-31 12:00 UTC (Go live)" in section
    assert told(cancelled)[0].endswith("cancelled.")
    assert "applied or cancelled already" in told(again)[0]
    assert [revision.action for revision in flag.revisions.order_by("id")] == ["create", "schedule", "cancel"]
    assert LogEntry.objects.count() == 2


def test_a_percentage_is_planned(staff_client):
    flag = FeatureFlagFactory.create()

    plan(staff_client, flag, action="percent", percent="50")

    assert FlagSchedule.objects.get().percent == 50


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"at": ""}, "at"),
        ({"at": "soon"}, "at"),
        ({"at": "a\x00"}, "at"),
        ({"action": "percent"}, "percent"),
        ({"action": "on", "percent": "5"}, "percent"),
        ({"action": "percent", "percent": "101"}, "percent"),
        ({"reason": "a" * 201}, "reason"),
    ],
)
def test_what_is_wrong_stands_beside_the_field(staff_client, changes, field):
    flag = FeatureFlagFactory.create()

    response = plan(staff_client, flag, **changes)

    assert response.status_code == 200
    assert response.context["schedule_form"].errors.keys() == {field}
    assert not FlagSchedule.objects.exists()


def test_rules_have_rollouts_of_their_own(staff_client):
    flag = FeatureFlagFactory.create(rules=[{}])

    response = plan(staff_client, flag, action="percent", percent="5")

    assert "percent" in response.context["schedule_form"].errors


def test_a_protected_flag_wants_a_reason(staff_client):
    flag = FeatureFlagFactory.create(is_protected=True)

    assert "say why" in plan(staff_client, flag).context["schedule_form"].errors["reason"][0]


def test_planning_needs_the_permission_of_doing(client, db):
    flag = FeatureFlagFactory.create()
    entry = schedules.schedule(flag, at=timezone.now() + timedelta(days=1), action="on", **COMMAND)
    client.force_login(make_staff("editor@example.org", "view_featureflag", "change_featureflag"))

    assert plan(client, flag).status_code == 403
    assert plan(client, flag, action="explode").context["schedule_form"].errors.keys() == {"action"}
    assert client.post(cancel(entry)).status_code == 403
    assert plan(client, flag, action="percent", percent="5").status_code == 200
    client.force_login(make_staff("viewer@example.org", "view_featureflag"))
    assert plan(client, flag, action="percent", percent="5").status_code == 403
    assert "schedule-at" not in client.get(page(flag)).content.decode()


def test_a_plan_is_cancelled_on_its_own_flag_and_by_post_only(staff_client):
    flag, other = FeatureFlagFactory.create(), FeatureFlagFactory.create()
    entry = schedules.schedule(flag, at=timezone.now() + timedelta(days=1), action="on", **COMMAND)

    assert staff_client.get(cancel(entry)).status_code == 405
    assert staff_client.get(page(flag, "schedule")).status_code == 405
    assert staff_client.post(page(other, f"schedule/{entry.pk}/cancel")).status_code == 403
    assert staff_client.post(page(flag, f"schedule/{'9' * 40}/cancel")).status_code in (403, 404)
    assert staff_client.post("/admin/feature_flags/featureflag/999999/schedule/", PLAN).status_code == 403
    entry.refresh_from_db()
    assert entry.state == "pending"


@pytest.mark.parametrize("at", ["2020-01-31T12:00", "2020-01-31 12:00:30", "1990-01-01"])
def test_a_time_that_is_over_is_asked_about(staff_client, at):
    flag = FeatureFlagFactory.create(codename="FF_A")

    asked = plan(staff_client, flag, at=at)

    assert "This time is over" in asked.content.decode()
    assert not FlagSchedule.objects.exists()
    flag.refresh_from_db()
    assert not flag.is_active
    now = re.search(r'name="schedule-now" value="([^"]+)"', asked.content.decode())[1]
    plan(staff_client, flag, at="2021-01-01T00:00", now=now)
    assert not FlagSchedule.objects.exists(), "asked about another time"
    plan(staff_client, flag, at=at, now=now)
    assert schedules.apply_due(timezone.now()) == 1


def test_an_archived_flag_is_not_planned(staff_client):
    flag = FeatureFlagFactory.create()
    editing.archive(flag, **COMMAND)

    assert "It is archived" in plan(staff_client, flag).content.decode()
