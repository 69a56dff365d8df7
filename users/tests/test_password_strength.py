"""Which passwords are refused, through every door, and that the others are taken exactly as they are typed."""

import getpass
import io
import json
import random
import string
import sys
import time
from unicodedata import normalize

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client

from users.models import AuditEvent, User
from users.services import password_strength
from users.services.hashing import one_spelling
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

#: Satisfy the classes of the seed, and stand in every list that guessers start with.
COMMON = """
    Password1! P@ssw0rd123 P@ssw0rd! Pa$$w0rd1 Passw0rd#1 PaSsWoRd1! Pass@word1 Password@2024 My_Password1
    1Password! MyP@ssw0rd1 Drowssap1! Qwerty123! Qwerty!@#123 Qwertyuiop1! Qwertz123! Azerty123! 1qaz@WSX !QAZ2wsx
    Zaq12wsx! Q1w2e3r4! 1q2w3e4R! Qazwsx123! Asdfgh1! Zxcvbnm1! 123qweASD! 1234Qwer! Abcd1234! Abc@12345 Abc123!@#
    A1b2c3d4! Aa123456@ 123456Aa! Aaaa1111! 112233Aa! Welcome1! Welcome2024! W3lc0me! Welkom01! Welcome@123
    Letmein123! L3tm31n! Admin@123 Adm1n123! @dmin123A Administrator1! Root@123 Test@1234 Demo@123 Guest@123
    Temp1234! Changeme1! Changeit1! Secret123! Login123! Support1! Cisco@123 Oracle123! Office365! Windows11!
    Summer2025! Summer_2025 Winter#2024 Spring2024! Sommer2024! Hiver2024! January2024! October24! Monday123!
    Christmas2024! Happy2024! Football1! Liverpool#1 Arsenal1! Fenerbahce1907! Yankees1! Michael1986! Jessica1!
    Jordan23! Rahul@123 India@123 London2024! Iloveyou1! Iloveyou@2 Jesus123! Princess1! Monkey123! Dragon#1
    Sunshine1! Shadow123! Trustno1! Pokemon123! Superman1! Blink182! Covid-19! Company123! Google@123
    Supersecret1! P-a-s-s-w-o-r-d-1! PPaasssswwoorrdd11!! Welcome1!Welcome1! Aa1!Aa1!Aa1!
    S1d2f3g4h5! Z9x8c7v6b!
    """.split()  # noqa: SIM905 (one a line is four screens)

#: Long enough to need no classes.
COMMON_AND_LONG = [
    "password password",
    "passwordpasswordpassword",
    "Password123456789",
    "iloveyouiloveyou",
    "thisismypassword",
    "correct horse battery staple",
    "the quick brown fox",
    "qwertyuiopasdfghjkl",
    "1qaz2wsx3edc4rfv",
    "abcdefghijklmnopqrstuvwxyz",
    "123456789012345",
    "111111111111111a",
    "Summer2025Summer2025!",
    "p a s s w o r d 1 2 3",
    "Ｐａｓｓｗｏｒｄ１２３４５６！",
    "a" * 1024,
    "ab" * 512,
]

GOOD = [
    "Tr0ub4dor&3",
    "Kq7-petunia",
    "Zebra!cello9",
    "Nine-Teapots7",
    "GreenTea&Toast5",
    "xQ7$kL9!",
    "my cat sleeps on the piano",
    "Blue kettle, seven spoons",
    "summer holidays by the lake",
    "ich mag keinen Rosenkohl",
    "la pluie tombe sur Brest",
    "пять зелёных чайников",
    "私の猫は魚が嫌いです本当に長い",
]

#: As typed: spaces at the ends, a letter in two code points, characters of every width, and the longest there may be.
EXACT = [
    "  Otter & Lamp 42  ",
    "Cafe\N{COMBINING ACUTE ACCENT} au lait 7!",
    "\N{LATIN SMALL LIGATURE FI}ne weather 7! \N{FULLWIDTH LATIN CAPITAL LETTER A} \N{KELVIN SIGN}elvin\t\N{OTTER}",
    "".join(random.Random(7).choices(string.ascii_letters + string.digits, k=1023)) + "!",
]


def others(password):
    """What a careless door would take for the same."""
    near = {password.strip(), password[:-1], password[:72], password.lower(), password + " "}
    near |= {normalize(form, password) for form in ("NFC", "NFD", "NFKC", "NFKD")}
    return near - {password}


def register(api, password, email="ada@example.com"):
    body = {"email": email, "password": password, "first_name": "Ada", "last_name": "Lovelace"}
    return api.call("POST", "/register", body)


def refusal(response):
    return response.status_code, response.json()["detail"]["reason"]


# --- What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", [*COMMON, *COMMON_AND_LONG])
def test_a_common_password_is_refused_whatever_its_classes(api, password):
    assert refusal(register(api, password)) == (400, "TOO_COMMON")
    assert not User.objects.exists()


@pytest.mark.parametrize("password", GOOD)
def test_a_good_password_is_taken(api, password):
    assert register(api, password).status_code == 201


