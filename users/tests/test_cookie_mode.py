"""USERS_ACCESS_TOKEN_VIA_COOKIE: the access token in an HttpOnly cookie."""

import pytest

from conftest import ApiClient
from lib import net
from users.models import UserSession
from users.tests.authenticator import ORIGIN, Authenticator
from users.tests.factories import PASSWORD
from users.tests.test_passkeys import begin, registered
from users.tests.test_second_factors import app_of, asked

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
        # Another port, scheme or site, and names that only look like ours.
        ({"origin": "https://app.example.org:8443"}, 403),
        ({"origin": "http://app.example.org"}, 403),
        ({"origin": "http://testserver:8080"}, 403),
        ({"origin": "https://testserver"}, 403),
        ({"origin": "https://example.org"}, 403),
        ({"origin": "https://evil.app.example.org"}, 403),
        ({"origin": "https://evilapp.example.org"}, 403),
        ({"origin": "https://app.example.org.evil.example"}, 403),
        ({"origin": "https://app.example.org@evil.example"}, 403),
        ({"origin": "https://evil.example#https://app.example.org"}, 403),
        ({"origin": "https://evil.example\\@app.example.org"}, 403),
        ({"origin": "https://app.example.org, https://evil.example"}, 403),
        ({"origin": "https://app.example.org https://evil.example"}, 403),
        ({"origin": "https://app.example.org/page"}, 403),
        ({"origin": "https://user@app.example.org"}, 403),
        ({"origin": "//app.example.org"}, 403),
        ({"origin": "app.example.org"}, 403),
        ({"origin": "https://"}, 403),
        ({"origin": "https://[app.example.org"}, 403),
        ({"origin": "https://app.example.org:99999999"}, 403),
        ({"origin": "https://аpp.example.org"}, 403),  # a Cyrillic а
        ({"origin": "*"}, 403),
        ({"origin": ""}, 403),
        ({"origin": "file://"}, 403),
        # The same origin in another spelling (RFC 6454, 6.2).
        ({"origin": "HTTPS://APP.Example.ORG"}, 200),
        ({"origin": "https://app.example.org:443"}, 200),
        ({"origin": "http://testserver:80"}, 200),
        # What comes first decides.
        ({"origin": "null", "referer": "https://app.example.org/"}, 403),
        ({"origin": "https://app.example.org", "sec-fetch-site": "cross-site"}, 200),
        ({"sec-fetch-site": "cross-site", "referer": "https://app.example.org/"}, 403),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "junk"}, 403),
        ({"sec-fetch-site": ""}, 403),
        ({"referer": "https://app.example.org:443/page?to=https://evil.example"}, 200),
        ({"referer": "https://app.example.org.evil.example/"}, 403),
        ({"referer": "https://evil.example/?https://app.example.org/"}, 403),
        ({"referer": "https://app.example.org@evil.example/"}, 403),
        ({"referer": "about:blank"}, 403),
        ({"referer": ""}, 403),
        # Nothing a caller says about the way here makes a foreign origin ours.
        ({"origin": "https://evil.example", "x-forwarded-host": "evil.example"}, 403),
        ({"origin": "https://testserver", "x-forwarded-proto": "https"}, 403),
        ({"origin": "https://evil.example", "forwarded": "host=evil.example;proto=https"}, 403),
    ],
)
def test_changes_by_cookie_need_an_origin_of_ours(signed_in, headers, status):
    response = signed_in.call("PATCH", "/users/user", {"first_name": "Grace"}, **headers)

    assert response.status_code == status
    if status == 403:
        assert response.json()["detail"] == "ErrorCode.CSRF_ORIGIN"


@pytest.mark.parametrize("host", ["evil.example", "testserver.evil.example", "app.example.org"])
def test_a_forged_host_makes_no_origin_ours(signed_in, host):
    response = signed_in.call("PATCH", "/users/user", {"first_name": "Eve"}, host=host, origin=f"http://{host}")

    assert response.status_code == 400
    assert signed_in.get("/api/users/user").json()["first_name"] == "Ada"


def test_the_address_it_is_called_by_is_its_own(signed_in):
    def change(**headers):
        return signed_in.call("PATCH", "/users/user", {"first_name": "Grace"}, **headers).status_code

    assert change(host="localhost:8000", origin="http://localhost:8000") == 200
    assert change(host="LocalHost:80", origin="http://localhost") == 200
    assert change(host="localhost:8000", origin="http://localhost:3000") == 403
    assert change(host="localhost:8000", origin="https://localhost:8000") == 403


