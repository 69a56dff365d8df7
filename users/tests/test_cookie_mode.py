"""USERS_ACCESS_TOKEN_VIA_COOKIE: the access token in an HttpOnly cookie."""

import pytest

from users.tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def cookie_mode(settings):
    settings.USERS_ACCESS_TOKEN_VIA_COOKIE = True


@pytest.fixture
def signed_in(api, user):
    api.login_form(user.email)
    return api


def test_login_sets_the_cookie_and_leaves_the_token_out(api, user):
    response = api.login_form(user.email)

    cookie = response.cookies["auth"]
    assert "access_token" not in response.json()
    assert response.json()["refresh_token"]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["max-age"]) == (True, "Lax", "/", 900)
    assert cookie["secure"]


def test_the_token_can_be_kept_in_the_body(api, user, settings):
    settings.USERS_ACCESS_TOKEN_COOKIE_KEEP_IN_BODY = True

    assert api.login_form(user.email).json()["access_token"]


def test_a_refresh_sets_the_cookie(api, user):
    pair = api.login_form(user.email).json()

    response = api.call("POST", "/auth/refresh-tokens", {"token": pair["refresh_token"]})

    assert response.cookies["auth"].value
    assert "access_token" not in response.json()


def test_the_cookie_alone_authenticates(signed_in):
    assert signed_in.get("/api/users/user").status_code == 200


def test_a_dead_cookie_falls_through_to_a_live_bearer(api, user, settings):
    settings.USERS_ACCESS_TOKEN_COOKIE_KEEP_IN_BODY = True
    bearer = api.login_form(user.email).json()["access_token"]
    api.cookies["auth"] = "dead"

    assert api.call("GET", "/users/user", bearer=bearer).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"origin": "https://app.example.org"}, 200),
        ({"origin": "http://testserver"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://evil.example", "sec-fetch-site": "same-origin"}, 403),
        ({"sec-fetch-site": "same-site"}, 200),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"referer": "https://app.example.org/page"}, 200),
        ({"referer": "https://evil.example/app.example.org"}, 403),
    ],
)
def test_changes_by_cookie_need_an_origin_of_ours(signed_in, headers, status):
    response = signed_in.call("PATCH", "/users/user", {"first_name": "Grace"}, **headers)

    assert response.status_code == status
    if status == 403:
        assert response.json()["detail"] == "ErrorCode.CSRF_ORIGIN"


def test_reading_by_cookie_needs_none(signed_in):
    assert signed_in.call("GET", "/users/user", origin="https://evil.example").status_code == 200


def test_logout_from_a_foreign_origin_answers_200_and_the_session_goes_on(signed_in):
    assert signed_in.call("DELETE", "/logout", origin="https://evil.example").status_code == 200
    assert signed_in.get("/api/users/user").status_code == 200


def test_logout_ends_the_session_and_may_clear_the_cookie(signed_in, settings):
    settings.USERS_ACCESS_TOKEN_COOKIE_DELETE_ON_LOGOUT = True
    dead = signed_in.cookies["auth"].value

    response = signed_in.call("DELETE", "/logout")

    assert response.cookies["auth"].value == ""
    signed_in.cookies["auth"] = dead
    assert signed_in.get("/api/users/user").status_code == 401


def test_without_the_mode_a_cookie_is_nothing(api, user, settings):
    token = api.login_form(user.email).cookies["auth"].value
    settings.USERS_ACCESS_TOKEN_VIA_COOKIE = False
    api.cookies["auth"] = token

    assert api.get("/api/users/user").status_code == 401
    assert "auth" not in api.post("/api/login", {"username": user.email, "password": PASSWORD}).cookies
