"""API keys and service accounts in the admin."""

import re

import pytest
from django.contrib.auth.models import Group

from lib.actors import Actor
from users.models import ApiKey, AuditEvent, ServiceAccount, User
from users.services import api_keys
from users.tests.factories import UserFactory

OPERATOR = Actor.command("test")
SECRET = re.compile(r"sbk_[0-9A-Za-z]{49}")


@pytest.fixture
def superuser(client, db):
    user = UserFactory(superuser=True)
    client.force_login(user)
    return user


def test_staff_make_a_key_of_their_own_and_see_it_once(api, client, superuser):
    page = client.post(
        "/admin/users/apikey/add/", {"name": "job", "scopes": ["people:read"], "days": "30", "networks": ""}
    )

    (secret,) = set(SECRET.findall(page.content.decode()))
    assert api.call("GET", "/users/user", bearer=secret).status_code == 403
    key = ApiKey.objects.get()
    assert (key.user, key.scopes) == (superuser, "people:read")
    assert secret not in client.get(f"/admin/users/apikey/{key.pk}/change/").content.decode()


def test_a_service_account_gets_its_key_from_superusers(api, client, superuser):
    group = Group.objects.get(name="Release")
    made = client.post("/admin/users/serviceaccount/add/", {"name": "deploy", "description": "", "groups": [group.pk]})
    account = ServiceAccount.objects.get()
    assert made["Location"] == f"/admin/users/serviceaccount/{account.pk}/change/"
    assert "?account=deploy" in client.get(made["Location"]).content.decode()

    page = client.post(
        "/admin/users/apikey/add/?account=deploy", {"name": "ci", "scopes": ["flags:switch"], "days": ""}
    )

    (secret,) = set(SECRET.findall(page.content.decode()))
    assert api.call("POST", "/staff/flags/NO_SUCH/switch/on", bearer=secret).status_code == 404
    assert ApiKey.objects.get().expires_at is None
    assert [event.user_id for event in AuditEvent.objects.filter(event="api_key.created")] == [account.pk]


def test_staff_end_the_keys_of_others_but_not_of_those_above(client, db):
    support = UserFactory(staff=True)
    support.user_permissions.set(
        support.user_permissions.model.objects.filter(codename__in=["view_apikey", "revoke_apikey", "view_user"])
    )
    client.force_login(support)
    of_someone = api_keys.create(UserFactory(), actor=OPERATOR, name="a", scopes=["inbox"])[0]
    of_admin = api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="b", scopes=["inbox"])[0]

    client.post(f"/admin/users/apikey/{of_someone.pk}/revoke/")
    refused = client.post(f"/admin/users/apikey/{of_admin.pk}/revoke/")
    client.post("/admin/users/apikey/", {"action": "revoke", "_selected_action": [str(of_admin.pk)]})

    assert refused.status_code == 403
    assert set(ApiKey.objects.filter(revoked_at=None)) == {of_admin}


def test_staff_who_may_only_look_end_their_own_keys(client, db):
    support = UserFactory(staff=True)
    support.user_permissions.set(support.user_permissions.model.objects.filter(codename="view_apikey"))
    client.force_login(support)
    own = api_keys.create(support, actor=OPERATOR, name="a", scopes=["inbox"])[0]
    other = api_keys.create(UserFactory(), actor=OPERATOR, name="b", scopes=["inbox"])[0]

    page = client.post(
        "/admin/users/apikey/", {"action": "revoke", "_selected_action": [own.pk, other.pk]}, follow=True
    )
    refused = client.post(f"/admin/users/apikey/{other.pk}/revoke/")

    assert "You may only revoke keys of your own." in page.content.decode()
    assert refused.status_code == 403
    assert set(ApiKey.objects.filter(revoked_at=None)) == {other}


def test_a_key_is_rotated_by_its_owner_alone(client, superuser):
    own = api_keys.create(superuser, actor=OPERATOR, name="a", scopes=["inbox"])[0]
    other = api_keys.create(UserFactory(), actor=OPERATOR, name="b", scopes=["inbox"])[0]

    page = client.post(f"/admin/users/apikey/{own.pk}/rotate/", {"overlap_hours": "2"})

    assert len(set(SECRET.findall(page.content.decode()))) == 1
    assert client.get(f"/admin/users/apikey/{other.pk}/rotate/").status_code == 403


@pytest.mark.parametrize("sees_keys", [False, True])
def test_the_page_of_a_service_account_shows_keys_to_those_who_may_see_keys(client, db, sees_keys):
    account = api_keys.create_service_account(name="deploy", groups=[], actor=OPERATOR)
    key = api_keys.create(account.user, actor=OPERATOR, name="nightly", scopes=["inbox"])[0]
    support = UserFactory(staff=True)
    names = ["view_serviceaccount", *(["view_apikey"] if sees_keys else [])]
    support.user_permissions.set(support.user_permissions.model.objects.filter(codename__in=names))
    client.force_login(support)

    page = client.get(f"/admin/users/serviceaccount/{account.pk}/change/").content.decode()

    assert "deploy" in page
    assert (key.prefix in page) is sees_keys


def test_only_superusers_make_service_accounts(client, db):
    client.force_login(UserFactory(staff=True))

    assert client.post("/admin/users/serviceaccount/add/", {"name": "x"}).status_code == 403
    assert not User.objects.filter(email__contains="service-account").exists()
