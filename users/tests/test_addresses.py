"""One mailbox, one spelling: at the API, in limits, rules and lists, and for rows of an older release."""

import io
from importlib import import_module

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from feature_flags import flag_document
from lib.addresses import valid_email
from notifications.models import Message, Suppression
from notifications.services import recipients
from users.models import AuditEvent, User
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

READABLE = "ada@bücher.example"
SPELLINGS = [
    READABLE,
    "Ada@BÜCHER.Example",
    "ada@xn--bcher-kva.example",
    "ADA@XN--BCHER-KVA.EXAMPLE",
    "ada@bu\u0308cher.example",
    "ada@ｂücher.example",
    "ada@bücher。example",
    "ada@bücher．example",
    '"ada"@bücher.example',
    '"\\a\\d\\a"@bücher.example',
]


def wish(email):
    return {"email": email, "password": PASSWORD, "first_name": "Ada", "last_name": "L"}


def migrate(app, name):
    import_module(f"{app}.migrations.{name}").respell(apps, None)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_of_an_address_is_one_account(api, spelling):
    user = UserFactory.create(email=READABLE)

    answer = api.call("POST", "/register", wish(spelling))

    assert answer.json()["detail"]["code"] == "ErrorCode.REGISTER_USER_ALREADY_EXISTS"
    assert api.login_form(spelling).status_code == 200
    assert User.objects.get() == user


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_people_see_the_readable_spelling(api, spelling):
    assert api.call("POST", "/register", wish(spelling)).json()["email"] == READABLE


@pytest.mark.parametrize(
    "address",
    [
        "ada@exam\u00adple.org",
        "ada@exam\u200bple.org",
        "ada@exam\u2060ple.org",
        "ada@exam\u200dple.org",
        "ada@b\u00fc\ufe0fcher.example",
        "a\u200bda@example.org",
        "\u017fam@example.org",
        "\u0131an@example.org",
        "ada@xn--a.example",
        "ada@xn--zzzzzz.example",
        "ada@i\u2764.example",
        "ada@\u13e3\u13b3.example",
        "ada@" + "\u00fc" * 60 + ".example",
        '"a\x01b"@example.org',
    ],
)
def test_what_cannot_be_seen_or_is_no_domain_is_refused(api, address):
    answer = api.call("POST", "/register", wish(address))

    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["body", "email"])


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("ada@ab--cd.example", "ada@ab--cd.example"),
        ("ada@localhost", "ada@localhost"),
        ("ada@[127.0.0.1]", "ada@[127.0.0.1]"),
        ("ada@[0:0::1]", "ada@[::1]"),
        ('"a\\ b"@example.org', '"a\\ b"@example.org'),
        ("ada@stra\u00dfe.example", "ada@stra\u00dfe.example"),
        ("ada@例え。テスト", "ada@例え.テスト"),
    ],
)
def test_the_spelling_of_a_spelling_is_itself(typed, kept):
    assert valid_email(typed) == kept
    assert valid_email(kept) == kept


def test_wrong_passwords_count_together_whatever_the_spelling(api):
    UserFactory.create(email=READABLE)

    for spelling in SPELLINGS[:5]:
        assert api.login_form(spelling, "Wrong-Horse-7").status_code == 400

    assert api.login_form(READABLE).json()["code"] == "login_paused"


def test_mails_go_out_in_ascii_and_count_together(api, outbox):
    UserFactory.create(email=READABLE)

    with outbox() as mails:
        for spelling in SPELLINGS[:4]:
            api.call("POST", "/auth/forgot-password", {"email": spelling})

    assert Message.objects.count() == 3
    assert {to for sent in mails for to in sent.to} == {"ada@xn--bcher-kva.example"}


def test_an_address_is_not_changed_to_another_spelling_of_itself(api):
    user = UserFactory.create(email=READABLE)
    api.log_in(user)

    answer = api.call("POST", "/auth/change-email", {"email": SPELLINGS[2]})

    assert answer.json()["code"] == "email_change_same_address"


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_lists_hold_whatever_the_spelling(settings, spelling):
    recipients.suppress(spelling, scope=Suppression.ALL, reason=Suppression.Reason.BOUNCE, source="test")
    assert recipients.is_suppressed(READABLE, Suppression.ALL)

    for pattern in (spelling, f"*@{spelling.rpartition('@')[2]}"):
        settings.NOTIFICATIONS_ALLOW_TO = [pattern]
        assert recipients.is_allowed(READABLE)
        assert not recipients.is_allowed("ada@example.org")


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_rules_for_a_domain_know_every_spelling(spelling):
    rule = {"field": "emailDomain", "operator": "IN", "values": [spelling.rpartition("@")[2]]}

    document = flag_document.checked({"codename": "FF_X", "rules": [{"constraints": [rule]}]})

    assert document["rules"][0]["constraints"][0]["values"] == [
        UserFactory.build(email=READABLE).flag_context()["emailDomain"]
    ]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_staff_and_commands_find_every_spelling(staff_client, spelling):
    UserFactory.create(email=READABLE, inactive=True)

    page = staff_client.get("/admin/users/user/", {"q": spelling}).content.decode()
    call_command("activate_user", spelling, stdout=io.StringIO())

    assert READABLE in page
    assert User.objects.get(email=READABLE).is_active


