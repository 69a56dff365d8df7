import pytest
from django.core.management import call_command

import feature_flags
from feature_flags.models import FeatureFlag, FlagRevision
from feature_flags.runtime import store
from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND, FeatureFlagFactory


@pytest.mark.django_db
def test_the_registration_flag_is_there_and_open_after_migrate():
    flag = FeatureFlag.objects.get(codename="FF_ENABLE_REGISTRATION")

    assert flag.is_active
    assert flag.revisions.get().door == FlagRevision.Door.DECLARATION


@pytest.mark.django_db
def test_declared_flags_get_a_row_in_their_default_state(declarations):
    feature_flags.declare("FF_ONE", default=True, label="One")
    feature_flags.declare("FF_TWO", default=False)

    assert editing.ensure_declared() == ["FF_ONE", "FF_TWO"]

    assert FeatureFlag.objects.filter(codename="FF_ONE", is_active=True, label="One", description=None).exists()
    assert FeatureFlag.objects.filter(codename="FF_TWO", is_active=False, label=None).exists()


@pytest.mark.django_db
def test_rows_that_exist_are_left_alone(declarations):
    feature_flags.declare("FF_ONE", default=True, label="One")
    editing.ensure_declared()
    flag = editing.get("FF_ONE")
    editing.switch(flag, on=False, **COMMAND)
    editing.edit(flag, {"label": "Mine", "description": None}, **COMMAND)

    assert editing.ensure_declared() == []

    flag.refresh_from_db()
    assert (flag.is_active, flag.label, flag.revisions.count()) == (False, "Mine", 3)


@pytest.mark.django_db
def test_a_twin_in_another_letter_case_keeps_its_name(declarations):
    FeatureFlagFactory.create(codename="ff_one")
    flag = feature_flags.declare("FF_ONE", default=True)

    assert editing.ensure_declared() == []
    assert feature_flags.is_enabled(flag)


@pytest.mark.django_db
def test_a_flag_answers_its_default_until_it_has_a_row(declarations):
    on = feature_flags.declare("FF_ON", default=True)
    off = feature_flags.declare("FF_OFF", default=False)

    assert feature_flags.is_enabled(on)
    assert not feature_flags.is_enabled(off)


@pytest.mark.django_db
def test_a_row_wins_over_the_default(declarations):
    flag = feature_flags.declare("FF_ON", default=True)
    editing.ensure_declared()

    editing.switch(editing.get("FF_ON"), on=False, **COMMAND)

    assert not feature_flags.is_enabled(flag)


def test_two_defaults_for_one_name_fail_the_checks(declarations):
    feature_flags.declare("FF_ONE", default=True)
    feature_flags.declare("FF_ONE", default=False)

    (problem,) = declarations.check_declarations()

    assert problem.id == "feature_flags.E001"
    assert "FF_ONE" in problem.msg


def test_one_default_twice_is_fine(declarations):
    feature_flags.declare("FF_ONE", default=True)
    feature_flags.declare("FF_ONE", default=True)

    assert declarations.check_declarations() == []


def test_declaring_a_name_that_is_none_fails_at_once():
    with pytest.raises(ValueError, match="codename"):
        feature_flags.declare("no blanks", default=True)


@pytest.mark.django_db(transaction=True)
def test_going_back_to_before_the_tables_and_forth_again_works():
    try:
        call_command("migrate", "feature_flags", "zero", verbosity=0)
        assert feature_flags.is_enabled("FF_ENABLE_REGISTRATION")
        assert store.current() is None
    finally:
        call_command("migrate", "feature_flags", verbosity=0)

    assert FeatureFlag.objects.filter(codename="FF_ENABLE_REGISTRATION").exists()
