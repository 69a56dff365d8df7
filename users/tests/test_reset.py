"""POST /api/auth/forgot-password and /api/auth/reset-password."""

from datetime import timedelta

import pytest
from django.utils import timezone

from users.models import OneTimeToken
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

NEW = "Another-Horse-8"


@pytest.fixture(autouse=True)
def tokens_in_answers(settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True


def forgot(api, email):
    return api.call("POST", "/auth/forgot-password", {"email": email})


def reset(api, email, token, password=NEW):
    return api.call("POST", "/auth/reset-password", {"email": email, "token": token, "password": password})


@pytest.fixture
def link(api, user):
    return forgot(api, user.email).json()["forgot_password_token"]


def test_a_mailed_link_sets_a_password(api, user, outbox, settings):
    with outbox() as mails:
        token = forgot(api, user.email.upper()).json()["forgot_password_token"]

    assert [mail.subject for mail in mails] == ["Reset Password link"]
    assert f"{settings.APP_URL}/forgot-password/reset?reset_token={token}" in mails[0].body
    assert reset(api, user.email, token).json() == {"password_reset": True}
    assert api.login_form(user.email, NEW).status_code == 200
    assert api.login_form(user.email, PASSWORD).status_code == 400


@pytest.mark.parametrize("email", ["nobody@example.org", "not an address", "", "x" * 5000])
def test_every_address_is_answered_alike(api, db, settings, outbox, email):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = False

    with outbox() as mails:
        response = forgot(api, email)

    assert (response.status_code, response.json()) == (200, {"token_sent": True})
    assert mails == []


def test_an_inactive_account_gets_no_link(api, outbox):
    user = UserFactory.create(inactive=True)

    with outbox() as mails:
        assert forgot(api, user.email).status_code == 200

    assert mails == []


def test_a_reset_ends_every_session(api, user, link):
    pair = api.log_in(user)

    reset(api, user.email, link)

    assert api.call("GET", "/users/user").status_code == 401
    assert api.call("POST", "/auth/refresh-tokens", {"token": pair["refresh_token"]}).status_code == 400


def test_a_reset_lifts_the_pause(api, user, link):
    for _ in range(6):
        api.login_form(user.email, "Wrong-Horse-7")

    reset(api, user.email, link)

    assert api.login_form(user.email, NEW).status_code == 200


def test_a_link_works_once(api, user, link):
    assert reset(api, user.email, link).status_code == 200

    response = reset(api, user.email, link, "Third-Horse-9x")

    assert response.status_code == 400
    assert (response.json()["detail"], response.json()["code"]) == ("Bad Request", "reset_password_bad_token")


def test_a_weak_password_leaves_the_link_usable(api, user, link):
    response = reset(api, user.email, link, "short")

    assert response.status_code == 400
    assert response.json()["detail"] == {"code": "ErrorCode.RESET_PASSWORD_INVALID_PASSWORD", "reason": "TOO_SHORT"}
    assert reset(api, user.email, link).status_code == 200


def test_only_the_newest_link_works(api, user, link):
    newer = forgot(api, user.email).json()["forgot_password_token"]

    assert reset(api, user.email, link).status_code == 400
    assert reset(api, user.email, newer).status_code == 200


def test_a_link_expires(api, user, link):
    OneTimeToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))

    assert reset(api, user.email, link).status_code == 400


def test_a_link_fits_only_its_address(api, user, link):
    other = UserFactory.create()

    assert reset(api, other.email, link).status_code == 400
    assert reset(api, user.email.upper(), link).status_code == 200


@pytest.mark.parametrize("token", ["", "junk", "A" * 54, "é" * 54, "x" * 100_000])
def test_junk_is_400(api, user, token):
    assert reset(api, user.email, token).json()["detail"] == "Bad Request"


def test_a_link_dies_with_the_account(api, user, link):
    type(user).objects.update(is_active=False)

    assert reset(api, user.email, link).status_code == 400


def test_a_reset_does_not_verify(api):
    user = UserFactory.create(unverified=True)
    token = forgot(api, user.email).json()["forgot_password_token"]

    assert reset(api, user.email, token).status_code == 200
    assert api.login_form(user.email, NEW).json()["detail"] == "ErrorCode.LOGIN_USER_NOT_VERIFIED"


def test_beyond_the_mail_limit_the_last_link_stays_good(api, user, outbox):
    tokens = [forgot(api, user.email).json()["forgot_password_token"] for _ in range(3)]

    with outbox() as mails:
        fourth = forgot(api, user.email).json()["forgot_password_token"]

    assert fourth == tokens[-1]
    assert mails == []
    assert reset(api, user.email, fourth).status_code == 200