# --- Rows of an older release -----------------------------------------------------------------------------------------


def test_the_migration_respells_what_is_alone_and_names_what_is_not(capsys):
    rows = {
        "alone": UserFactory.create(email="ada@xn--bcher-kva.example"),
        "twin": UserFactory.create(email="eve@mail.example。org"),
        "old": UserFactory.create(email="bob@i❤.ws"),
    }
    UserFactory.create(email="eve@mail.example.org")

    for _ in range(2):
        migrate("users", "0008_one_spelling_of_addresses")
        said = capsys.readouterr().out

    found = {key: User.objects.get(pk=user.pk).email for key, user in rows.items()}
    assert found == {"alone": READABLE, "twin": "eve@mail.example。org", "old": "bob@i❤.ws"}
    assert "eve@mail.example\\u3002org" in said
    assert "bob@i\\u2764.ws" in said
    assert "bücher" not in said


def test_the_migration_names_who_is_mailed_at_another_domain_from_here_on(capsys):
    for email in ("ada@straße.example", "eve@strasse.example", "bob@bücher.example", "cy@xn--strae-oqa.example"):
        UserFactory.create(email=email)

    migrate("users", "0008_one_spelling_of_addresses")

    (said,) = [line for line in capsys.readouterr().out.splitlines() if "mailed" in line]
    assert "'ada@stra\\xdfe.example' was mailed at strasse.example, and is at xn--strae-oqa.example" in said


def test_twins_of_an_older_release_sign_in_and_reset_each_by_its_own_spelling(api, outbox):
    twin = UserFactory.create(email="eve@mail.example。org", first_name="Twin")
    UserFactory.create(email="eve@mail.example.org", first_name="Eve")

    for spelling, name in (
        ("EVE@mail.example。org", "Twin"),
        ("eve@mail.example.org", "Eve"),
        ("eve@mail.ｅxample.org", "Eve"),
    ):
        token = api.login_form(spelling).json()["access_token"]
        assert api.call("GET", "/users/user", bearer=token).json()["first_name"] == name
    with outbox() as mails:
        api.call("POST", "/auth/forgot-password", {"email": twin.email})

    assert [message.user for message in Message.objects.filter(type="users.forgot_password")] == [twin]
    assert mails[0].to == ["eve@mail.example.org"]
    assert AuditEvent.objects.filter(event="password.reset_requested").get().user_id == twin.pk


def test_an_address_that_idna_2008_refuses_goes_on_working(api, outbox):
    UserFactory.create(email="bob@i❤.ws")

    assert api.login_form("bob@i❤.ws").status_code == 200
    with outbox() as mails:
        assert api.call("POST", "/auth/forgot-password", {"email": "bob@i❤.ws"}).status_code == 200

    assert mails[0].to == ["bob@xn--i-7iq.ws"]


def test_the_check_names_twins_and_what_has_no_spelling():
    UserFactory.create(email="eve@mail.example。org")
    UserFactory.create(email="eve@mail.example.org")
    UserFactory.create(email="bob@i❤.ws")
    out = io.StringIO()

    with pytest.raises(CommandError):
        call_command("check_accounts", stdout=out)

    assert "address-twin: eve@mail.example。org" in out.getvalue()
    assert "address-unreadable: bob@i❤.ws" in out.getvalue()


def test_the_migration_respells_lists_and_rules():
    Suppression.objects.create(address="ada@xn--bcher-kva.example", scope="all", reason="bounce", expires_at=None)
    Suppression.objects.create(address=READABLE, scope="all", reason="bounce", expires_at="2030-01-01T00:00Z")

    migrate("notifications", "0005_one_spelling_of_addresses")

    row = Suppression.objects.get()
    assert (row.address, row.expires_at) == (READABLE, None)