def test_behind_an_unknown_proxy_a_page_over_plain_http_is_foreign(signed_in, settings):
    settings.BASE_URL = "https://testserver"

    def change(origin):
        body = {"first_name": "Grace"}
        return signed_in.call("PATCH", "/users/user", body, host="testserver", origin=origin).status_code

    assert change("http://testserver") == 403
    assert change("https://testserver") == 200


@pytest.mark.parametrize("origin", ["capacitor://localhost", "CAPACITOR://localhost", "http://[::1]:3000"])
def test_an_app_may_have_an_origin_of_its_own_kind(signed_in, settings, origin):
    settings.CORS_ALLOWED_ORIGINS = ["capacitor://localhost", "http://[::1]:3000"]

    assert signed_in.call("PATCH", "/users/user", {"first_name": "Grace"}, origin=origin).status_code == 200
    assert signed_in.call("PATCH", "/users/user", {}, origin="capacitor://localhost:1").status_code == 403


def test_a_star_in_the_list_stands_for_one_label(signed_in, settings):
    settings.CORS_ALLOWED_ORIGIN_REGEXES = [net.origin_pattern("https://*.example.com")]

    def change(origin, **headers):
        return signed_in.call("PATCH", "/users/user", {"first_name": "Grace"}, origin=origin, **headers).status_code

    assert change("https://shop.example.com") == 200
    assert change("https://SHOP.example.com:443") == 200
    assert {change("https://example.com"), change("https://a.b.example.com"), change("http://shop.example.com")} == {
        403
    }
    # Behind a proxy that is not trusted, a page over plain http is foreign there, too.
    settings.ALLOWED_HOSTS = ["shop.example.com"]
    assert change("http://shop.example.com", host="shop.example.com") == 403


@pytest.mark.parametrize("method", ["PATCH", "PUT", "POST", "DELETE"])
def test_every_method_that_changes_something_is_asked(signed_in, method):
    for path in ("/users/user", "/notifications/preferences", "/notifications/read-all", "/staff/messages"):
        response = signed_in.call(method, path, [], origin="https://evil.example")
        assert response.status_code in {403, 405, 404}, path
        assert response.status_code != 403 or response.json()["detail"] == "ErrorCode.CSRF_ORIGIN"


def test_a_bearer_needs_no_origin_of_ours(api, user, settings):
    settings.USERS_ACCESS_TOKEN_COOKIE_KEEP_IN_BODY = True
    bearer = api.login_form(user.email).json()["access_token"]
    api.cookies.clear()
    body = {"first_name": "Grace"}

    assert api.call("PATCH", "/users/user", body, bearer=bearer, origin="https://evil.example").status_code == 200


def test_a_foreign_page_signs_nobody_in(api, user):
    pair = api.login_form(user.email).json()
    api.cookies.clear()
    refresh = {"token": pair["refresh_token"]}

    for response in (
        api.login_form(user.email, origin="https://evil.example"),
        api.login_form(user.email, **{"sec-fetch-site": "cross-site"}),
        api.call("POST", "/auth/refresh-tokens", refresh, origin="https://evil.example"),
    ):
        assert (response.status_code, response.json()["detail"]) == (403, "ErrorCode.CSRF_ORIGIN")
        assert "auth" not in response.cookies
    assert api.login_form(user.email, origin="https://app.example.org").cookies["auth"].value
    assert api.call("POST", "/auth/refresh-tokens", refresh).status_code == 200


@pytest.mark.parametrize("foreign", [{"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}])
def test_a_foreign_page_signs_nobody_in_by_a_second_factor_or_a_passkey(api, user, settings, foreign):
    settings.USERS_WEBAUTHN_RP_ID, settings.USERS_WEBAUTHN_ORIGINS = "app.example.org", [ORIGIN]
    _, codes = app_of(user)
    key = registered(user, Authenticator())
    code = {"mfa_token": asked(api, user), "method": "recovery", "code": codes[0]}
    ceremony, options = begin(api)
    bodies = {
        "/auth/mfa/verify": code,
        "/auth/passkeys/login/verify": {"ceremony": ceremony, "credential": key.get(options)},
    }

    for path, body in bodies.items():
        response = ApiClient().call("POST", path, body, **foreign)
        assert (response.status_code, response.json()["detail"]) == (403, "ErrorCode.CSRF_ORIGIN")
        assert not response.cookies
    assert not UserSession.objects.exists()
    # Nothing was spent: a page of ours goes on with the same.
    for path, body in bodies.items():
        assert ApiClient().call("POST", path, body, origin="https://app.example.org").cookies["auth"].value


def test_without_the_mode_any_origin_signs_in_for_itself(api, user, settings):
    settings.USERS_ACCESS_TOKEN_VIA_COOKIE = False

    assert api.login_form(user.email, origin="https://evil.example").status_code == 200


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
