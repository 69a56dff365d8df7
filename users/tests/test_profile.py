"""GET and PATCH /api/users/user."""

import pytest

pytestmark = pytest.mark.django_db


def test_the_profile_is_what_the_seed_showed(api, user):
    api.sign_in(user)

    assert api.call("GET", "/users/user").json() == {
        "id": user.pk.hex,
        "email": user.email,
        "first_name": "Ada",
        "last_name": "Lovelace",
    }


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"first_name": "Grace"}, ("Grace", "Lovelace")),
        ({"last_name": "Hopper"}, ("Ada", "Hopper")),
        ({"first_name": "Grace", "last_name": "Hopper"}, ("Grace", "Hopper")),
        ({}, ("Ada", "Lovelace")),
        ({"email": "eve@example.org", "is_staff": True, "first_name": "Grace"}, ("Grace", "Lovelace")),
    ],
)
def test_one_name_both_or_none_can_be_changed(api, user, body, names):
    api.sign_in(user)

    response = api.call("PATCH", "/users/user", body)

    assert response.status_code == 200
    assert (response.json()["first_name"], response.json()["last_name"]) == names
    user.refresh_from_db()
    assert (user.first_name, user.last_name, user.is_staff) == (*names, False)


@pytest.mark.parametrize("body", [{"first_name": None}, {"last_name": 7}, {"first_name": "x" * 151}, [], "text", None])
def test_what_is_no_name_is_422_and_changes_nothing(api, user, body):
    api.sign_in(user)

    assert api.call("PATCH", "/users/user", body).status_code == 422
    user.refresh_from_db()
    assert user.first_name == "Ada"


def test_strangers_are_401(api, db):
    assert api.call("PATCH", "/users/user", {"first_name": "Eve"}).status_code == 401
