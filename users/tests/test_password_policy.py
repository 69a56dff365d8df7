"""Which passwords are taken, through every door that sets one."""

import random
import string

import pytest
from django.core.management import CommandError, call_command

from users.models import MfaDevice, User
from users.services import guessable
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db

COMMON = """
    Password1! P@ssw0rd123 P@$$w0rd1 Passw0rd! Qwerty123! Qwer1234! Qwertyuiop1! Welcome2024! Welcome@1
    Summer2025! Winter2023! Spring@2024 Abcd1234! 1234Abcd! Abc@1234 Abc123!@# Admin@123 Administrator1!
    Test1234! Test@1234 Changeme1! Letmein1! Iloveyou1! Company123! Monday1! January2024! 1qaz@WSX !QAZ2wsx
    Zaq12wsx! 1Q2w3e4r! Q1w2e3r4! A1b2c3d4! Asdf1234! Zxcvbnm123! Aa123456! Aa12345678! 12345678Aa! Aa1!Aa1!
    Abc1!Abc1! Hello123! India@123 Secret123! Master123! Dragon1! Football1! Trustno1! Superman1! Michael1!
    Sunshine1! Azerty123! Pokemon1! Starwars1! Computer1! !!Password11 1Password!
"""
GOOD = """
    Correct-Horse-7 Analytical-1843 Grace-Hopper-1906! tr0ub4dor&3X Maple-Syrup-42 Blue-Whale#19
    Rainy-Tuesday-88 Lisbon-by-tram-28 Zwölf-Bären-12 xK9#mQ2$vL correcthorsebatterystaple
    thequickbrownfoxjumps ⚓boat⚓house⚓light⚓gate
"""


def register(api, password, email="ada.lovelace@example.org"):
    body = {"email": email, "password": password, "first_name": "Ada", "last_name": "L"}
    return api.call("POST", "/register", body)


def reason(response):
    return "" if response.status_code == 201 else response.json()["detail"]["reason"]


@pytest.mark.parametrize("password", COMMON.split())
def test_common_ones_are_refused_though_they_have_all_classes(api, password):
    assert reason(register(api, password)) == "TOO_COMMON"


@pytest.mark.parametrize("password", GOOD.split())
def test_good_ones_are_taken(api, password):
    assert register(api, password).status_code == 201


def test_random_ones_are_not_taken_for_common_ones():
    draw = random.Random(7)
    characters = string.ascii_letters + string.digits + "@#$%^&+=!-_"
    made = ["".join(draw.choices(characters, k=10)) for _ in range(5000)]

    assert sum(map(guessable.is_guessable, made)) <= 25


@pytest.mark.parametrize(
    "password",
    ["Ada.Lovelace-7", "My-Lovelace-7", "L0velace#1843", "x-EXAMPLE-77-Y", "Switchboard-7!", "My-Sw1tchb0ard-7"],
)
def test_pieces_of_the_address_and_the_products_name_are_refused(api, password):
    assert reason(register(api, password)) == "CONTAINS_ADDRESS"


@pytest.mark.parametrize("password", ["Ada-Wrote-Notes-1", "Bernoulli-By-Org-8"])
def test_short_pieces_of_the_address_are_no_hint(api, password):
    assert register(api, password).status_code == 201


@pytest.mark.parametrize("length", [8, 1024])
def test_the_shortest_and_the_longest(api, length):
    password = ("Aq1!" + "zxTm9-uEwp4#kRv" * 80)[:length]

    assert register(api, password).status_code == 201
    assert reason(register(api, ("Aq1!" + "zxTm9-uEwp4#kRv" * 80)[:1025])) == "TOO_LONG"


@pytest.mark.parametrize(
    "password", ["  Spaces-At-Both-Ends-7  ", "Ünïcödé-Pässwörd-7", "Ｆｕｌｌ-Width-Horse-7", "n\u0303-Not-Composed-7"]
)
def test_passwords_are_used_exactly_as_typed(api, password):
    user = UserFactory.create(email="ada@example.net")
    out = User.objects.get(pk=user.pk)
    call_command("reset_user_password", out.email, password)

    assert api.login_form(user.email, password).status_code == 200
    for other in (password.strip(), password.lower(), password[:-1], password + " ", password.replace("\u0303", "")):
        if other != password:
            assert api.login_form(user.email, other).status_code == 400


def test_every_character_of_a_long_one_counts(api):
    password = "".join(random.Random(3).choices(string.ascii_letters, k=1024))
    user = UserFactory.create(email="ada@example.net")
    call_command("reset_user_password", user.email, password)

    assert api.login_form(user.email, password[:-1] + "!").status_code == 400
    assert api.login_form(user.email, password).status_code == 200


def test_nist_asks_for_length_alone_and_for_less_beside_a_factor(api, settings, user):
    settings.USERS_PASSWORD_POLICY = "nist"

    assert reason(register(api, "short but fine")) == "TOO_SHORT"
    assert register(api, "all lower case, long").status_code == 201
    assert reason(register(api, "passwordpasswordpassword")) == "TOO_COMMON"
    with pytest.raises(CommandError, match="too short"):
        call_command("reset_user_password", user.email, "bookcase")
    MfaDevice.objects.create(user=user, kind="totp", confirmed_at=user.created_at)
    call_command("reset_user_password", user.email, "bookcase-tiger")
