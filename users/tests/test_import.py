"""`import_compose_stack`, against a database made by the seed's own schema."""

import io
import json
import re
import string
import uuid
from datetime import UTC, datetime

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from conftest import ApiClient
from feature_flags.models import FeatureFlag, FlagRevision
from notifications.models import Message
from users.models import AuditEvent, MfaDevice, User
from users.tests.factories import UserFactory
from users.tests.seed_database import hashed, seed_database

pytestmark = pytest.mark.django_db
PASSWORD = "Old-Password-7"
HASH = hashed(PASSWORD)


@pytest.fixture(scope="module")
def database():
    try:
        with seed_database() as seed:
            yield seed
    except psycopg.OperationalError:
        pytest.skip("no PostgreSQL at TEST_DATABASE_URL or 127.0.0.1:5432")


@pytest.fixture
def seed(database, monkeypatch):
    database.execute("TRUNCATE users, feature_flags")
    monkeypatch.setenv("SEED_URL", database.dsn)
    return database


def run(*arguments):
    """The report, and whether rows were rejected."""
    out = io.StringIO()
    try:
        call_command("import_compose_stack", "--dsn-env", "SEED_URL", "--json", *arguments, stdout=out)
    except CommandError as error:
        assert error.returncode == 1, error  # noqa: PT017 (both ends are looked at)
        return json.loads(out.getvalue()), True
    return json.loads(out.getvalue()), False


def refusal(*arguments):
    with pytest.raises(CommandError) as caught:
        call_command("import_compose_stack", *arguments, stdout=io.StringIO(), stderr=io.StringIO())
    return caught.value.returncode, str(caught.value)


def test_an_account_comes_with_all_it_had(seed):
    row = seed.add(
        email="  Ada@Example.ORG ",
        hashed_password=HASH,
        first_name="Ada",
        last_name=None,
        created_by="an-admin",
        last_login=datetime(2025, 3, 1, 12, 0),
        verified_on=datetime(2024, 5, 1, 8, 30),
        created_on=datetime(2024, 5, 1, 8, 0, tzinfo=UTC),
        updated_on=datetime(2025, 3, 1, 12, 0, tzinfo=UTC),
    )

    report, rejected = run()

    user = User.objects.get()
    assert not rejected
    assert report["users"] == {"read": 1, "created": 1, "updated": 0, "kept": 0, "rejected": []}
    assert (user.pk.hex, user.email, user.first_name, user.last_name) == (row, "ada@example.org", "Ada", "")
    assert user.last_login == datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
    assert user.email_verified_at == datetime(2024, 5, 1, 8, 30, tzinfo=UTC)
    assert user.created_at == datetime(2024, 5, 1, 8, 0, tzinfo=UTC)
    assert user.updated_at == datetime(2025, 3, 1, 12, 0, tzinfo=UTC)
    assert (user.created_by, user.updated_by, user.is_active, user.must_reset) == (
        "an-admin",
        "import:compose-stack",
        True,
        False,
    )
    event = AuditEvent.objects.get()
    assert (event.event, event.user_id, event.door, event.actor) == (
        "user.imported",
        user.pk,
        "import",
        "import:compose-stack",
    )


@pytest.mark.parametrize("password", [PASSWORD, "Long-Password-7" * 10, "Ünïcode-Pässword-7" * 5])
def test_people_sign_in_with_their_old_password_and_get_a_new_hash(seed, api, password):
    seed.add(email="Ada@Example.org", hashed_password=hashed(password))
    run()
    assert User.objects.get().password.startswith("bcrypt$$2b$")

    assert api.login_form("ADA@example.org", "Wrong-Horse-7").status_code == 400
    assert api.login_form("ADA@example.org", password).status_code == 200
    assert User.objects.get().password.startswith("argon2$")
    assert api.login_form("ada@example.org", password).status_code == 200


@pytest.mark.parametrize("kind", ["$2a$", "$2b$", "$2y$"])
def test_every_kind_of_bcrypt_is_taken(seed, api, kind):
    seed.add(email="ada@example.org", hashed_password=kind + HASH[4:])
    run()

    assert api.login_form("ada@example.org", PASSWORD).status_code == 200


