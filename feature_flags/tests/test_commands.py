from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from feature_flags import services
from feature_flags.models import FeatureFlag
from feature_flags.tests.factories import FeatureFlagFactory

pytestmark = pytest.mark.django_db


def run(*words):
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue()


def failure(*words):
    with pytest.raises(CommandError) as caught:
        run(*words)
    return caught.value.returncode, str(caught.value)


def test_create_makes_a_flag_that_is_off():
    assert run("create_feature_flag", "FF_NEW", "--label", "New") == "FF_NEW created, off.\n"

    flag = services.get("FF_NEW")
    assert (flag.is_active, flag.label, flag.description) == (False, "New", None)
    revision = flag.revisions.get()
    assert (revision.door, revision.who, revision.reason) == ("command", "command:create_feature_flag", "command line")


@pytest.mark.parametrize("name", ["FF_ENABLE_REGISTRATION", "ff_enable_registration"])
def test_create_refuses_a_taken_name(name):
    assert failure("create_feature_flag", name) == (1, "FF already exists.")


def test_create_refuses_a_name_that_is_none():
    code, line = failure("create_feature_flag", "no blanks")

    assert code == 1
    assert "\n" not in line
    assert not FeatureFlag.objects.filter(codename="no blanks").exists()


def test_toggle_says_the_new_state_each_time():
    FeatureFlagFactory.create(codename="FF_A")

    assert run("toggle_feature_flag", "FF_A") == "FF_A new active status: True\n"
    assert run("toggle_feature_flag", "FF_A", "--reason", "calm") == "FF_A new active status: False\n"

    assert services.get("FF_A").revisions.latest("id").reason == "calm"


@pytest.mark.parametrize("name", ["FF_NOBODY_KNOWS", "ff_enable_registration", "a\x00b", "\udcff", ""])
@pytest.mark.parametrize("command", [("toggle_feature_flag",), ("set_feature_flag", "on")])
def test_an_unknown_flag_is_refused(command, name):
    message = "Invalid FF selected, codename does not exist."

    assert failure(command[0], name, *command[1:]) == (1, message)


def test_set_reaches_the_state_and_repeating_is_fine():
    flag = FeatureFlagFactory.create(codename="FF_A")

    assert run("set_feature_flag", "FF_A", "on") == "FF_A on\n"
    assert run("set_feature_flag", "FF_A", "on") == "FF_A on\n"
    assert run("set_feature_flag", "FF_A", "off") == "FF_A off\n"

    assert flag.revisions.filter(action="switch").count() == 2


@pytest.mark.parametrize(
    "words",
    [
        ("create_feature_flag",),
        ("toggle_feature_flag",),
        ("set_feature_flag", "FF_A"),
        ("set_feature_flag", "FF_A", "maybe"),
    ],
)
def test_wrong_arguments_exit_2(words):
    code, line = failure(*words)

    assert code == 2
    assert "\n" not in line
