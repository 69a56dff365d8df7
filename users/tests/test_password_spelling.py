"""A password is the same whichever way a keyboard spells its letters."""

from unicodedata import normalize

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher, get_hasher
from django.core.management import call_command

from users.models import RateBucket, User
from users.services import hashing
from users.tests.factories import UserFactory
from users.tests.seed_database import hashed

pytestmark = pytest.mark.django_db

NFC = normalize("NFC", "Zürich-Café-77")
NFD = normalize("NFD", NFC)


def stored_as_typed(password):
    """As releases before the one spelling hashed it."""
    hasher = get_hasher("argon2")
    return Argon2PasswordHasher.encode(hasher, password, hasher.salt())


@pytest.mark.parametrize(("chosen", "typed"), [(NFC, NFD), (NFD, NFC), (NFD, NFD)])
def test_every_keyboard_signs_in_with_what_another_has_chosen(api, settings, chosen, typed):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    wish = {"email": "ada@example.org", "password": chosen, "first_name": "Ada", "last_name": "L"}
    assert api.call("POST", "/register", wish).status_code == 201
    asked = api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"}).json()
    body = {"token": asked["verification_token"], "registration_code": asked["registration_code"]}
    assert api.call("POST", "/auth/verify", body).status_code == 200

    assert api.login_form("ada@example.org", typed).status_code == 200
    assert not RateBucket.objects.filter(scope="login", count__gt=0).exists()


@pytest.mark.parametrize("stored", [lambda typed: f"bcrypt${hashed(typed)}", stored_as_typed], ids=["bcrypt", "argon2"])
def test_an_old_hash_is_tried_as_typed_and_then_takes_the_one_spelling(api, stored):
    user = UserFactory.create(password=stored(NFD))

    assert api.login_form(user.email, NFD).status_code == 200
    assert api.login_form(user.email, NFC).status_code == 200
    assert api.login_form(user.email, NFD).status_code == 200


def test_an_old_hash_of_the_composed_form_is_found_too(api):
    user = UserFactory.create(password=f"bcrypt${hashed(NFC)}")

    assert api.login_form(user.email, NFD).status_code == 200


@pytest.mark.parametrize("email", ["known@example.org", "unknown@example.org"])
@pytest.mark.parametrize(("typed", "comparisons"), [(NFC + "x", 1), (NFD + "x", 2), ("Wrong-Horse-7", 1)])
def test_a_wrong_password_costs_and_counts_the_same_whoever_is_asked(api, monkeypatch, email, typed, comparisons):
    UserFactory.create(email="known@example.org", password=stored_as_typed(NFC))
    hashing.prepare_decoys()
    made = []
    verify = hashing.Argon2idHasher.verify
    monkeypatch.setattr(hashing.Argon2idHasher, "verify", lambda *given: made.append(1) or verify(*given))

    for _ in range(5):
        assert api.login_form(email, typed).status_code == 400

    assert len(made) == 5 * comparisons
    assert api.login_form(email, NFC).json()["code"] == "login_paused"


@pytest.mark.parametrize("typed", [NFC, NFD])
def test_changing_and_resetting_and_commands_know_one_spelling(api, typed):
    user = UserFactory.create()
    call_command("reset_user_password", user.email, NFD)
    api.log_in(user, typed)

    body = {"current_password": typed, "new_password": NFD + "-8"}
    assert api.call("POST", "/auth/change-password", body).status_code == 200

    assert User.objects.get().password != user.password
    assert api.login_form(user.email, NFC + "-8").status_code == 200


def test_createsuperuser_knows_one_spelling(api, monkeypatch):
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", NFD)

    call_command("createsuperuser", interactive=False, email="root@example.org", verbosity=0)

    assert api.login_form("root@example.org", NFC).status_code == 200


@pytest.mark.parametrize("typed", [NFC, NFD])
def test_a_fresh_proof_is_given_in_either(api, typed):
    user = UserFactory.create()
    api.log_in(user)
    User.objects.update(password=stored_as_typed(NFC))

    assert api.call("POST", "/auth/reauthenticate", {"password": typed}).status_code == 200


@pytest.mark.parametrize("typed", [NFC, NFD])
def test_staff_sign_in_with_either(client, typed, settings):
    settings.USERS_STAFF_MFA = "optional"
    UserFactory.create(superuser=True, email="root@example.org", password=get_hasher("argon2").encode(NFD, "saltsalt"))

    answer = client.post("/admin/login/", {"username": "root@example.org", "password": typed})

    assert answer.status_code == 302


def test_the_policy_counts_the_letters_people_see(api):
    wish = {"email": "ada@example.org", "password": normalize("NFD", "Äü1-é"), "first_name": "", "last_name": ""}

    answer = api.call("POST", "/register", wish)

    assert answer.json()["detail"]["reason"] == "TOO_SHORT"


def test_a_text_of_many_marks_takes_no_time():
    assert hashing.one_spelling("a" + "\u0301\u0316" * 400_000).startswith("a\u0301\u0316")
