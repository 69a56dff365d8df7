"""USERS_REGISTER_ENUMERATION=safe: nobody learns from /register who has an account."""

import uuid

import pytest

from notifications.models import Message
from users.models import Registration, User
from users.tests.factories import UserFactory
from users.tests.own import recorded

pytestmark = pytest.mark.django_db

TAKEN, FREE = "taken@example.org", "free@example.org"


@pytest.fixture(autouse=True)
def owner(settings):
    settings.USERS_REGISTER_ENUMERATION = "safe"
    return UserFactory.create(email=TAKEN)


def register(api, email, **changes):
    body = {"email": email, "password": "Correct-Horse-9", "first_name": "Bob", "last_name": "B", **changes}
    return api.call("POST", "/register", body)


def test_body_status_and_headers_are_those_of_a_free_address(api):
    taken, free = register(api, TAKEN.upper()), register(api, FREE)

    assert (taken.status_code, free.status_code) == (201, 201)
    varying = {"id", "email"}
    assert {k: v for k, v in taken.json().items() if k not in varying} == {
        k: v for k, v in free.json().items() if k not in varying
    }
    assert (taken.json()["email"], list(taken.json())) == (TAKEN, list(free.json()))
    for answer in (taken, free):
        assert uuid.UUID(answer.json()["id"]).version == 4
    assert set(taken.headers) == set(free.headers)


def test_a_repeat_gets_the_same_id_as_it_does_for_a_free_address(api, owner):
    taken = {register(api, TAKEN).json()["id"] for _ in range(2)}
    free = {register(api, FREE).json()["id"] for _ in range(2)}

    assert (len(taken), len(free)) == (1, 1)
    assert taken != {owner.pk.hex}


def test_the_account_stays_as_it_was(api, owner):
    register(api, TAKEN)

    row = User.objects.get(email=TAKEN)
    assert (row.password, row.first_name, row.updated_by) == (owner.password, "Ada", owner.updated_by)
    assert not Registration.objects.exists()
    assert api.login_form(TAKEN).status_code == 200
    assert api.login_form(TAKEN, "Correct-Horse-9").status_code == 400


def test_signing_in_with_the_password_just_registered_tells_no_more(api):
    register(api, TAKEN)
    register(api, FREE)

    for _ in range(6):
        taken, free = (api.login_form(email, "Correct-Horse-9") for email in (TAKEN, FREE))
        assert (taken.status_code, taken.json()["code"]) == (free.status_code, free.json()["code"])
    assert free.json()["code"] == "login_paused"


def test_the_owner_is_told_and_a_flood_is_not_passed_on(api, outbox):
    with outbox() as mails:
        for _ in range(5):
            register(api, TAKEN)

    assert [mail.to for mail in mails] == [[TAKEN]] * 3
    assert not any("Bob" in mail.body or "Correct" in mail.body for mail in mails)
    assert Message.objects.filter(type="users.already_registered").count() == 3


def test_it_is_on_record(api, owner):
    register(api, TAKEN)

    event = recorded("user.registered")
    assert (event.user_id, event.outcome, event.data) == (owner.pk, "refused", {"why": "exists"})


def test_a_weak_password_is_refused_for_both(api):
    answers = [register(api, email, password="short").json() for email in (TAKEN, FREE)]

    assert answers[0]["detail"] == answers[1]["detail"]


def test_the_code_asked_for_next_is_answered_alike(api):
    register(api, TAKEN)
    register(api, FREE)

    taken, free = (api.call("POST", "/auth/request-verification-token", {"email": email}) for email in (TAKEN, FREE))

    assert (taken.status_code, list(taken.json())) == (free.status_code, list(free.json()))
    assert len(taken.json()["verification_token"]) == len(free.json()["verification_token"])


def test_both_hash_the_password(api, monkeypatch):
    """A hash is most of the time an answer takes; the rest is for a benchmark to show."""
    from users.services import hashing

    hashed = []
    amake = hashing.amake

    async def counting(password, *args):
        hashed.append(password)
        return await amake(password, *args)

    monkeypatch.setattr(hashing, "amake", counting)
    register(api, TAKEN)
    register(api, FREE)

    assert len(hashed) == 2


def test_by_default_a_seed_client_is_told(api, settings):
    settings.USERS_REGISTER_ENUMERATION = "seed"

    response = register(api, TAKEN)

    assert (response.status_code, response.json()["detail"]) == (
        400,
        {"code": "ErrorCode.REGISTER_USER_ALREADY_EXISTS"},
    )