@pytest.mark.parametrize(
    "stored", [None, "", "plain", "$2b$12$short", "pbkdf2_sha256$1$a$b", "argon2$x", "!", "$2b$31$" + "x" * 53]
)
def test_a_password_that_cannot_be_read_waits_for_a_reset_by_mail(seed, api, settings, stored):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    seed.add(email="ada@example.org", hashed_password=stored)
    report, rejected = run()
    assert not rejected
    assert report["users"]["must_reset"] == [{"email": "ada@example.org"}]
    assert api.login_form("ada@example.org", stored or "x").status_code == 400

    asked = api.call("POST", "/auth/forgot-password", {"email": "ada@example.org"}).json()
    body = {"email": "ada@example.org", "token": asked["forgot_password_token"], "password": "Brand-New-Horse-7"}

    assert api.call("POST", "/auth/reset-password", body).status_code == 200
    assert api.login_form("ada@example.org", "Brand-New-Horse-7").status_code == 200


def test_of_twins_the_one_in_use_wins_and_the_others_are_listed(seed):
    twin = {"hashed_password": HASH, "created_on": datetime(2024, 1, 1, tzinfo=UTC)}
    seed.add(email="ada@example.org", is_verified=False, last_login=datetime(2026, 1, 1), **twin)
    used = seed.add(email="ADA@example.org", last_login=datetime(2025, 6, 1), **twin)
    seed.add(email=" Ada@Example.org\t", last_login=datetime(2025, 1, 1), **twin)

    report, rejected = run()

    assert rejected
    assert User.objects.get().pk.hex == used
    assert {row["why"] for row in report["users"]["rejected"]} == {"another account with this address is in use"}
    assert report["users"]["read"] == 3


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"email": None}, "there is no address"),
        ({"email": "  "}, "there is no address"),
        ({"email": "no address"}, "the address is not a valid e-mail address"),
        ({"email": "x@" + "y." * 130 + "org"}, "the address must have at most 254 characters"),
        ({"email": "job@Service-Account.invalid"}, "addresses of this domain are those of service accounts"),
        ({"first_name": "x" * 151}, "a name has over 150 characters"),
    ],
)
def test_a_row_that_is_no_account_is_rejected_and_the_others_come(seed, row, why):
    seed.add(**{"email": "ada@example.org", "hashed_password": HASH} | row)
    seed.add(email="bob@example.org", hashed_password=HASH)

    report, rejected = run()

    assert rejected
    assert [user.email for user in User.objects.all()] == ["bob@example.org"]
    assert report["users"]["rejected"][0]["why"].startswith(why)
    assert HASH not in str(report)


@pytest.mark.parametrize("letter", string.ascii_letters + string.digits + "!#$%&'*+/=?^_`{|}~-")
def test_no_first_or_last_character_of_an_address_is_lost(seed, letter):
    addresses = [f"{letter}era@x.dev", f"era{letter}@x.dev", "era@x.dev"]
    if letter.isalpha():
        addresses += [f"ada@x.de{letter}", "ada@x.de"]
    for address in addresses:
        seed.add(email=address, hashed_password=HASH)

    report, _ = run()

    assert not report["users"]["rejected"]
    assert set(User.objects.values_list("email", flat=True)) == {address.lower() for address in addresses}


@pytest.mark.parametrize("blank", [sign for sign in map(chr, range(1, 0x3001)) if sign.isspace()])
def test_every_blank_around_an_address_is_none_of_it(seed, blank):
    seed.add(email=f"{blank}Vera@Example.DEV{blank}", hashed_password=HASH)

    run()

    assert User.objects.get().email == "vera@example.dev"


