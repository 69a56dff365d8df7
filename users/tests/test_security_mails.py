"""The mails about somebody's own account: what they say, to whom, and what never stands in them."""

import json
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.forms.models import model_to_dict
from django.utils import timezone

from lib.actors import RequestInfo
from notifications import registry
from notifications.models import Message, Preference
from notifications.services import recipients
from users.models import OneTimeToken
from users.services import security_mails, tokens
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db

AT = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
FIREFOX = RequestInfo("203.0.113.7", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
NEW, OLD = "new@example.net", "old@example.net"
FORGOT = "http://localhost:3000/forgot-password"
LOGIN = "http://localhost:3000/login"


@pytest.fixture(autouse=True)
def front_end(settings):
    settings.APP_URL = "http://localhost:3000"


def proof(user, purpose):
    return OneTimeToken.objects.create(
        user=user,
        purpose=purpose,
        email=NEW if purpose == "email_change" else user.email,
        key_id=tokens.one_time_key_id(purpose),
        expires_at=timezone.now() + timedelta(days=1),
    )


# The notices that bring a link: its path, the purpose of its row, and what else they are told.
LINKS = {
    "email_change_confirm": ("/change-email", "email_change", {}),
    "email_change_notice": ("/change-email/undo", "email_undo", {"new_email": NEW, "old_email": OLD}),
    "deletion_scheduled": ("/undelete", "undelete", {"delete_after_at": AT}),
}


def send_link(name, user, row=None):
    _, purpose, told = LINKS[name]
    getattr(security_mails, name)(user, row=row or proof(user, purpose), **told)


# Each notice as its callers queue it, whom it reaches (None: the account's own address), and what must be in it.
NOTICES = {
    "already_registered": (
        lambda user: security_mails.already_registered(user, info=FIREFOX),
        None,
        ["already has an account", LOGIN, FORGOT, "Firefox on Linux", "203.0.113.7"],
    ),
    "password_changed": (
        lambda user: security_mails.password_changed(user),
        None,
        ["was changed", "other devices were signed out", FORGOT, "Time: "],
    ),
    "new_sign_in": (
        lambda user: security_mails.new_sign_in(user, info=FIREFOX, at=AT),
        None,
        ["Firefox on Linux", "203.0.113.7", "May 1, 2026, 12:30 UTC", FORGOT],
    ),
    "sign_in_after_failures": (
        lambda user: security_mails.sign_in_after_failures(user, count=12345, info=FIREFOX, at=AT),
        None,
        ["failed tries: 12345", "Firefox on Linux", "203.0.113.7", "May 1, 2026, 12:30 UTC", FORGOT],
    ),
    "session_resumed": (
        lambda user: security_mails.session_resumed(user, info=FIREFOX, at=AT),
        None,
        ["asked again for an answer", "Firefox on Linux", "203.0.113.7", "May 1, 2026, 12:30 UTC", FORGOT],
    ),
    "session_replay": (
        lambda user: security_mails.session_replay(user, label="Safari on iPhone", at=AT),
        None,
        ["ended this session", "Safari on iPhone", "May 1, 2026, 12:30 UTC", LOGIN, FORGOT],
    ),
    "email_change_confirm": (
        lambda user: send_link("email_change_confirm", user),
        NEW,
        ["http://localhost:3000/change-email?token=", "until "],
    ),
    "email_change_notice": (
        lambda user: send_link("email_change_notice", user),
        OLD,
        [NEW, "http://localhost:3000/change-email/undo?token=", "until ", FORGOT],
    ),
    "email_changed": (lambda user: security_mails.email_changed(user, to=NEW), NEW, ["with this address", LOGIN]),
    "factor_changed": (
        lambda user: security_mails.factor_changed(user, change="added", kind="webauthn", name="My phone"),
        None,
        ["a passkey was added", "My phone", FORGOT],
    ),
    "recovery_code_used": (
        lambda user: security_mails.recovery_code_used(user, left=2, info=FIREFOX),
        None,
        ["Codes left: 2", "Make new recovery codes soon", "Firefox on Linux", "203.0.113.7", FORGOT],
    ),
    "api_key_created": (
        lambda user: security_mails.api_key_created(user, name="nightly", scopes=["inbox"], info=FIREFOX),
        None,
        ["nightly (inbox)", "Firefox on Linux", "203.0.113.7", "ends all API keys", FORGOT],
    ),
    "deletion_scheduled": (
        lambda user: send_link("deletion_scheduled", user),
        None,
        ["May 1, 2026, 12:30 UTC", "http://localhost:3000/undelete?token=", FORGOT],
    ),
}


@pytest.fixture
def queue(outbox):
    """Queue the notice of this name, and give the one mail it becomes."""

    def queued(name, user):
        with outbox() as mails:
            NOTICES[name][0](user)
        (mail,) = mails
        return mail

    return queued


def html(mail):
    return mail.alternatives[0][0]


def link_in(mail, path):
    (line,) = [line for line in mail.body.splitlines() if urlsplit(line).path == path]
    return line


def test_every_notice_that_is_declared_is_tried_here():
    declared = {kind.code for kind in registry.declared_types() if kind.code.startswith("users.")}
    others = {"users.registration_code", "users.welcome", "users.forgot_password"}

    assert declared - others == {f"users.{name}" for name in NOTICES}


@pytest.mark.parametrize("name", NOTICES)
def test_each_notice_is_one_mail_to_the_right_address_with_all_the_owner_needs(user, queue, name):
    _, to, needed = NOTICES[name]

    mail = queue(name, user)

    assert mail.recipients() == [to or user.email]
    assert mail.body.startswith("Hello Ada,\n")
    for text in needed:
        assert text in mail.body
        assert text in html(mail)
    assert Message.objects.get().user == user


@pytest.mark.parametrize("name", NOTICES)
def test_notices_speak_german_to_those_who_read_it(user, queue, name):
    user.language = "de"

    mail = queue(name, user)

    assert mail.body.startswith("Hallo Ada,\n")
    assert '<html lang="de">' in html(mail)
    assert not {"your", "the", "was"} & set(mail.body.lower().split())


def test_times_are_written_in_the_readers_language(user, queue):
    user.language = "de"

    assert "1. Mai 2026, 12:30 UTC" in queue("new_sign_in", user).body


@pytest.mark.parametrize("name", NOTICES)
def test_no_notice_can_be_switched_off(api, user, queue, name):
    api.log_in(user)
    off = [{"category": "security", "channel": "email", "enabled": False}]
    answer = api.call("PUT", "/notifications/preferences", off)
    Preference.objects.create(user=user, category="security", channel="email", enabled=False)
    recipients.suppress(NOTICES[name][1] or user.email, scope="optional", reason="complaint", source="webhook")

    mail = queue(name, user)

    assert (answer.status_code, answer.json()["code"]) == (400, "preference_fixed")
    assert "List-Unsubscribe" not in mail.message()


@pytest.mark.parametrize("name", LINKS)
def test_a_link_proves_its_row_and_is_stored_nowhere(user, queue, name):
    mail = queue(name, user)

    (token,) = parse_qs(urlsplit(link_in(mail, LINKS[name][0])).query)["token"]
    row = OneTimeToken.objects.get()
    assert tokens.is_one_time_token(token, row)
    assert token not in json.dumps(model_to_dict(Message.objects.get()), default=str)
    assert token not in mail.subject


@pytest.mark.parametrize("name", LINKS)
@pytest.mark.parametrize("end", [{"used_at": AT}, {"expires_at": AT - timedelta(days=365)}, None])
def test_a_dead_link_is_not_mailed(user, outbox, name, end):
    with outbox() as mails:
        NOTICES[name][0](user)
        if end:
            OneTimeToken.objects.update(**end)
        else:
            OneTimeToken.objects.all().delete()

    message = Message.objects.get()
    assert mails == []
    assert (message.state, message.reason) == ("cancelled", "superseded")


@pytest.mark.parametrize("name", ["password_changed", "session_replay", "session_resumed"])
def test_one_occasion_is_mailed_once(user, name):
    user.password_changed_at = AT

    NOTICES[name][0](user)
    NOTICES[name][0](user)
    NOTICES[name][0](UserFactory.create(password_changed_at=AT))

    assert Message.objects.count() == 2


@pytest.mark.parametrize("name", LINKS)
def test_one_link_is_mailed_once(user, name):
    row = proof(user, LINKS[name][1])

    send_link(name, user, row)
    send_link(name, user, row)

    assert Message.objects.count() == 1


def test_a_second_change_of_the_password_is_another_mail(user):
    for at in (AT, AT + timedelta(seconds=1)):
        user.password_changed_at = at
        security_mails.password_changed(user)

    assert Message.objects.count() == 2


def test_whoever_types_an_address_again_and_again_sends_few_mails(user, outbox):
    with outbox() as mails:
        for _ in range(10):
            security_mails.already_registered(user, info=FIREFOX)

    assert len(mails) == 3


# --- What strangers type ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", ["www.example.net", "Win-at.example.net/1.0", "call-0900-123456"])
def test_a_program_whose_name_would_become_a_link_is_not_printed(user, outbox, agent):
    with outbox() as mails:
        security_mails.already_registered(user, info=RequestInfo("203.0.113.7", agent))
        security_mails.session_replay(user, label=RequestInfo("", agent).client_name, at=AT)

    for mail in mails:
        assert agent.partition("/")[0] not in mail.body + html(mail)
        assert "Program:" not in mail.body + html(mail)


def test_an_unknown_place_leaves_no_empty_line(user, outbox):
    with outbox() as mails:
        security_mails.recovery_code_used(user, left=9, info=RequestInfo())

    assert "IP address" not in mails[0].body + html(mails[0])
    assert "Make new recovery codes soon" not in mails[0].body
    assert "\n\n\n" not in mails[0].body


@pytest.mark.parametrize("name", ["Buy now at example.net", "A free car. Ring us", "x" * 60, ""])
def test_the_owner_of_a_new_address_reads_no_text_of_whoever_typed_it(outbox, name):
    user = UserFactory.create(first_name=name, last_name=name)

    with outbox() as mails:
        NOTICES["email_change_confirm"][0](user)

    assert mails[0].body.startswith("Hello,\n")
    assert not name or name not in mails[0].body + html(mails[0])
    assert user.email not in mails[0].body + html(mails[0])


def greeting(outbox, name):
    with outbox() as mails:
        security_mails.password_changed(UserFactory.create(unverified=True, first_name=name))
    return mails[0].body.partition("\n")[0]


NAMES = """
Jean-Luc|Jean‑Luc|O'Neil|O’Neil|’t Hooft|St. John|st. john|J.R.|J. R. R.|J.-P.|Ma. Teresa|Sammy Davis Jr.
Anna Maria|Gal·la|Zoe\u0308|प्रिया|Ngọc|李小龙|محمد|Ka‘iulani|צ׳רלי|ג׳ורג׳|ジャン・リュック|བསྟན་འཛིན|علی‌رضا
"""
NO_NAMES = """
A free car. Ring us|Buy. Now|Hi. Pay us|t.co|St.example|J.R.example|www.j.r.|j.r/x|a@b|Ring 555|Ada: read this
Ada, read this|Ada! Read|Ada?|Ada – read|Ada…|Ada。Ring|Ada\u202egnir|Ada\u2024Ring|-|'|.|\u2488com|a\u200fb
a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a!
"""


@pytest.mark.parametrize("name", re.split(r"[|\n]", NAMES.strip()))
def test_an_unverified_person_is_greeted_as_people_type_their_names(outbox, name):
    assert greeting(outbox, name) == f"Hello {name},"
    assert greeting(outbox, f" \u200f{name}\u200e ") == f"Hello {name},"


@pytest.mark.parametrize("name", [*re.split(r"[|\n]", NO_NAMES.strip()), "a" * 41])
def test_an_unverified_person_is_greeted_by_no_link_and_no_sentence(outbox, name):
    assert greeting(outbox, name) == "Hello,"


@pytest.mark.parametrize(
    ("typed", "printed"),
    [
        ("<b>Key</b> & more", "Name: <b>Key</b> & more\n"),
        ("a\x00b\ud800c", "Name: a?b?c\n"),
        ("a\r\nBcc: x@example.net", "Name: a??Bcc: x@example.net\n"),
        ("x" * 5000, f"Name: {'x' * 64}\n"),
    ],
)
def test_the_name_of_a_factor_is_printed_as_text_whatever_it_holds(user, outbox, typed, printed):
    with outbox() as mails:
        security_mails.factor_changed(user, change="removed", kind="totp", name=typed)

    assert printed in mails[0].body
    assert "<b>Key" not in html(mails[0])


# --- Wordings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "kind", "subject", "text"),
    [
        ("added", "totp", "Authenticator app added", "an authenticator app was added"),
        ("added", "webauthn", "Passkey added", "a passkey was added"),
        ("added", "", "Second factor added", "a second factor was added"),
        ("removed", "totp", "Authenticator app removed", "an authenticator app was removed"),
        ("removed", "webauthn", "Passkey removed", "a passkey was removed"),
        ("removed", "", "Second factors removed", "the second factors of your account"),
        ("recovery_codes", "", "New recovery codes", "The old ones no longer work."),
    ],
)
def test_a_change_of_factors_says_which(user, outbox, change, kind, subject, text):
    with outbox() as mails:
        security_mails.factor_changed(user, change=change, kind=kind, name="")

    assert mails[0].subject == subject
    assert text in mails[0].body
    assert text in html(mails[0])
    assert "Name:" not in mails[0].body + html(mails[0])


def test_a_password_that_staff_changed_is_told_as_theirs(user, outbox):
    with outbox() as mails:
        security_mails.password_changed(user, by_staff=True)

    assert "our team changed the password" in mails[0].body
    assert "our team changed the password" in html(mails[0])
