"""POST /api/auth/change-password."""

import pytest
from django.contrib.auth.hashers import check_password
from django.utils import timezone

from lib.actors import Actor
from lib.errors import ProductError
from users.models import MfaDevice, OneTimeToken, RateBucket, User, UserSession
from users.services import passwords, sign_in
from users.tests.factories import PASSWORD, UserFactory
from users.tests.own import code_of, recorded, sign_in_elsewhere

pytestmark = pytest.mark.django_db

NEW = "Another-Horse-8"
WRONG = (400, "ErrorCode.PASSWORD_WRONG", "password_wrong")


def change(api, current=PASSWORD, new=NEW, **more):
    return api.call("POST", "/auth/change-password", {"current_password": current, "new_password": new}, **more)


@pytest.fixture
def signed_in(api, user):
    return api.sign_in(user)


def test_a_new_password_signs_in_and_the_old_one_does_not(api, user, signed_in):
    response = change(api)

    assert (response.status_code, response.json()) == (200, {"password_changed": True})
    assert api.login_form(user.email, NEW).status_code == 200
    assert api.login_form(user.email, PASSWORD).status_code == 400
    assert User.objects.get().password_changed_at is not None


def test_the_other_sessions_end_and_this_one_goes_on(api, user, signed_in):
    other = sign_in_elsewhere(api, user)

    change(api)

    assert api.call("GET", "/users/user").status_code == 200
    assert api.call("POST", "/auth/refresh-tokens", {"token": signed_in["refresh_token"]}).status_code == 200
    assert api.call("GET", "/users/user", bearer=other["access_token"]).status_code == 401
    assert api.call("POST", "/auth/refresh-tokens", {"token": other["refresh_token"]}).status_code == 400
    assert recorded("password.changed").data == {"ended": 1}


def test_sessions_of_the_admin_end_too(api, superuser, staff_client):
    api.sign_in(superuser)

    change(api)

    assert staff_client.get("/admin/").status_code == 302


def test_the_owner_is_told_by_mail(api, user, signed_in, outbox):
    with outbox() as mails:
        change(api)

    assert [mail.to for mail in mails] == [[user.email]]
    assert NEW not in mails[0].body


def test_open_reset_links_die(api, user, signed_in):
    row = passwords.send_link(user)

    change(api)

    assert OneTimeToken.objects.get(pk=row.pk).used_at is not None


def test_a_wrong_current_password_changes_nothing_and_is_on_record(api, user, signed_in):
    response = change(api, current="Wrong-Horse-7")

    assert code_of(response) == WRONG
    assert check_password(PASSWORD, User.objects.get().password)
    event = recorded("login.failed")
    assert (event.outcome, event.data) == ("failed", {"why": "wrong_at_change"})


def test_the_sixth_guess_is_not_compared_and_says_when_to_come_back(api, user, signed_in):
    for _ in range(5):
        assert code_of(change(api, current="Wrong-Horse-7")) == WRONG

    response = change(api)

    assert code_of(response) == (400, "ErrorCode.PASSWORD_WRONG", "login_paused")
    assert 50 <= int(response["Retry-After"]) <= 60
    assert api.call("GET", "/users/user").status_code == 200
    assert recorded("login.paused").data == {"pause_seconds": 60}


def test_guesses_here_and_at_sign_in_are_counted_together(api, user, signed_in):
    for _ in range(3):
        change(api, current="Wrong-Horse-7")
    for _ in range(2):
        api.login_form(user.email, "Wrong-Horse-7")

    assert code_of(change(api))[2] == "login_paused"


def test_a_right_password_ends_the_count(api, user, signed_in):
    for _ in range(4):
        change(api, current="Wrong-Horse-7")

    assert change(api).status_code == 200
    assert not RateBucket.objects.filter(scope__in=["login", "login_account"]).exists()


@pytest.mark.parametrize(
    ("password", "reason"),
    [("Short-1", "TOO_SHORT"), ("alllower-case-7", None), ("nouppercase7!", "NO_UPPERCASE"), ("x" * 1025, "TOO_LONG")],
)
def test_the_policy_holds_and_a_weak_password_costs_no_try(api, user, signed_in, password, reason):
    before = list(RateBucket.objects.values_list("scope", "count"))

    response = change(api, new=password)

    if reason is None:
        assert response.status_code == 200
        return
    assert response.status_code == 400
    assert response.json()["detail"] == {"code": "ErrorCode.CHANGE_PASSWORD_INVALID_PASSWORD", "reason": reason}
    assert list(RateBucket.objects.values_list("scope", "count")) == before


def test_nist_asks_less_of_a_person_with_a_second_factor(api, user, signed_in, settings):
    settings.USERS_PASSWORD_POLICY = "nist"
    short = "quiet otter"

    assert change(api, new=short).json()["detail"]["reason"] == "TOO_SHORT"
    MfaDevice.objects.create(user=user, kind="totp", confirmed_at=timezone.now())
    assert change(api, new=short).status_code == 200


def test_both_are_taken_as_they_are_typed(api, user, signed_in):
    new = "  Ünïcode Horse 7! "

    assert change(api, new=new).status_code == 200
    assert code_of(change(api, current=new.strip(), new=PASSWORD))[0] == 400
    assert change(api, current=new, new=PASSWORD).status_code == 200


def test_who_has_no_password_cannot_set_one_here(api, user, signed_in):
    user.set_unusable_password()
    user.save()

    assert code_of(change(api)) == WRONG


def test_without_a_bearer_there_is_no_change(api, user):
    assert change(api).status_code == 401


def test_a_change_in_the_middle_of_another_is_refused(api, user, signed_in):
    """The hash that was compared must still be there when the new one is written."""

    attempt = sign_in.begin(email=user.email, actor=Actor("api"))
    User.objects.update(password="!another")

    with pytest.raises(ProductError) as refused:
        passwords.finish_change(user, password_hash="new", attempt=attempt, actor=Actor("api"), keep=None)

    assert refused.value.code == "PASSWORD_WRONG"


def test_nobody_else_is_touched(api, user, signed_in):
    other = UserFactory.create()
    sign_in_elsewhere(api, other)

    change(api)

    assert UserSession.objects.filter(user=other, revoked_at=None).count() == 1
