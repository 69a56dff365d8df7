from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from feature_flags.models import FlagRevision, FlagSchedule
from feature_flags.runtime import snapshot, store
from feature_flags.services import editing, schedules
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, document_of
from feature_flags.tests.test_switch import together
from lib.errors import ProductError

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.django_db
def test_the_clock_switches_before_the_row_does():
    flag = FeatureFlagFactory.create()
    schedules.schedule(flag, at=NOON, action="on", **COMMAND)

    early, late = (snapshot.build(None, at) for at in (NOON - SECOND, NOON))

    assert not early.flags[flag.codename].constant.enabled
    assert early.next_due == NOON.timestamp()
    assert late.flags[flag.codename].constant.enabled
    assert late.next_due is None
    assert b'"is_active":true' in late.seed_list.split(flag.codename.encode())[1][:80]


@pytest.mark.django_db
def test_due_entries_are_written_with_their_door_and_reason():
    flag = FeatureFlagFactory.create()
    schedules.schedule(flag, at=NOON, action="percent", percent=20, **COMMAND, reason="slowly")
    schedules.schedule(flag, at=NOON + SECOND, action="on", **COMMAND)
    schedules.schedule(flag, at=NOON + 2 * SECOND, action="off", **COMMAND)

    assert schedules.apply_due(NOON + SECOND) == 2
    assert schedules.apply_due(NOON + SECOND) == 0

    flag.refresh_from_db()
    assert (flag.document["rollout_percent"], flag.is_active) == (20, True)
    edited, switched = FlagRevision.objects.filter(flag=flag, door="schedule").order_by("id")
    assert (edited.action, edited.reason, edited.actor_label) == ("edit", "slowly", "command:test")
    assert switched.diff == {"is_active": [False, True]}
    assert list(FlagSchedule.objects.values_list("state", flat=True)) == ["applied", "applied", "pending"]


@pytest.mark.django_db
def test_a_cancelled_entry_does_nothing():
    flag = FeatureFlagFactory.create()
    entry = schedules.schedule(flag, at=NOON, action="on", **COMMAND)

    assert schedules.cancel_schedule(entry, **COMMAND)
    assert not schedules.cancel_schedule(entry, **COMMAND)

    assert schedules.apply_due(NOON) == 0
    assert store.snapshot.next_due is None
    assert not snapshot.build(None, NOON).flags[flag.codename].constant.enabled


@pytest.mark.django_db
def test_archiving_forgets_the_plans():
    flag = FeatureFlagFactory.create()
    schedules.schedule(flag, at=NOON, action="on", **COMMAND)

    editing.archive(flag, **COMMAND)

    assert schedules.apply_due(NOON) == 0


@pytest.mark.django_db
def test_what_became_impossible_is_dropped_and_does_not_stop_the_others(caplog):
    broken, fine = FeatureFlagFactory.create(value_type="string"), FeatureFlagFactory.create()
    for flag in (broken, fine):
        schedules.schedule(flag, at=NOON, action="on", **COMMAND)

    assert schedules.apply_due(NOON) == 1

    assert set(FlagSchedule.objects.values_list("state", flat=True)) == {"cancelled", "applied"}
    assert "scheduled change refused" in caplog.text


@pytest.mark.django_db
@pytest.mark.parametrize(
    "plan",
    [{"action": "flip"}, {"action": "percent"}, {"action": "percent", "percent": 101}, {"action": "on", "percent": 5}],
)
def test_plans_that_mean_nothing_are_refused(plan):
    flag = FeatureFlagFactory.create()

    with pytest.raises(ProductError, match=r"action|percent"):
        schedules.schedule(flag, at=NOON, **plan, **COMMAND)


@pytest.mark.django_db
def test_a_flag_with_rules_has_no_rollout_of_its_own():
    flag = FeatureFlagFactory.create(rules=[{}])

    with pytest.raises(ProductError, match="rules"):
        schedules.schedule(flag, at=NOON, action="percent", percent=5, **COMMAND)


@pytest.mark.django_db(transaction=True)
def test_many_processes_apply_an_entry_once():
    flag = FeatureFlagFactory.create()
    now = timezone.now()
    schedules.schedule(flag, at=now, action="on", **COMMAND)

    results = together(*[lambda: schedules.apply_due(now)] * 4)

    assert sorted(results) == [0, 0, 0, 1]
    assert flag.revisions.filter(door="schedule").count() == 1
    assert document_of(flag)["is_active"]
