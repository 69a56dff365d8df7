"""Several people type one address; only the mailbox decides."""

import pytest

from users import services
from users.models import Registration, User
from users.services import Actor
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db

MINE, THEIRS = "Owners-Horse-7", "Strangers-Horse-9"
OWNER, STRANGER = {"user-agent": "owner"}, {"user-agent": "stranger"}


@pytest.fixture(autouse=True)
def secrets_in_answers(settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True


def register(api, password, place, **changes):
    body = {"email": "ada@example.org", "password": password, "first_name": "Ada", "last_name": "L", **changes}
    assert api.call("POST", "/register", body, **place).status_code == 201


def verify(api, place):
    answer = api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"}, **place).json()
    body = {"token": answer["verification_token"], "registration_code": answer["registration_code"]}
    assert api.call("POST", "/auth/verify", body, **place).status_code == 200


def reset(api, password):
    token = api.call("POST", "/auth/forgot-password", {"email": "ada@example.org"}).json()["forgot_password_token"]
    body = {"email": "ada@example.org", "token": token, "password": password}
    assert api.call("POST", "/auth/reset-password", body).status_code == 200


def opens(api, password):
    return api.login_form("ada@example.org", password).status_code == 200


def test_a_stranger_who_repeats_does_not_push_the_owner_out(api):
    register(api, MINE, OWNER)
    for _ in range(4):
        register(api, THEIRS, STRANGER)

    verify(api, OWNER)

    assert opens(api, MINE)
    assert not opens(api, THEIRS)


def test_from_another_place_a_contested_address_keeps_nobodys_password(api):
    register(api, MINE, OWNER)
    register(api, THEIRS, STRANGER, first_name="Evil")

    verify(api, {"user-agent": "owner's phone"})

    assert not opens(api, THEIRS)
    assert User.objects.get().first_name == ""
    reset(api, MINE)
    assert opens(api, MINE)


def test_strangers_from_many_places_win_nothing(api):
    register(api, MINE, OWNER)
    for n in range(4):
        register(api, THEIRS, {"user-agent": f"stranger {n}"})

    verify(api, OWNER)

    assert not opens(api, THEIRS)
    assert not Registration.objects.exists()


def test_from_another_place_an_uncontested_address_is_the_one_that_registered(api):
    register(api, MINE, OWNER)

    verify(api, {"user-agent": "owner's phone"})

    assert opens(api, MINE)


def test_a_password_set_by_a_mailed_link_outlives_older_wishes(api):
    register(api, THEIRS, STRANGER)
    reset(api, MINE)

    verify(api, {"user-agent": "owner"})

    assert opens(api, MINE)
    assert not opens(api, THEIRS)


def test_a_wish_made_after_the_reset_from_the_same_place_is_the_newest_word(api):
    register(api, "First-Horse-77", OWNER)
    reset(api, "Second-Horse-77")
    register(api, MINE, OWNER)

    verify(api, OWNER)

    assert opens(api, MINE)


def test_what_staff_entered_is_not_overwritten_by_strangers(api):
    staff = UserFactory.create(superuser=True)
    user = services.create(email="ada@example.org", first_name="Ada", by=Actor.staff(staff))
    register(api, THEIRS, STRANGER, first_name="Evil")

    services.mark_verified(user, by=Actor("clerk"), reason="known in person")

    user.refresh_from_db()
    assert user.first_name == "Ada"
    assert not user.has_usable_password()
    assert not opens(api, THEIRS)


def test_marking_a_contested_address_as_verified_keeps_nobodys_password(api):
    register(api, MINE, OWNER)
    register(api, THEIRS, STRANGER)

    services.mark_verified(User.objects.get(), by=Actor("test"), reason="on the phone")

    assert not opens(api, THEIRS)
    assert not opens(api, MINE)


def test_decoys_look_like_tokens(api):
    import base64
    import uuid

    for n in range(20):
        answer = api.call("POST", "/auth/request-verification-token", {"email": f"nobody{n}@example.org"}).json()
        raw = base64.urlsafe_b64decode(answer["verification_token"] + "==")
        assert uuid.UUID(bytes=raw[:16]).version == 4


def test_a_mail_limit_used_up_in_a_minute_is_not_used_up_for_the_day(api, outbox):
    from users.models import RateBucket

    register(api, MINE, OWNER)
    for _ in range(30):
        api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"})

    assert RateBucket.objects.get(scope="mail_day").count == 3


def test_a_full_hashing_queue_counts_as_no_try(api, user, monkeypatch):
    from lib.errors import ProductError
    from users.services import hashing

    def full(*args):
        raise ProductError("BUSY", "full", status=503, retry_after=1)

    with monkeypatch.context() as patched:
        patched.setattr(hashing, "acheck", full)
        for _ in range(6):
            assert api.login_form(user.email).status_code == 503

    assert api.login_form(user.email).status_code == 200