@pytest.mark.parametrize(
    ("one", "other", "kept"),
    [
        ("\u00a0ada@example.org", "ada@example.org", "ada@example.org"),
        ("ada@\u212aelvin.example", "ada@kelvin.example", "ada@kelvin.example"),
        ("ada@B\u00dcCHER.example", "ada@xn--bcher-kva.example", "ada@b\u00fccher.example"),
        ("ada@bu\u0308cher.example", "Ada@b\u00fccher\u3002example", "ada@b\u00fccher.example"),
        ('"ada"@example.org', "ada@example.org", "ada@example.org"),
    ],
)
def test_two_spellings_of_one_address_are_twins_whatever_the_seeds_database_makes_of_letters(seed, one, other, kept):
    seed.execute('ALTER TABLE users ALTER COLUMN email TYPE varchar COLLATE "C"')
    seed.add(email=one, hashed_password=HASH)
    seed.add(email=other, hashed_password=HASH)
    try:
        for _ in range(2):
            report, _rejected = run("--on-conflict", "update", "--batch", "1")
    finally:
        seed.execute('ALTER TABLE users ALTER COLUMN email TYPE varchar COLLATE "default"')

    assert [user.email for user in User.objects.all()] == [kept]
    assert [row["why"] for row in report["users"]["rejected"]] == ["another account with this address is in use"]


def test_texts_of_any_length_are_cut_in_the_report(seed):
    seed.add(email="x" * 1_000_000, hashed_password=HASH)
    seed.add("feature_flags", codename="F" * 2_000)
    seed.add("feature_flags", codename="FF_LABEL", label="x" * 1_000_000)

    report, rejected = run()

    assert rejected
    assert (report["users"]["rejected"][0]["why"], report["flags"]["rejected"][0]["codename"][:3]) == (
        "the address is not a valid e-mail address",
        "FFF",
    )
    assert len(report["flags"]["rejected"]) == 2
    assert len(str(report)) < 3_000


def test_many_addresses_without_one_are_no_twins(seed):
    for email in (None, None, ""):
        seed.add(email=email, hashed_password=HASH)

    report, _ = run()

    assert {row["why"] for row in report["users"]["rejected"]} == {"there is no address"}


def test_whom_wrong_passwords_locked_out_is_released_unless_kept(seed):
    locked = {"hashed_password": HASH, "is_active": False, "login_failed_count": 5}
    seed.add(email="ada@example.org", deactivated_on=datetime(2025, 1, 1), **locked)
    seed.add(email="bob@example.org", **locked | {"login_failed_count": 1, "is_active": None})

    report, _ = run("--dry-run", "--lockouts", "keep")
    assert report["users"]["locked_out"] == [{"email": "ada@example.org", "released": False}]
    report, _ = run()

    assert report["users"]["locked_out"] == [{"email": "ada@example.org", "released": True}]
    assert dict(User.objects.values_list("email", "is_active")) == {"ada@example.org": True, "bob@example.org": False}


def test_superusers_become_staff_and_are_listed(seed):
    seed.add(email="root@example.org", hashed_password=HASH, is_superuser=True)

    report, _ = run()

    user = User.objects.get()
    assert (user.is_staff, user.is_superuser) == (True, True)
    assert report["users"]["superusers"] == [{"email": "root@example.org"}]


def test_an_id_that_is_none_gets_one_of_its_own_the_same_each_time(seed):
    seed.add(id="legacy-17", email="ada@example.org", hashed_password=HASH)

    report, _ = run()
    again, _ = run()

    made = uuid.uuid5(uuid.NAMESPACE_URL, "compose-stack:users:legacy-17").hex
    assert User.objects.get().pk.hex == made
    assert report["users"]["new_ids"] == [{"email": "ada@example.org", "was": "legacy-17", "id": made}]
    assert (again["users"]["created"], again["users"]["kept"]) == (0, 1)


def test_ids_that_are_one_uuid_here_are_told_apart(seed):
    first = seed.add(email="ada@example.org", hashed_password=HASH)
    seed.add(id=first.upper().replace("-", ""), email="eve@example.org", hashed_password=HASH)
    assert uuid.UUID(first).hex == first

    for _ in range(2):
        report, rejected = run("--on-conflict", "update")
        assert rejected
        assert report["users"]["rejected"][0]["why"].startswith("another account has this id")
        assert User.objects.count() == 1


