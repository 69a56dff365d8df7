from threading import Barrier, Thread

import pytest
from django.db import connection

from feature_flags.models import FeatureFlag, FlagSetState
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory, make_staff
from lib.actors import Actor
from lib.errors import ProductError


def together(*calls):
    """Run the calls at once, each in a thread with a connection of its own; return their results."""
    barrier, results = Barrier(len(calls)), []

    def run(call):
        barrier.wait()
        try:
            results.append(call())
        except ProductError as error:
            results.append(error.code)
        finally:
            connection.close()

    threads = [Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.django_db
def test_switching_writes_state_and_history():
    flag, user = FeatureFlagFactory.create(), make_staff()

    changed = editing.switch(
        flag,
        on=True,
        actor=Actor("admin", user),
        reason="launch",
    )

    assert changed
    assert flag.is_active
    assert FeatureFlag.objects.get(pk=flag.pk).is_active
    assert flag.updated_by == user.pk.hex
    revision = flag.revisions.latest("id")
    assert (revision.action, revision.diff, revision.reason) == ("switch", {"is_active": [False, True]}, "launch")
    assert revision.change_lines == ["active: off → on"]


@pytest.mark.django_db
def test_a_repeat_changes_and_records_nothing():
    flag = FeatureFlagFactory.create(on=True)
    before = FlagSetState.objects.get().revision

    changed = editing.switch(flag, on=True, **COMMAND)

    assert not changed
    assert flag.revisions.filter(action="switch").count() == 1
    assert FlagSetState.objects.get().revision == before


@pytest.mark.django_db
def test_a_stale_object_asks_for_a_state_and_never_flips():
    flag = FeatureFlagFactory.create()
    stale = FeatureFlag.objects.get(pk=flag.pk)
    editing.switch(flag, on=True, **COMMAND)

    changed = editing.switch(stale, on=True, **COMMAND)

    assert not changed
    assert stale.is_active


@pytest.mark.django_db
def test_a_flag_that_is_gone_is_unknown():
    flag = FeatureFlagFactory.create()
    FeatureFlag.objects.filter(pk=flag.pk).delete()

    with pytest.raises(ProductError) as caught:
        editing.switch(flag, on=True, **COMMAND)

    assert caught.value.message == "Invalid FF selected, codename does not exist."


@pytest.mark.django_db(transaction=True)
def test_two_people_switching_at_once_leave_one_change():
    flag = FeatureFlagFactory.create()
    before = FlagSetState.objects.get().revision

    def press():
        return editing.switch(FeatureFlag.objects.get(pk=flag.pk), on=True, **COMMAND)

    results = together(press, press, press, press)

    assert sorted(results) == [False, False, False, True]
    assert flag.revisions.filter(action="switch").count() == 1
    assert FlagSetState.objects.get().revision == before + 1


@pytest.mark.django_db(transaction=True)
def test_two_people_creating_at_once_leave_one_flag():
    results = together(*[lambda name=name: str(editing.create(name, **COMMAND)) for name in ("beta", "BETA", "Beta")])

    assert sorted(results)[-2:] == ["FLAG_EXISTS", "FLAG_EXISTS"] or results.count("FLAG_EXISTS") == 2
    assert FeatureFlag.objects.filter(codename__iexact="beta").count() == 1


@pytest.mark.django_db(transaction=True)
def test_changes_of_different_flags_at_once_are_all_counted():
    flags = [FeatureFlagFactory.create() for _ in range(4)]
    before = FlagSetState.objects.get().revision

    together(*[lambda flag=flag: editing.switch(flag, on=True, **COMMAND) for flag in flags])

    assert FlagSetState.objects.get().revision == before + 4