def test_random_passwords_are_hardly_ever_refused():
    rng = random.Random(2)
    kinds = (string.ascii_lowercase, string.ascii_uppercase, string.digits, "@#$%^&+=!*-_")

    def made(length):
        characters = [rng.choice(kind) for kind in kinds] + rng.choices("".join(kinds), k=length - len(kinds))
        return "".join(rng.sample(characters, length))

    assert sum(password_strength.is_guessable(made(8)) for _ in range(2000)) <= 15
    assert sum(password_strength.is_guessable(made(12)) for _ in range(2000)) <= 1
    assert not any(password_strength.is_guessable(made(16)) for _ in range(500))


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("babbage@example.org", "Babbage-7!x"),
        ("BABBAGE@example.org", "xx-bAbbAgE-77"),
        ("babbage@example.org", "B4bb@g3-7!x"),
        ("grace.hopper@example.org", "Hopper-xk-7!"),
        ("grace.hopper@example.org", "xx7-GraceHopper"),
        ("grace_hopper+shop@example.org", "our hopper is full of grain"),
        ("grace@navy.mil", "Navy-4711-xk"),
        ("grace@navy.mil", "myNavy-4711"),
        ("grace@mail.lovelace-works.co.uk", "The-Lovelace-77"),
        ("ada@example.com", "Switchboard-7!"),
        ("ada@example.com", "5w1tchb0@rd-Xk!"),
        ("ada@example.com", "the old switchboard hums"),
    ],
)
def test_no_part_of_the_address_or_the_product(api, email, password):
    assert refusal(register(api, password, email)) == (400, "CONTAINS_ADDRESS")


@pytest.mark.parametrize(
    ("email", "password"),
    [
        ("ada@cat.org", "Adamant-Cats-7"),
        ("x@team.com", "Steamboat#42x"),
        ("ann.berg@example.org", "Ponyherberge-42"),
        ("ada@mail.org", "Mail-me-a-Zebra-7"),
        ("ada@example.online", "an online shop for otters"),
    ],
)
def test_short_and_meaningless_parts_forbid_nothing(api, email, password):
    assert register(api, password, email).status_code == 201


def test_the_first_broken_rule_is_told(api):
    reasons = {
        "Pass-1": "TOO_SHORT",
        "A1!" + "a" * 1022: "TOO_LONG",
        "password1!": "NO_UPPERCASE",
        "PASSWORD1!": "NO_LOWERCASE",
        "Password!": "NO_NUMBER",
        "Password1": "NO_SPECIAL_CHAR",
        "Example-1!": "TOO_COMMON",
    }

    assert {password: refusal(register(api, password))[1] for password in reasons} == reasons


def test_nist_asks_for_length_alone(api, settings):
    settings.USERS_PASSWORD_POLICY = "nist"

    assert refusal(register(api, "Nine-Teapots7")) == (400, "TOO_SHORT")
    assert refusal(register(api, "passwordpassword")) == (400, "TOO_COMMON")
    assert refusal(register(api, "the old switchboard hums")) == (400, "CONTAINS_ADDRESS")
    assert register(api, "nine teapots in a row").status_code == 201


def test_nist_beside_a_second_factor_asks_for_eight(settings):
    settings.USERS_PASSWORD_POLICY = "nist"

    assert password_strength.broken_rule("seven-7", email="ada@example.com", has_factor=True) == "TOO_SHORT"
    assert password_strength.broken_rule("kwx-otter", email="ada@example.com", has_factor=True) is None
    assert password_strength.broken_rule("Welcome1", email="ada@example.com", has_factor=True) == "TOO_COMMON"


@pytest.mark.parametrize(
    "password",
    [
        "a" * 1024,
        "aB1!" * 256,
        ("password1!" * 103)[:1023] + "x",
        "1qaz2wsx" * 128,
        "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 1024,  # 18 letters each, once normalised
        "".join(random.Random(1).choices(string.printable, k=1024)),
        "-" * 1023 + "a",
        "1" * 1023 + "a",
    ],
)
def test_the_longest_password_is_judged_at_once(password):
    email = "ab" + ".xyzw" * 12 + "@" + "team." * 30 + "example"
    password_strength.broken_rule(password, email=email)

    started = time.process_time()
    password_strength.broken_rule(password, email=email)

    assert time.process_time() - started < 0.5


# --- Exact use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", EXACT)
def test_what_was_registered_signs_in_and_nothing_like_it(api, settings, password):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    assert register(api, password).status_code == 201
    asked = api.call("POST", "/auth/request-verification-token", {"email": "ada@example.com"}).json()
    verified = {"token": asked["verification_token"], "registration_code": asked["registration_code"]}
    assert api.call("POST", "/auth/verify", verified).status_code == 200

    for place, other in enumerate(sorted(others(password))):
        api.defaults["REMOTE_ADDR"] = f"198.51.{place}.7"
        is_same = one_spelling(other) == one_spelling(password)
        assert api.login_form("ada@example.com", other).status_code == (200 if is_same else 400)
    assert api.login_form("ada@example.com", password).status_code == 200