def test_a_second_run_creates_nobody_and_changes_nothing(seed, api):
    for number in range(7):
        seed.add(email=f"ada{number}@example.org", hashed_password=HASH)
    run("--batch", "3")
    api.login_form("ada0@example.org", PASSWORD)
    before = list(User.objects.order_by("pk").values())

    report, rejected = run("--batch", "2")

    assert not rejected
    assert (report["users"]["created"], report["users"]["kept"]) == (0, 7)
    assert list(User.objects.order_by("pk").values()) == before


def test_updating_makes_accounts_what_the_source_says(seed, api):
    row = seed.add(email="ada@example.org", hashed_password=HASH, first_name="Ada")
    run()
    token = api.login_form("ada@example.org", PASSWORD).json()["access_token"]
    seed.execute("UPDATE users SET first_name = 'Augusta', is_active = false WHERE id = %s", [row])

    report, _ = run("--on-conflict", "update")

    user = User.objects.get()
    assert (user.first_name, user.is_active) == ("Augusta", False)
    assert (report["users"]["created"], report["users"]["updated"]) == (0, 1)
    assert api.call("GET", "/users/user", bearer=token).status_code == 401


def test_a_second_update_changes_nothing(seed):
    seed.add(email="ada@example.org", hashed_password=HASH)
    seed.add(email="bob@example.org", hashed_password=None, is_active=False)
    run()
    before = list(User.objects.order_by("pk").values())

    report, rejected = run("--on-conflict", "update")

    assert not rejected
    assert (report["users"]["updated"], report["users"]["kept"]) == (0, 2)
    assert list(User.objects.order_by("pk").values()) == before


def test_an_update_takes_over_a_password_changed_at_the_seed(seed, api):
    row = seed.add(email="ada@example.org", hashed_password=HASH)
    run()
    api.login_form("ada@example.org", PASSWORD)
    seed.execute("UPDATE users SET hashed_password = %s WHERE id = %s", [hashed("New-At-The-Seed-8"), row])

    run("--on-conflict", "update")

    assert api.login_form("ada@example.org", PASSWORD).status_code == 400
    assert api.login_form("ada@example.org", "New-At-The-Seed-8").status_code == 200


def test_an_update_leaves_the_hash_that_a_sign_in_here_has_renewed(seed, api):
    seed.add(email="ada@example.org", hashed_password=HASH)
    run()
    api.login_form("ada@example.org", PASSWORD)
    seed.execute("UPDATE users SET first_name = 'Augusta'")

    for _ in range(2):
        run("--on-conflict", "update")

        assert User.objects.get().password.startswith("argon2$")
        assert User.objects.get().first_name == "Augusta"
    assert api.login_form("ada@example.org", PASSWORD).status_code == 200


def test_an_update_leaves_names_and_an_activation_of_here(seed, api):
    row = seed.add(email="ada@example.org", hashed_password=HASH, first_name="Ada", is_active=False)
    run()
    call_command("activate_user", "ada@example.org", stdout=io.StringIO())
    api.log_in(User.objects.get(), PASSWORD)
    assert api.call("PATCH", "/users/user", {"first_name": "Countess"}).status_code == 200
    seed.execute("UPDATE users SET first_name = 'Augusta' WHERE id = %s", [row])

    report, _ = run("--on-conflict", "update")

    user = User.objects.get()
    assert (user.first_name, user.is_active) == ("Countess", True)
    assert report["users"]["changed_here"] == [{"email": "ada@example.org", "kept": ["first_name", "is_active"]}]
    assert api.call("GET", "/users/user").status_code == 200


def test_an_update_leaves_a_second_factor_and_its_sessions(seed, api):
    seed.add(email="ada@example.org", hashed_password=HASH)
    run()
    user = User.objects.get()
    MfaDevice.objects.create(user=user, kind="webauthn", credential_id=b"x", confirmed_at=timezone.now())

    run("--on-conflict", "update")

    assert api.login_form("ada@example.org", PASSWORD).status_code == 403


