"""POST /api/register, the code, POST /api/auth/verify."""

import time

import pytest

from feature_flags.services import editing, segments
from lib.actors import Actor
from users.api import auth
from users.models import OneTimeToken, User
from users.services import tokens
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

ADA = {"email": "ada@example.org", "password": PASSWORD, "first_name": "Ada", "last_name": "Lovelace"}


def register(api, **changes):
    return api.call("POST", "/register", {**ADA, **changes})


def request_code(api, email="ada@example.org", **headers):
    return api.call("POST", "/auth/request-verification-token", {"email": email}, **headers).json()


def verify(api, token, code):
    return api.call("POST", "/auth/verify", {"token": token, "registration_code": code})


def close_registration():
    edit_registration(is_active=False)


def edit_registration(**changes):
    who = {"actor": Actor.command("test"), "reason": "test"}
    editing.edit(editing.get("FF_ENABLE_REGISTRATION"), changes, **who)


def only(field, operator, *values):
    return [{"constraints": [{"field": field, "operator": operator, "values": list(values)}]}]


@pytest.fixture(autouse=True)
def codes_in_answers(settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True


def test_registering_answers_with_the_new_person(api):
    response = register(api, email=" Ada@Example.ORG ")

    assert response.status_code == 201
    body = response.json()
    assert body == {
        "id": User.objects.get().pk.hex,
        "email": "ada@example.org",
        "first_name": "Ada",
        "last_name": "Lovelace",
    }
    assert not User.objects.get().is_verified


def test_registration_can_be_open_for_one_domain(api):
    edit_registration(rules=only("emailDomain", "IN", "example.org"))

    assert register(api, email="Ada@EXAMPLE.org").status_code == 201
    for address in ("ada@example.com", "ada@sub.example.org", "ada@example.org.evil.com", '"a@example.org"@evil.com'):
        assert register(api, email=address).status_code == 404, address


def test_registration_can_be_open_for_those_who_are_invited(api):
    who = {"actor": Actor.command("test")}
    invited = [{"field": "email", "operator": "IN", "values": ["ada@example.org"]}]
    segments.create_segment("Invited", constraints=invited, **who)
    edit_registration(rules=[{"segments": ["Invited"]}])

    assert register(api).status_code == 201
    assert register(api, email="eve@example.org").status_code == 404


def test_registration_can_be_open_for_one_network(api):
    edit_registration(rules=only("remoteAddress", "IN_CIDR", "192.0.2.0/24"))

    api.defaults["REMOTE_ADDR"] = "192.0.2.7"
    assert register(api).status_code == 201
    api.defaults["REMOTE_ADDR"] = "198.51.100.7"
    assert register(api, email="eve@example.org").status_code == 404


def test_registration_can_be_open_for_a_share_that_sticks_to_the_address(api):
    edit_registration(rules=[{"rollout_percent": 50, "stickiness": "email"}])
    people = [f"person{number}@example.org" for number in range(12)]

    first = [register(api, email=person).status_code for person in people]

    assert set(first) == {201, 404}
    assert [register(api, email=person.upper()).status_code for person in people] == first


def test_a_closed_registration_says_so_before_it_looks_at_the_password(api):
    edit_registration(rules=only("emailDomain", "IN", "example.com"))

    assert register(api, password="weak").status_code == 404
    assert register(api, email="no address").status_code == 422


def test_registering_is_refused_while_the_flag_is_off(api):
    close_registration()

    response = register(api)

    assert response.status_code == 404
    assert response.json()["detail"] == "Not Found"
    assert response.json()["code"] == "registration_disabled"
    assert not User.objects.exists()


def test_a_malformed_body_is_422_even_while_registration_is_closed(api):
    close_registration()

    assert register(api, email="nonsense").status_code == 422


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("Ab1!", "TOO_SHORT"),
        ("A1!" + "a" * 1022, "TOO_LONG"),
        ("correct-7", "NO_UPPERCASE"),
        ("CORRECT-7", "NO_LOWERCASE"),
        ("Correct-x", "NO_NUMBER"),
        ("Correct77", "NO_SPECIAL_CHAR"),
        ("Correct7?", "NO_SPECIAL_CHAR"),
        ("Password1!", "TOO_COMMON"),
        ("P@ssw0rd!1", "TOO_COMMON"),
        ("Babbage-7!", "CONTAINS_ADDRESS"),
        ("Switchboard-7!", "CONTAINS_ADDRESS"),
    ],
)
def test_a_weak_password_is_refused_with_its_first_broken_rule(api, password, reason):
    response = register(api, email="babbage@example.org", password=password)

    assert response.status_code == 400
    assert response.json()["detail"] == {"code": "ErrorCode.REGISTER_INVALID_PASSWORD", "reason": reason}
    assert not User.objects.exists()


