"""Who may act on whom: nobody reaches above themselves, whatever permissions they hold."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from lib.errors import ProductError
from users.models import AuditEvent, MfaDevice, User, UserSession
from users.services import sessions, staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/users/user/"
SESSIONS = "/admin/users/usersession/"
VERBS = ("deactivate", "mark-verified", "send-reset", "sign-out", "remove-factors", "unlock", "export", "send-code")


def member(group, **fields):
    user = UserFactory.create(staff=True, **fields)
    user.groups.set(Group.objects.filter(name=group))
    return user


def client_of(user):
    client = Client()
    client.force_login(user)
    return client


def page(user, end="change"):
    return f"{LIST}{user.pk}/{end}/"


def signed_in(user):
    return sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())


def with_factor(user):
    MfaDevice.objects.create(user=user, kind="totp", confirmed_at=timezone.now())
    return user


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("group", "whom"),
    [("Support", {"superuser": True}), ("Support", {"staff": True}), ("Admin", {"superuser": True})],
)
def test_nobody_reaches_above_themselves(group, whom, verb):
    other = with_factor(UserFactory.create(**whom))
    session = signed_in(other)
    client = client_of(member(group))
    before = User.objects.values().get(pk=other.pk)

    assert client.post(page(other, verb), {"reason": "coup"}).status_code == 403
    assert client.post(f"{SESSIONS}{session.pk}/end/").status_code == 403
    html = client.get(page(other)).content.decode()
    assert 'class="verb ' not in html
    client.post(LIST, {"action": verb, "_selected_action": other.pk, "reason": "coup", "index": "0"})
    client.post(page(other), {"first_name": "Mallory", "last_name": ""})

    assert User.objects.values().get(pk=other.pk) == before
    assert other.mfa_devices.exists()
    session.refresh_from_db()
    assert session.revoked_at is None


def test_support_helps_people_and_admins_help_staff():
    user, colleague = UserFactory.create(), member("Support")
    signed_in(user)
    signed_in(colleague)

    assert client_of(member("Support")).post(page(user, "sign-out")).status_code == 302
    assert client_of(member("Admin")).post(page(colleague, "sign-out")).status_code == 302

    assert not UserSession.objects.filter(user__in=(user, colleague), revoked_at=None).exists()


@pytest.mark.parametrize("verb", ["deactivate", "remove-factors", "export"])
def test_support_lacks_the_heavy_verbs(verb):
    user = with_factor(UserFactory.create())
    client = client_of(member("Support"))

    assert f"{verb}/" not in client.get(page(user)).content.decode()
    assert client.post(page(user, verb), {"reason": "why"}).status_code == 403
    user.refresh_from_db()
    assert user.is_active
    assert user.mfa_devices.exists()


def test_a_selection_leaves_out_those_above():
    user, root = UserFactory.create(), UserFactory.create(superuser=True)
    signed_in(user)
    signed_in(root)
    data = {"action": "sign-out", "_selected_action": [user.pk, root.pk], "index": "0"}

    response = client_of(member("Support")).post(LIST, data, follow=True)

    texts = [str(message) for message in response.context["messages"]]
    assert f"“{root.email}”: Only superusers act on accounts of superusers." in texts
    assert UserSession.objects.filter(user=root, revoked_at=None).exists()
    assert not UserSession.objects.filter(user=user, revoked_at=None).exists()


def test_services_refuse_too():
    support, root = member("Support"), UserFactory.create(superuser=True)
    actor = Actor("admin", support)

    for verb in (staff.unlock, staff.send_reset, staff.sign_out, staff.activate, staff.send_code):
        with pytest.raises(ProductError, match="Only superusers"):
            verb(root, actor=actor)
    with pytest.raises(ProductError, match="Only superusers"):
        staff.edit(root, actor=actor, first_name="Mallory")
    with pytest.raises(ProductError, match="Only superusers give"):
        staff.edit(support, actor=actor, groups=Group.objects.all())


def test_nobody_takes_their_own_factor_or_account_away(staff_client, superuser):
    with_factor(superuser)
    UserFactory.create(superuser=True)

    for verb in ("deactivate", "remove-factors"):
        response = staff_client.post(page(superuser, verb), {"reason": "tired"}, follow=True)
        assert "You cannot" in str(next(iter(response.context["messages"])))
        assert f"/{verb}/" not in staff_client.get(page(superuser)).content.decode()
    superuser.refresh_from_db()
    assert superuser.is_active
    assert superuser.mfa_devices.exists()


# --- Rights -----------------------------------------------------------------------------------------------------------


def test_rights_given_by_the_form_are_on_record_by_name(staff_client, superuser):
    user = UserFactory.create(is_staff=True)
    group = Group.objects.get(name="Support")
    permission = group.permissions.get(codename="verify_user")

    staff_client.post(
        page(user),
        {
            "first_name": user.first_name,
            "last_name": user.last_name,
            "is_staff": "on",
            "is_superuser": "on",
            "groups": group.pk,
            "user_permissions": permission.pk,
            "is_active": "",
            "email_verified_at": "",
            "password": "forged",
            "must_reset": "on",
        },
    )

    event = AuditEvent.objects.get(event="user.updated")
    assert event.data == {
        "changed": ["groups", "is_superuser", "user_permissions"],
        "groups": ["Support"],
        "is_superuser": True,
        "permissions": ["users.verify_user"],
    }
    assert (event.actor, event.door) == (superuser.pk.hex, "admin")
    after = User.objects.get(pk=user.pk)
    assert (after.is_active, after.is_verified, after.must_reset) == (True, True, False)
    assert after.password == user.password
    assert list(after.groups.all()) == [group]


def test_rights_need_a_fresh_proof_and_names_do_not(staff_client, superuser):
    UserSession.objects.update(auth_at=timezone.now() - timedelta(minutes=11))
    user = UserFactory.create()
    names = {"first_name": "Grace", "last_name": "Hopper"}

    assert staff_client.post(page(user), names).headers["Location"] == LIST
    answer = staff_client.post(page(user), {**names, "is_staff": "on"})

    assert answer.headers["Location"].startswith("/admin/reauthenticate/")
    user.refresh_from_db()
    assert (user.first_name, user.is_staff) == ("Grace", False)


@pytest.mark.parametrize("verb", ["deactivate", "mark-verified", "remove-factors", "export"])
def test_sensitive_verbs_need_a_fresh_proof(staff_client, verb):
    UserSession.objects.update(auth_at=timezone.now() - timedelta(minutes=11))
    user = with_factor(UserFactory.create(unverified=True))

    answer = staff_client.post(page(user, verb), {"reason": "why"})

    assert answer.headers["Location"].startswith("/admin/reauthenticate/")
    user.refresh_from_db()
    assert (user.is_active, user.is_verified, user.mfa_devices.count()) == (True, False, 1)
    assert not AuditEvent.objects.filter(event="export.made").exists()


@pytest.mark.parametrize("lookup", ["password__startswith", "password__contains", "created_by", "first_name__regex"])
def test_a_lookup_nobody_offers_tells_nothing(superuser, lookup):
    client = client_of(member("Support"))

    response = client.get(LIST, {lookup: superuser.password[:9], "email": superuser.email})

    assert response.status_code == 400
    assert superuser.email not in response.content.decode()


@pytest.mark.parametrize(
    "query",
    [
        {"is_active__exact": 1, "is_staff__exact": 0, "is_superuser__exact": 0},
        {"groups__id__exact": 1},
        {"groups__id__exact": "none"},
        {"groups__isnull": "True"},
        {"look": "no-factor", "waiting": "sign-in", "q": "a", "o": 1, "p": 1},
    ],
)
def test_the_filters_beside_the_list_go_on_working(query):
    assert client_of(member("Support")).get(LIST, query).status_code == 200


@pytest.mark.parametrize(
    "address",
    [
        "/admin/auth/group/?name__regex=(",
        "/admin/feature_flags/featureflag/?created_at__year=99999999999",
        "/admin/r/1/junk/",
    ],
)
def test_junk_in_an_address_is_no_error_of_ours(staff_client, address):
    assert staff_client.get(address).status_code in {200, 400, 404}


def test_nothing_is_saved_as_new(staff_client, superuser):
    response = staff_client.post(page(superuser), {"_saveasnew": "1", "email": superuser.email})

    assert response.status_code == 400
    assert User.objects.count() == 1


# --- Groups -----------------------------------------------------------------------------------------------------------

GROUPS = "/admin/auth/group/"


@pytest.mark.parametrize("group", ["Support", "Admin"])
def test_nobody_but_superusers_gives_rights_by_a_group(group):
    mine = Group.objects.get(name="Support")
    holder = member(group)
    holder.user_permissions.set(Permission.objects.filter(content_type__app_label="auth"))
    client, before = client_of(holder), mine.permissions.count()
    everything = {"name": "Admin 2", "permissions": list(Permission.objects.values_list("pk", flat=True))}

    assert client.get(f"{GROUPS}{mine.pk}/change/").status_code == 200
    assert client.post(f"{GROUPS}{mine.pk}/change/", everything).status_code == 403
    assert client.post(f"{GROUPS}{mine.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"{GROUPS}add/", everything).status_code == 403
    client.post(GROUPS, {"action": "delete_selected", "_selected_action": mine.pk, "post": "yes"})

    assert set(Group.objects.values_list("name", flat=True)) == {"Support", "Release", "Admin"}
    assert mine.permissions.count() == before


def test_a_group_is_changed_with_a_fresh_proof_only(staff_client):
    group = Group.objects.get(name="Support")
    address = f"{GROUPS}{group.pk}/change/"
    changed = {"name": "Helpers", "permissions": []}

    assert staff_client.post(address, changed).headers["Location"] == GROUPS
    UserSession.objects.update(auth_at=timezone.now() - timedelta(minutes=11))
    for end, data in (("change", {"name": "Again"}), ("delete", {"post": "yes"})):
        answer = staff_client.post(f"{GROUPS}{group.pk}/{end}/", data)
        assert answer.headers["Location"].startswith("/admin/reauthenticate/")

    group.refresh_from_db()
    assert group.name == "Helpers"


def test_what_happens_to_a_group_is_on_record(staff_client, superuser):
    group = Group.objects.get(name="Release")
    view = Permission.objects.get(codename="view_user")

    staff_client.post(f"{GROUPS}{group.pk}/change/", {"name": "Releases", "permissions": [view.pk]})
    staff_client.post(f"{GROUPS}{group.pk}/delete/", {"post": "yes"})

    events = AuditEvent.objects.filter(event__startswith="group.").order_by("id")
    assert [(event.event, event.actor, event.door) for event in events] == [
        ("group.saved", superuser.pk.hex, "admin"),
        ("group.deleted", superuser.pk.hex, "admin"),
    ]
    assert [event.data for event in events] == [
        {"name": "Releases", "permissions": ["users.view_user"]},
        {"name": "Releases"},
    ]
