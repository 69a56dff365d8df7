"""The groups that come with `migrate`."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command

from users.services import rate_limits

pytestmark = pytest.mark.django_db


def held(name):
    found = Permission.objects.filter(group__name=name)
    return {f"{app}.{codename}" for app, codename in found.values_list("content_type__app_label", "codename")}


def migrate():
    call_command("migrate", verbosity=0)


#: Of what they may do themselves.
PROPOSALS = {"users.add_proposal", "users.view_proposal", "users.decide_proposal"}


def test_a_fresh_database_has_the_three_groups():
    support = held("Support")

    assert support == {
        *(f"users.{name}" for name in ("view_user", "view_usersession", "view_auditevent", "view_mfadevice")),
        *(f"users.{name}" for name in ("activate_user", "verify_user", "send_reset_user", "sign_out_user")),
        *(f"notifications.{name}" for name in ("view_message", "view_preference", "view_suppression")),
        "notifications.resend_message",
        "feature_flags.view_featureflag",
        *PROPOSALS,
    }
    assert {name.partition(".")[0] for name in held("Release") - PROPOSALS} == {"feature_flags"}
    assert held("Release") > PROPOSALS
    assert "feature_flags.switch_featureflag" in held("Release")
    assert len(held("Admin")) == Permission.objects.count()


def test_a_second_run_leaves_the_groups_as_staff_made_them():
    group = Group.objects.get(name="Support")
    taken = Permission.objects.get(codename="verify_user")
    given = Permission.objects.get(codename="export_user")
    group.permissions.remove(taken)
    group.permissions.add(given)

    migrate()

    assert "users.verify_user" not in held("Support")
    assert "users.export_user" in held("Support")


def test_what_a_release_brings_reaches_the_groups_that_exist():
    Permission.objects.filter(codename__in=("sign_out_user", "archive_featureflag")).delete()
    assert "users.sign_out_user" not in held("Support")

    migrate()

    assert "users.sign_out_user" in held("Support")
    assert "users.sign_out_user" in held("Admin")
    assert "feature_flags.archive_featureflag" in held("Release")


def test_a_renamed_group_keeps_its_members_and_the_old_name_comes_back_empty(user):
    group = Group.objects.get(name="Support")
    user.groups.add(group)
    Group.objects.filter(pk=group.pk).update(name="Helpdesk")

    migrate()

    assert list(user.groups.values_list("name", flat=True)) == ["Helpdesk"]
    assert Group.objects.get(name="Support").user_set.count() == 0
    assert held("Support") == held("Helpdesk")


@pytest.mark.django_db(transaction=True)
def test_the_state_of_the_release_before_gets_them_with_the_upgrade():
    # There is a way back, with counters that somebody uses.
    rate_limits.reserve(rate_limits.LOGIN.of("ada@example.org"))
    call_command("migrate", "users", "0002", verbosity=0)
    try:
        Group.objects.all().delete()
    finally:
        migrate()

    assert {"Support", "Release", "Admin"} <= set(Group.objects.values_list("name", flat=True))
    assert "users.view_auditevent" in held("Support")