def test_a_long_passphrase_needs_no_classes(api):
    assert register(api, password="four quiet words here").status_code == 201


def test_every_byte_of_a_long_password_counts(api):
    long = "x" * 8 + "quite long words " * 6
    register(api, password=long)
    answer = request_code(api)
    verify(api, answer["verification_token"], answer["registration_code"])

    assert api.login_form("ada@example.org", long[:-1] + "y").status_code == 400
    assert api.login_form("ada@example.org", long).status_code == 200


def test_a_verified_address_cannot_be_registered_again(api):
    UserFactory.create(email="ada@example.org")

    response = register(api, email="ADA@example.org")

    assert response.status_code == 400
    assert response.json()["detail"] == {"code": "ErrorCode.REGISTER_USER_ALREADY_EXISTS"}


def test_an_unverified_address_again_is_the_same_account_with_the_callers_names(api):
    first = register(api).json()

    again = register(api, first_name="Augusta", password="Another-Horse-8")

    assert again.status_code == 201
    assert again.json() == {**first, "first_name": "Augusta"}
    assert User.objects.count() == 1


@pytest.mark.parametrize("field", ["email", "password", "first_name", "last_name"])
def test_each_field_is_required_and_named(api, field):
    body = {key: value for key, value in ADA.items() if key != field}

    response = api.call("POST", "/register", body)

    assert response.status_code == 422
    assert response.json()["detail"] == [{"type": "missing", "loc": ["body", field], "msg": "Field required"}]


@pytest.mark.parametrize(
    "changes",
    [
        {"email": "a" * 250 + "@example.org"},
        {"email": "ada@exam ple.org"},
        {"email": "ada@\x00example.org"},
        {"first_name": "x" * 151},
        {"last_name": "nul\x00"},
        {"first_name": "\ud800"},
        {"password": "Correct-\ud800-7"},
        {"first_name": None},
        {"first_name": 7},
    ],
)
def test_text_that_cannot_be_stored_is_422_and_not_repeated(api, changes):
    response = register(api, **changes)

    assert response.status_code == 422
    assert set(response.json()["detail"][0]) == {"type", "loc", "msg"}
    assert PASSWORD not in response.content.decode()


def test_the_code_opens_the_account(api, outbox):
    register(api)
    with outbox() as mails:
        answer = request_code(api)

    assert [mail.subject for mail in mails] == ["Registration Code"]
    assert answer["registration_code"] in mails[0].body
    assert verify(api, answer["verification_token"], answer["registration_code"]).json() == {"verified": True}
    assert api.login_form("ada@example.org").status_code == 200


def test_verifying_sends_the_welcome_mail(api, outbox, settings):
    register(api)
    answer = request_code(api)

    with outbox() as mails:
        verify(api, answer["verification_token"], answer["registration_code"])

    assert [mail.subject for mail in mails if mail.subject != "Registration Code"] == ["Welcome!"]
    assert f"{settings.APP_URL}/login" in mails[-1].body


@pytest.mark.parametrize("make", [lambda: None, lambda: UserFactory.create(email="ada@example.org")])
def test_unknown_and_verified_addresses_get_the_same_answer_and_no_mail(api, outbox, make):
    make()

    with outbox() as mails:
        response = api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"})

    assert response.status_code == 200
    assert list(response.json()) == ["verification_token"]
    assert len(response.json()["verification_token"]) == 54
    assert mails == []


def test_an_inactive_account_gets_no_code(api, outbox):
    UserFactory.create(email="ada@example.org", unverified=True, inactive=True)

    with outbox() as mails:
        answer = request_code(api)

    assert list(answer) == ["verification_token"]
    assert mails == []


def test_the_token_holds_no_code(api):
    register(api)
    answer = request_code(api)

    import base64

    token = answer["verification_token"]
    decoded = base64.urlsafe_b64decode(token + "==")
    assert answer["registration_code"].encode() not in decoded
    assert int(answer["registration_code"]).to_bytes(4, "big") not in decoded
    assert int(answer["registration_code"]).to_bytes(4, "little") not in decoded