def test_a_strangers_unverified_registration_opens_no_account_that_an_update_verifies(seed, api):
    wish = {"email": "ada@example.org", "password": "Strangers-Horse-7", "first_name": "Eve", "last_name": "E"}
    assert api.call("POST", "/register", wish).status_code == 201
    seed.add(email="ada@example.org", hashed_password=HASH, first_name="Ada")

    run("--on-conflict", "update")

    assert api.login_form("ada@example.org", "Strangers-Horse-7").status_code == 400
    assert api.login_form("ada@example.org", PASSWORD).status_code == 200
    assert User.objects.get().first_name == "Ada"


def test_an_account_moved_here_to_the_address_of_another_row_keeps_its_password(seed, api):
    seed.add(email="ada@example.org", hashed_password=HASH)
    run()
    User.objects.update(email="eve@example.org")
    seed.add(email="eve@example.org", hashed_password=hashed("Another-Horse-7"))

    run("--on-conflict", "update")

    assert api.login_form("eve@example.org", "Another-Horse-7").status_code == 400
    assert api.login_form("eve@example.org", PASSWORD).status_code == 200


def test_an_update_brings_no_old_password_back(seed, api, settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    seed.add(email="ada@example.org", hashed_password=HASH)
    run()
    asked = api.call("POST", "/auth/forgot-password", {"email": "ada@example.org"}).json()
    body = {"email": "ada@example.org", "token": asked["forgot_password_token"], "password": "Brand-New-Horse-7"}
    assert api.call("POST", "/auth/reset-password", body).status_code == 200

    run("--on-conflict", "update")

    assert api.login_form("ada@example.org", PASSWORD).status_code == 400
    assert api.login_form("ada@example.org", "Brand-New-Horse-7").status_code == 200


def test_an_update_lets_nobody_in_who_was_shut_out_here(seed, api):
    seed.add(email="ada@example.org", hashed_password=HASH)
    run()
    call_command("deactivate_user", "ada@example.org", "--reason", "abuse", stdout=io.StringIO())

    report, _ = run("--on-conflict", "update")

    assert not User.objects.get().is_active
    assert report["users"]["shut_here"] == [{"email": "ada@example.org"}]
    assert api.login_form("ada@example.org", PASSWORD).status_code == 400


def test_an_update_leaves_rights_proofs_and_addresses_of_here(seed):
    seed.add(email="ada@example.org", hashed_password=HASH, is_verified=False, is_superuser=True)
    run()
    now = datetime(2026, 6, 1, tzinfo=UTC)
    User.objects.update(email="new@example.org", email_verified_at=now, is_superuser=False, is_staff=False)

    report, _ = run("--on-conflict", "update")

    user = User.objects.get()
    assert (user.email, user.email_verified_at, user.is_superuser) == ("new@example.org", now, False)
    assert report["users"]["other_addresses"] == [{"email": "new@example.org", "was": "ada@example.org"}]
    assert report["users"]["other_rights"] == [{"email": "new@example.org", "is_superuser": False}]


def test_an_address_that_is_here_already_keeps_its_account(seed):
    ours = UserFactory.create(email="ada@example.org", first_name="Ours")
    theirs = seed.add(email="Ada@example.org", hashed_password=HASH, first_name="Theirs")

    report, rejected = run()

    assert not rejected
    assert User.objects.get().first_name == "Ours"
    assert report["users"]["other_ids"] == [{"email": "ada@example.org", "was": theirs, "id": ours.pk.hex}]


def test_a_strangers_registration_does_not_get_an_imported_account(seed, api, settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    seed.add(email="ada@example.org", hashed_password=HASH, first_name="Ada", is_verified=False, created_by="register")
    run()
    wish = {"email": "ada@example.org", "password": "Strangers-Horse-7", "first_name": "Eve", "last_name": "E"}
    assert ApiClient().call("POST", "/register", wish).status_code == 201

    asked = api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"}).json()
    body = {"token": asked["verification_token"], "registration_code": asked["registration_code"]}

    assert api.call("POST", "/auth/verify", body).status_code == 200
    # Nobody who read the mailbox has set either password.
    assert api.login_form("ada@example.org", "Strangers-Horse-7").status_code == 400
    assert api.login_form("ada@example.org", PASSWORD).status_code == 400
    assert Message.objects.filter(type="users.forgot_password").exists()


def test_who_had_no_password_may_register_again_instead_of_resetting(seed, api, settings):
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    seed.add(email="ada@example.org", hashed_password=None, is_verified=False)
    run()
    wish = {"email": "ada@example.org", "password": "Brand-New-Horse-7", "first_name": "Ada", "last_name": "L"}
    assert api.call("POST", "/register", wish).status_code == 201

    asked = api.call("POST", "/auth/request-verification-token", {"email": "ada@example.org"}).json()
    body = {"token": asked["verification_token"], "registration_code": asked["registration_code"]}

    assert api.call("POST", "/auth/verify", body).status_code == 200
    assert api.login_form("ada@example.org", "Brand-New-Horse-7").status_code == 200


def test_a_dry_run_tells_and_writes_nothing(seed):
    seed.add(email="ada@example.org", hashed_password=HASH)
    seed.add("feature_flags", codename="FF_NEW", is_active=True)

    report, _ = run("--dry-run")

    assert (report["users"]["created"], report["flags"]["created"]) == (1, 1)
    assert not User.objects.exists()
    assert not AuditEvent.objects.exists()
    assert not FeatureFlag.objects.filter(codename="FF_NEW").exists()


def test_flags_come_with_their_state_and_a_history(seed):
    seed.add("feature_flags", codename=" FF_NEW ", label=None, description="What it does", is_active=True)
    seed.add("feature_flags", codename="FF_OFF", is_active=None)
    seed.add("feature_flags", codename="ff_new", is_active=False)
    seed.add("feature_flags", codename="no good", is_active=False)

    report, rejected = run("--only", "flags")

    assert rejected
    assert "users" not in report
    flag = FeatureFlag.objects.get(codename="FF_NEW")
    assert (flag.label, flag.description, flag.is_active) == (None, "What it does", True)
    assert not FeatureFlag.objects.get(codename="FF_OFF").is_active
    assert FlagRevision.objects.filter(flag=flag).latest("id").door == "import"
    assert {row["codename"] for row in report["flags"]["rejected"]} == {"ff_new", "no good"}


def test_a_name_that_is_ascii_in_upper_case_alone_is_no_flag_of_ours(seed):
    FeatureFlag.objects.create(codename="FF_SHIP", is_active=True)
    seed.add("feature_flags", codename="FF_ſHıP", is_active=False)

    report, _ = run("--only", "flags", "--on-conflict", "update")

    assert [row["codename"] for row in report["flags"]["rejected"]] == ["FF_ſHıP"]
    assert FeatureFlag.objects.get(codename="FF_SHIP").is_active


def test_a_declared_flag_nobody_touched_takes_the_state_it_had(seed):
    seed.add("feature_flags", codename="FF_ENABLE_REGISTRATION", is_active=False)

    run()
    assert not FeatureFlag.objects.get(codename="FF_ENABLE_REGISTRATION").is_active
    seed.execute("UPDATE feature_flags SET is_active = true")
    report, _ = run()

    assert report["flags"]["kept"] == 1
    assert not FeatureFlag.objects.get(codename="FF_ENABLE_REGISTRATION").is_active


def test_an_older_seed_lacks_columns_and_odd_times_are_none(seed):
    seed.add(
        email="ada@example.org",
        hashed_password=HASH,
        last_login="infinity",
        verified_on="0044-03-15 BC",
        is_active=True,
    )
    seed.execute("ALTER TABLE users RENAME COLUMN login_failed_count TO gone")
    try:
        report, rejected = run()
    finally:
        seed.execute("ALTER TABLE users RENAME COLUMN gone TO login_failed_count")

    assert not rejected
    user = User.objects.get()
    assert user.last_login is None
    assert user.is_verified


def test_moments_are_utc_wherever_the_source_stands(seed):
    seed.execute("ALTER TABLE users ALTER COLUMN verified_on TYPE timestamptz USING verified_on AT TIME ZONE 'UTC'")
    seed.execute(f"ALTER DATABASE {seed.name} SET TimeZone = 'Asia/Tokyo'")
    moment = datetime(2025, 1, 1, 12, tzinfo=UTC)
    try:
        seed.add(email="ada@example.org", hashed_password=HASH, verified_on=moment, last_login=datetime(2025, 3, 1, 12))
        run()
    finally:
        seed.execute(f"ALTER DATABASE {seed.name} RESET TimeZone")
        seed.execute("ALTER TABLE users ALTER COLUMN verified_on TYPE timestamp USING verified_on AT TIME ZONE 'UTC'")

    assert User.objects.get().email_verified_at == moment
    assert User.objects.get().last_login == datetime(2025, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("driver", ["postgresql+asyncpg", "postgresql+psycopg2", "postgres"])
def test_the_seeds_own_address_is_taken(seed, monkeypatch, driver):
    """SQLAlchemy's names of drivers, and asyncpg's word for TLS."""
    address = re.sub(r"^\w+", driver, seed.url)
    monkeypatch.setenv("SEED_URL", f"{address}?ssl=prefer" if "asyncpg" in driver else address)
    seed.add(email="ada@example.org", hashed_password=HASH)

    assert run()[0]["users"]["created"] == 1


def test_a_source_that_lacks_the_flags_brings_no_users_either(seed):
    seed.add(email="ada@example.org", hashed_password=HASH)
    seed.execute("ALTER TABLE feature_flags RENAME TO others")
    try:
        assert refusal("--dsn-env", "SEED_URL")[0] == 2
        assert not User.objects.exists()
        assert run("--only", "users")[0]["users"]["created"] == 1
    finally:
        seed.execute("ALTER TABLE others RENAME TO feature_flags")


def test_what_is_no_database_of_the_seed_is_exit_2(seed, monkeypatch):
    seed.execute("ALTER TABLE users RENAME TO people")
    try:
        assert refusal("--dsn-env", "SEED_URL") == (2, "The source is no database of the seed: it has no table users.")
    finally:
        seed.execute("ALTER TABLE people RENAME TO users")
    seed.execute("ALTER TABLE users RENAME COLUMN hashed_password TO gone")
    try:
        code, told = refusal("--dsn-env", "SEED_URL")
    finally:
        seed.execute("ALTER TABLE users RENAME COLUMN gone TO hashed_password")

    assert (code, told) == (2, "The source is no database of the seed: users lacks hashed_password.")


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql+asyncpg://me:top-secret@127.0.0.1:1/none",
        "postgres://me:top-secret@127.0.0.1:1/none",
        "nonsense top-secret",
        "host=127.0.0.1 port=1 password=top-secret",
        "\x00top-secret",
    ],
)
def test_a_source_that_cannot_be_reached_is_exit_2_and_no_password_is_printed(dsn):
    code, told = refusal("--dsn", dsn)

    assert code == 2
    assert told.startswith("The source cannot be reached")
    assert "top-secret" not in told


def test_usage_errors_are_exit_2(seed, tmp_path):
    assert refusal()[0] == 2
    assert refusal("--dsn-env", "NOT_SET_ANYWHERE")[0] == 2
    assert refusal("--dsn", "")[0] == 2
    assert refusal("--dsn-env", "SEED_URL", "--batch", "0")[0] == 2
    assert refusal("--dsn-env", "SEED_URL", "--report", str(tmp_path / "no" / "such.json"))[0] == 2


def test_the_whole_report_goes_to_a_file(seed, tmp_path):
    for number in range(30):
        seed.add(email=f"nobody {number}", hashed_password=HASH)
    file, out = tmp_path / "report.json", io.StringIO()

    with pytest.raises(CommandError, match="30 rows rejected"):
        call_command("import_compose_stack", "--dsn-env", "SEED_URL", "--report", str(file), stdout=out)

    assert len(json.loads(file.read_text())["users"]["rejected"]) == 30
    assert "rejected: 10 more; --report FILE tells all" in out.getvalue()
    assert HASH not in out.getvalue() + file.read_text()