@pytest.mark.parametrize("password", EXACT)
def test_what_was_reset_signs_in_at_the_api_and_the_admin(api, settings, superuser, password):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    token = api.call("POST", "/auth/forgot-password", {"email": superuser.email}).json()["forgot_password_token"]
    body = {"email": superuser.email, "token": token, "password": password}

    assert api.call("POST", "/auth/reset-password", body).status_code == 200

    assert api.login_form(superuser.email, password).status_code == 200
    form = {"username": superuser.email, "next": "/admin/"}
    wrong = Client(REMOTE_ADDR="198.51.100.9").post("/admin/login/", {**form, "password": password[:-1]})
    assert wrong.status_code == 200
    assert Client().post("/admin/login/", {**form, "password": password}).status_code == 302


@pytest.mark.parametrize("password", EXACT)
def test_what_staff_chose_signs_in(api, staff_client, superuser, password):
    fields = {"old_password": PASSWORD, "new_password1": password, "new_password2": password}

    assert staff_client.post("/admin/password_change/", fields).status_code == 302

    assert api.login_form(superuser.email, password[:-1]).status_code == 400
    assert api.login_form(superuser.email, password).status_code == 200
    # As the old password, too, it is taken as typed.
    again = {"old_password": password, "new_password1": PASSWORD, "new_password2": PASSWORD}
    assert staff_client.post("/admin/password_change/", again).status_code == 302


@pytest.mark.parametrize("password", EXACT)
@pytest.mark.parametrize("way", ["argument", "stdin"])
def test_what_an_operator_set_signs_in(api, user, monkeypatch, way, password):
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n", newline=""))
    given = [password] if way == "argument" else ["--stdin"]

    call_command("reset_user_password", user.email, *given, stdout=io.StringIO(), stderr=io.StringIO())

    assert api.login_form(user.email, password[:-1]).status_code == 400
    assert api.login_form(user.email, password).status_code == 200


def test_a_password_in_a_json_escape_is_the_same_password(api, user, settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    token = api.call("POST", "/auth/forgot-password", {"email": user.email}).json()["forgot_password_token"]
    body = {"email": user.email, "token": token, "password": "Zwölf Otter 🦦 schlafen"}

    assert api.call("POST", "/auth/reset-password", json.dumps(body, ensure_ascii=True)).status_code == 200

    assert api.login_form(user.email, "Zwölf Otter 🦦 schlafen").status_code == 200


# --- The same policy at every door ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("password", "reason"), [("Summer2025!", "TOO_COMMON"), ("Babbage-7!x", "CONTAINS_ADDRESS")])
def test_every_door_refuses_alike(api, settings, password, reason):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    boss = UserFactory.create(superuser=True, email="babbage@example.com")
    staff = Client()
    staff.force_login(boss)
    token = api.call("POST", "/auth/forgot-password", {"email": boss.email}).json()["forgot_password_token"]
    body = {"email": boss.email, "token": token, "password": password}
    fields = {"old_password": PASSWORD, "new_password1": password, "new_password2": password}
    words = password_strength.MESSAGES[reason]

    assert refusal(api.call("POST", "/auth/reset-password", body)) == (400, reason)
    assert words in staff.post("/admin/password_change/", fields).context["form"].errors["new_password2"]
    with pytest.raises(CommandError, match=words):
        call_command("reset_user_password", boss.email, password, stderr=io.StringIO())
    with pytest.raises(ValidationError, match=words):
        password_strength.PolicyValidator().validate(password, boss)
    assert api.login_form(boss.email).status_code == 200


def test_django_s_own_commands_ask_the_policy(db, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(getpass, "getpass", lambda *args, **kwargs: "Summer2025!")
    monkeypatch.setattr(sys, "stdin", Terminal("n\n" * 9))
    with pytest.raises(EOFError):
        call_command("createsuperuser", email="root@example.org", stdin=sys.stdin)

    assert password_strength.MESSAGES["TOO_COMMON"] in capsys.readouterr().err


def test_a_password_from_the_environment_is_held_to_the_policy(db, monkeypatch):
    def created(password, email="root@example.org"):
        monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", password)
        call_command("createsuperuser", interactive=False, email=email, verbosity=0)

    for weak in ("a", "Summer2025!"):
        with pytest.raises(CommandError, match="DJANGO_SUPERUSER_PASSWORD"):
            created(weak)
    for email, why in (("\udcff@example.org", "valid email"), ("root@b\u00adücher.example", "cannot be seen")):
        with pytest.raises(CommandError, match=why):
            created("Str0ng-Horse-77", email)
    assert not User.objects.exists()

    created("Str0ng-Horse-77")

    assert User.objects.get().is_superuser
    assert AuditEvent.objects.get().actor == "command:createsuperuser"


def test_the_form_says_what_is_asked_for(staff_client, settings):
    page = staff_client.get("/admin/password_change/").content.decode()
    assert "current advice is against such rules" in page

    settings.USERS_PASSWORD_POLICY = "nist"
    page = staff_client.get("/admin/password_change/").content.decode()
    assert "At least 15 characters of any kind" in page
    assert "special character" not in page