def test_five_wrong_codes_void_the_right_one(api):
    register(api)
    answer = request_code(api)
    wrong = "100000" if answer["registration_code"] != "100000" else "100001"

    for _ in range(5):
        assert verify(api, answer["verification_token"], wrong).status_code == 400
    response = verify(api, answer["verification_token"], answer["registration_code"])

    assert response.status_code == 400
    assert response.json()["detail"] == "ErrorCode.VERIFY_USER_BAD_TOKEN"


@pytest.mark.parametrize(
    ("token", "code"),
    [("", ""), ("junk", "123456"), ("é" * 54, "123456"), ("A" * 54, "123456"), (".." * 5000, "x" * 100_000)],
)
def test_junk_at_verify_is_400(api, token, code):
    assert verify(api, token, code).json()["detail"] == "ErrorCode.VERIFY_USER_BAD_TOKEN"


def test_a_wrong_code_takes_as_long_for_an_address_nobody_registered(api, monkeypatch):
    register(api)
    waiting = request_code(api)["verification_token"]
    unknown = request_code(api, "nobody@example.org")["verification_token"]
    monkeypatch.setattr(auth, "MAIL_SECONDS", 0.2)

    for token in (waiting, unknown):
        began = time.monotonic()
        assert verify(api, token, "000000").status_code == 400
        assert time.monotonic() - began >= 0.2


def test_a_code_as_a_number_is_422(api):
    response = api.call("POST", "/auth/verify", {"token": "x", "registration_code": 123456})

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "registration_code"]


def test_a_code_works_once(api):
    register(api)
    answer = request_code(api)

    assert verify(api, answer["verification_token"], answer["registration_code"]).status_code == 200
    assert verify(api, answer["verification_token"], answer["registration_code"]).status_code == 400


def test_a_new_code_voids_the_one_before_and_forgives_its_tries(api):
    register(api)
    first = request_code(api)
    verify(api, first["verification_token"], "100000")
    second = request_code(api)

    assert second["verification_token"] == first["verification_token"]
    assert OneTimeToken.objects.get().attempts == 0
    if first["registration_code"] != second["registration_code"]:
        assert verify(api, second["verification_token"], first["registration_code"]).status_code == 400
    assert verify(api, second["verification_token"], second["registration_code"]).status_code == 200


def test_an_expired_code_is_refused(api):
    register(api)
    answer = request_code(api)
    row = OneTimeToken.objects.get()
    OneTimeToken.objects.update(code_expires_at=row.created_at)

    assert verify(api, answer["verification_token"], answer["registration_code"]).status_code == 400


def test_a_foreign_token_does_not_fit_the_code(api):
    register(api)
    register(api, email="eve@example.org")
    ada, eve = request_code(api), request_code(api, "eve@example.org")

    assert verify(api, eve["verification_token"], ada["registration_code"]).status_code == 400


def test_a_code_of_an_earlier_try_does_not_bring_its_password_back(api):
    register(api, password="Forgotten-Horse-1")
    old = request_code(api)
    register(api)
    request_code(api)

    assert verify(api, old["verification_token"], old["registration_code"]).status_code == 200
    assert api.login_form("ada@example.org", "Forgotten-Horse-1").status_code == 400
    assert api.login_form("ada@example.org").status_code == 200


def test_beyond_the_mail_limit_the_code_stays_and_nothing_is_sent(api, outbox):
    register(api)
    answers = [request_code(api) for _ in range(3)]
    with outbox() as mails:
        fourth = request_code(api)

    assert fourth == answers[-1]
    assert [mail for mail in mails if mail.subject == "Registration Code"] == []
    assert verify(api, fourth["verification_token"], fourth["registration_code"]).status_code == 200


@pytest.mark.parametrize("name", ["Win a prize at http://evil.example", "www.evil.example", "A" * 60, "a\r\nb"])
def test_a_mail_to_an_unproved_address_carries_no_text_of_strangers(api, outbox, name):
    register(api, first_name=name)

    with outbox() as mails:
        request_code(api)

    assert name not in mails[0].body
    assert "evil" not in mails[0].body


def test_no_secret_rests_in_the_database(api):
    from notifications.models import Message

    register(api)
    answer = request_code(api)

    stored = " ".join(str(row) for row in (*Message.objects.values(), *OneTimeToken.objects.values()))
    assert answer["registration_code"] not in stored
    assert answer["verification_token"] not in stored


def test_rotated_keys_go_on_reading(api, settings):
    register(api)
    answer = request_code(api)
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-secret-of-at-least-32-characters"

    assert tokens.one_time_key_id("verify") != OneTimeToken.objects.get().key_id
    assert verify(api, answer["verification_token"], answer["registration_code"]).status_code == 200
