"""People at the API of staff: found, read, created, renamed, given rights."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from lib.actors import Actor
from lib.db import make_cursor
from users.models import AuditEvent, User, UserSession
from users.services import api_keys
from users.tests.factories import UserFactory

OPERATOR = Actor.command("test")


@pytest.fixture
def key(db):
    """Of a superuser, with what these tests need."""
    scopes = ("people:read", "people:write", "people:rights", "audit:read", "keys:read", "groups:read")
    return api_keys.create(UserFactory(superuser=True), actor=OPERATOR, name="job", scopes=scopes)[1]


def get(api, path, key):
    answer = api.call("GET", f"/staff/{path}", bearer=key)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_people_are_found_by_any_part_of_name_or_address(api, key):
    UserFactory(first_name="Müller", email="a@example.org")
    UserFactory(first_name="Ada", email="okafor6@example.org")

    assert [row["first_name"] for row in get(api, "people?search=muller", key)["items"]] == ["Müller"]
    assert [row["email"] for row in get(api, "people?search=okafor", key)["items"]] == ["okafor6@example.org"]


def test_an_id_is_taken_with_dashes_too(api, key, user):
    for spelling in (user.pk.hex, str(user.pk), str(user.pk).upper()):
        answer = api.call("PATCH", f"/staff/people/{spelling}", {"first_name": "Grace"}, bearer=key)
        assert (answer.status_code, answer.json()["id"]) == (200, user.pk.hex)
        assert get(api, f"people/{spelling}", key)["id"] == user.pk.hex

    for spelling in (str(user.pk)[:-1], str(user.pk).replace("-", "", 1), f"{{{user.pk}}}"):
        assert api.call("PATCH", f"/staff/people/{spelling}", {}, bearer=key).status_code == 404


@pytest.mark.parametrize("moment", ["0.5", "1764500000", "0001-01-01T00:00:00%2B14:00"])
def test_a_time_is_written_as_the_description_says(api, key, moment):
    answer = api.call("GET", f"/staff/audit?until={moment}", bearer=key)

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "until"])


def test_a_refusal_has_a_sentence_for_people(api, key, user):
    UserFactory(email="taken@example.org")

    refused = api.call("POST", "/staff/people", {"email": "taken@example.org"}, bearer=key).json()
    seeds = api.call("POST", "/login", {}, bearer="").json()

    assert refused["message"] == "A user with this address exists."
    assert (refused["detail"], refused["code"]) == ("ErrorCode.USER_EXISTS", "user_exists")
    assert "message" not in seeds


def test_superusers_make_change_and_delete_groups(api, db):
    clerk = UserFactory(staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename="add_group"))
    key, of_staff = (
        api_keys.create(owner, actor=OPERATOR, name="job", scopes=["groups:write"])[1]
        for owner in (UserFactory(superuser=True), clerk)
    )

    def call(method, path, body=None, key=key):
        return api.call(method, f"/staff/groups{path}", body, bearer=key)

    made = call("POST", "", {"name": "Night shift", "permissions": ["users.view_user"]})
    changed = call("PATCH", "/Night shift", {"name": "Night"})

    assert (made.status_code, made.json()) == (201, {"name": "Night shift", "permissions": ["users.view_user"]})
    assert changed.json() == {"name": "Night", "permissions": ["users.view_user"]}
    assert call("POST", "", {"name": "Night"}).json()["code"] == "group_exists"
    assert call("PATCH", "/Night", {"permissions": ["users.nothing"]}).json()["code"] == "permission_unknown"
    assert call("PATCH", "/Nobody", {}).status_code == 404
    assert call("POST", "", {"name": "Day"}, key=of_staff).json()["code"] == "superusers_only"
    assert call("POST", "/Night/delete").status_code == 204
    assert not Group.objects.filter(name__startswith="Night").exists()
    noted = AuditEvent.objects.filter(event__startswith="group.").order_by("id").values_list("event", "door")
    assert list(noted) == [("group.saved", "staff"), ("group.saved", "staff"), ("group.deleted", "staff")]


def test_people_are_leafed_through_by_a_cursor(api, key):
    UserFactory.create_batch(4)

    first = get(api, "people?limit=2", key)
    second = get(api, f"people?limit=2&cursor={first['next']}", key)
    third = get(api, f"people?limit=2&cursor={second['next']}", key)

    emails = [row["email"] for part in (first, second, third) for row in part["items"]]
    assert emails == [user.email for user in User.objects.order_by("-created_at")]
    assert third["next"] is None
    assert api.call("GET", "/staff/people?cursor=nonsense", bearer=key).json()["code"] == "bad_cursor"
    assert api.call("GET", f"/staff/audit?cursor={first['next']}", bearer=key).status_code == 400


def test_a_list_by_long_names_is_leafed_through_to_its_end(api, key):
    Group.objects.bulk_create(
        Group(name=f"{number}{sign * 149}") for number, sign in enumerate(("ä", '"', "\u2028", "😀"))
    )
    names, cursor = [], ""

    while cursor is not None:
        page = get(api, f"groups?limit=1&cursor={cursor}", key)
        names += [row["name"] for row in page["items"]]
        cursor = page["next"]

    assert names == list(Group.objects.order_by("name").values_list("name", flat=True))


def test_a_cursor_of_the_release_before_is_refused(api, key):
    cursor = make_cursor(7, of="users.User")

    assert api.call("GET", f"/staff/people?cursor={cursor}", bearer=key).json()["code"] == "bad_cursor"


@pytest.mark.parametrize(
    "path", ["people?search=%00", "audit?event=logn.failed", "people?waiting=x", "people?is_staff=7"]
)
def test_what_a_list_cannot_look_for_is_422_not_the_whole_list(api, key, path):
    assert api.call("GET", f"/staff/{path}", bearer=key).status_code == 422


def test_filters_are_those_of_the_page(api, key):
    UserFactory(inactive=True)
    UserFactory(unverified=True)

    assert [row["is_active"] for row in get(api, "people?is_active=false", key)["items"]] == [False]
    waiting = get(api, "people?waiting=verification", key)["items"]
    assert [row["email_verified_at"] for row in waiting] == [None]
    assert api.call("GET", "/staff/people?waiting=x", bearer=key).status_code == 422


def test_a_list_asks_as_much_for_many_as_for_one(api, key, django_assert_num_queries):
    UserFactory.create_batch(10)
    get(api, "people", key)

    with django_assert_num_queries(7):
        get(api, "people", key)


def test_one_person_with_sessions_and_factors(api, key):
    user = UserFactory()
    user.groups.add(Group.objects.get(name="Support"))
    api.sign_in(user)

    person = get(api, f"people/{user.pk.hex}", key)

    assert (person["email"], person["groups"], person["factors"]) == (user.email, ["Support"], 0)
    assert "password" not in person
    (session,) = get(api, f"people/{user.pk.hex}/sessions", key)
    assert session["user"] == user.pk.hex
    assert get(api, f"people/{user.pk.hex}/factors", key) == []
    assert [row["id"] for row in get(api, "sessions?live=1", key)["items"]] == [session["id"]]


def test_an_account_is_created_and_renamed_on_record(api, key):
    made = api.call("POST", "/staff/people", {"email": "new@example.org", "first_name": "Ada"}, bearer=key)
    again = api.call("POST", "/staff/people", {"email": "new@example.org"}, bearer=key)
    renamed = api.call("PATCH", f"/staff/people/{made.json()['id']}", {"last_name": "L"}, bearer=key)

    assert (made.status_code, again.status_code) == (201, 400)
    assert again.json()["code"] == "user_exists"
    assert (renamed.json()["first_name"], renamed.json()["last_name"]) == ("Ada", "L")
    assert list(AuditEvent.objects.values_list("event", "door").order_by("pk"))[-2:] == [
        ("user.created", "staff"),
        ("user.updated", "staff"),
    ]


def test_rights_are_given_by_name(api, key):
    user = UserFactory()
    rights = {"is_staff": True, "groups": ["Support"], "permissions": ["users.view_user"]}

    answer = api.call("PATCH", f"/staff/people/{user.pk.hex}/rights", rights, bearer=key)

    assert answer.json()["groups"] == ["Support"]
    assert User.objects.get(pk=user.pk).has_perm("users.view_user")
    for wrong in ({"groups": ["Nobody"]}, {"permissions": ["users.fly"]}, {"permissions": ["x"]}):
        assert api.call("PATCH", f"/staff/people/{user.pk.hex}/rights", wrong, bearer=key).status_code == 422


def test_only_superusers_give_rights_and_only_with_a_fresh_proof(api, db, settings):
    settings.USERS_STAFF_MFA = "optional"
    staff = UserFactory(staff=True)
    staff.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "change_user"]))
    path = f"/staff/people/{staff.pk.hex}/rights"
    api.sign_in(staff)
    assert api.call("PATCH", path, {"is_superuser": True}).status_code == 403

    api.sign_in(UserFactory(superuser=True))
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))

    assert api.call("PATCH", path, {"is_superuser": True}).json()["code"] == "reauthentication_required"
    assert not User.objects.get(pk=staff.pk).is_superuser


def test_the_audit_log_is_asked_by_event_and_time(api, key):
    user = UserFactory()
    api.sign_in(user)
    now = timezone.now().isoformat().replace("+00:00", "Z")

    created = get(api, "audit?event=api_key.created", key)["items"]

    assert [row["data"]["name"] for row in created] == ["job"]
    assert get(api, f"audit?until={now}&limit=1", key)["items"]
    assert get(api, f"audit?since={now}", key)["items"] == []
    assert get(api, f"audit/{created[0]['id']}", key)["event"] == "api_key.created"


def test_service_accounts_and_groups(api, key):
    made = api.call("POST", "/staff/service-accounts", {"name": "deploy", "groups": ["Release"]}, bearer=key)

    assert made.status_code == 201
    assert get(api, "service-accounts/deploy", key) == made.json()
    assert [row["name"] for row in get(api, "groups", key)["items"]] == ["Admin", "Release", "Support"]
    assert "feature_flags.view_featureflag" in get(api, "groups/Release", key)["permissions"]
    assert [row["name"] for row in get(api, "api-keys", key)["items"]] == ["job"]


@pytest.mark.parametrize("path", ["people/x", "people/\x00", "sessions/7", "audit/x", "groups/None", "api-keys/x"])
def test_what_there_is_not_is_404(api, key, path):
    assert api.call("GET", f"/staff/{path.replace(chr(0), '%00')}", bearer=key).status_code == 404
