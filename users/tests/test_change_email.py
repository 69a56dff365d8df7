"""POST /api/auth/change-email, …/confirm, …/undo."""

import base64
from datetime import timedelta

import pytest
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from notifications.models import Message
from users.models import OneTimeToken, User, UserSession
from users.services import deletion, passwords, tokens
from users.tests.factories import UserFactory
from users.tests.own import age_proof, code_of, recorded, sign_in_elsewhere, token_in

pytestmark = pytest.mark.django_db

NEW = "new@example.net"
BAD = (400, "ErrorCode.EMAIL_CHANGE_BAD_TOKEN", "email_change_bad_token")
TAKEN = (400, "ErrorCode.EMAIL_CHANGE_BAD_TOKEN", "email_change_address_taken")


def ask(api, email=NEW, **more):
    return api.call("POST", "/auth/change-email", {"email": email}, **more)


def confirm(api, token):
    return api.call("POST", "/auth/change-email/confirm", {"token": token}, bearer="")


def undo(api, token):
    return api.call("POST", "/auth/change-email/undo", {"token": token}, bearer="")


def open_token(purpose, **where):
    return tokens.one_time_token(
        OneTimeToken.objects.filter(purpose=purpose, used_at=None, **where).latest("created_at")
    )


@pytest.fixture
def signed_in(api, user):
    return api.sign_in(user)


@pytest.fixture
def changed(api, user, signed_in):
    """The token that undoes a change made just now."""
    ask(api)
    assert confirm(api, open_token("email_change")).status_code == 200
    return open_token("email_undo")


def test_the_new_mailbox_confirms_and_the_old_one_is_told(api, user, signed_in, outbox):
    old = user.email
    with outbox() as asked:
        response = ask(api, " New@Example.NET ")
    unchanged = User.objects.get().email
    with outbox() as confirmed:
        answer = confirm(api, token_in(asked[0]))

    assert (response.status_code, response.json()) == (200, {"token_sent": True})
    assert [mail.to for mail in asked] == [[NEW]]
    assert unchanged == old
    assert (answer.status_code, answer.json()) == (200, {"email_changed": True})
    assert sorted(mail.to[0] for mail in confirmed) == sorted([old, NEW])
    assert (User.objects.get().email, api.login_form(NEW.upper()).status_code) == (NEW, 200)
    assert api.login_form(old).status_code == 400


def test_the_link_in_the_notice_brings_the_old_address_back(api, user, signed_in, outbox):
    old = user.email
    ask(api)
    with outbox() as mails:
        confirm(api, open_token("email_change"))
    notice = next(mail for mail in mails if mail.to == [old])

    response = undo(api, token_in(notice))

    assert (response.status_code, response.json()) == (200, {"email_change_undone": True})
    assert User.objects.get().email == old
    assert api.login_form(old).status_code == 200


def test_the_session_that_asked_goes_on_and_the_others_end(api, user, signed_in):
    other = sign_in_elsewhere(api, user)
    ask(api)

    confirm(api, open_token("email_change"))

    assert api.call("GET", "/users/user").json()["email"] == NEW
    assert api.call("GET", "/users/user", bearer=other["access_token"]).status_code == 401
    assert recorded("email.changed").data == {"ended": 1}


def test_an_undo_ends_every_session(api, user, changed):
    undo(api, changed)

    assert api.call("GET", "/users/user").status_code == 401
    assert not UserSession.objects.filter(revoked_at=None).exists()
    assert recorded("email.undone").data == {"ended": 1}


def test_asking_needs_a_fresh_proof(api, user, signed_in):
    age_proof()

    assert code_of(ask(api)) == (403, "ErrorCode.REAUTHENTICATION_REQUIRED", "reauthentication_required")
    assert not OneTimeToken.objects.exists()


def test_asking_needs_a_bearer(api, user):
    assert ask(api).status_code == 401


@pytest.mark.parametrize("spelling", [str.lower, str.upper, lambda email: f"  {email} "])
def test_the_own_address_is_no_change(api, user, signed_in, spelling):
    assert code_of(ask(api, spelling(user.email)))[1] == "ErrorCode.EMAIL_CHANGE_SAME_ADDRESS"


@pytest.mark.parametrize(
    "email", ["", "junk", "a@b", "a\x00b@example.org", "a\ud800@example.org", "x" * 300 + "@e.org", 1]
)
def test_what_is_no_address_is_422(api, user, signed_in, email):
    assert ask(api, email).status_code == 422


def test_a_taken_address_is_answered_and_recorded_alike_and_its_owner_hears_of_it(api, user, signed_in, outbox):
    UserFactory.create(email="owner@example.net")
    with outbox() as free_mails:
        free = ask(api, "free@example.net")
    with outbox() as taken_mails:
        taken = ask(api, "Owner@example.net")

    assert (free.status_code, free.json()) == (taken.status_code, taken.json())
    assert set(free.headers) == set(taken.headers)
    assert [mail.to for mail in free_mails + taken_mails] == [["free@example.net"], ["owner@example.net"]]
    assert "token=" not in taken_mails[0].body
    assert OneTimeToken.objects.filter(purpose="email_change").count() == 2


def test_an_address_taken_meanwhile_stays_with_who_took_it(api, user, signed_in):
    ask(api)
    token = open_token("email_change")
    owner = UserFactory.create(email=NEW)

    assert code_of(confirm(api, token)) == TAKEN
    assert User.objects.get(email=NEW) == owner
    assert User.objects.get(pk=user.pk).email == user.email


def test_a_stranger_who_registered_the_address_and_never_proved_it_makes_room(api, user, signed_in):
    body = {"email": NEW, "password": "Correct-Horse-7", "first_name": "A", "last_name": "B"}
    api.call("POST", "/register", body, bearer="")
    ask(api)

    assert confirm(api, open_token("email_change")).status_code == 200
    assert User.objects.get().email == NEW


@pytest.mark.parametrize("staffs", [{"is_staff": True}, {"created_by": "0" * 32}])
def test_an_unproved_account_that_staff_made_keeps_its_address(api, user, signed_in, staffs):
    UserFactory.create(email=NEW, unverified=True, **{"created_by": "register", **staffs})
    ask(api)

    assert code_of(confirm(api, open_token("email_change"))) == TAKEN


def test_a_link_works_once(api, user, changed):
    used = tokens.one_time_token(OneTimeToken.objects.get(purpose="email_change"))

    assert code_of(confirm(api, used)) == BAD
    assert undo(api, changed).status_code == 200
    assert code_of(undo(api, changed)) == BAD


def test_a_new_link_voids_the_one_before(api, user, signed_in):
    ask(api, "first@example.net")
    first = open_token("email_change")
    ask(api, "second@example.net")

    assert code_of(confirm(api, first)) == BAD
    assert confirm(api, open_token("email_change")).status_code == 200
    assert User.objects.get().email == "second@example.net"


@pytest.mark.parametrize(
    ("purpose", "life"), [("email_change", timedelta(hours=24)), ("email_undo", timedelta(days=7))]
)
def test_links_end_in_time(api, user, changed, purpose, life):
    ask(api, "third@example.net")
    row = OneTimeToken.objects.get(purpose=purpose, used_at=None)
    token = tokens.one_time_token(row)

    assert abs(row.expires_at - row.created_at - life) < timedelta(seconds=5)
    OneTimeToken.objects.update(expires_at=timezone.now())
    assert code_of((confirm if purpose == "email_change" else undo)(api, token)) == BAD


def test_no_token_passes_for_another_kind(api, user, signed_in):
    passwords.send_link(user)
    ask(api)

    assert code_of(confirm(api, open_token("reset"))) == BAD
    assert code_of(undo(api, open_token("email_change"))) == BAD


def test_knowing_the_row_is_not_knowing_its_token(api, user, signed_in):
    ask(api)
    row = OneTimeToken.objects.get()

    for mac in (bytes(24), bytes(row.nonce) + bytes(8), b"\xff" * 24):
        forged = base64.urlsafe_b64encode(row.pk.bytes + mac).rstrip(b"=").decode()
        assert code_of(confirm(api, forged)) == BAD


@pytest.mark.parametrize("verb", [confirm, undo])
@pytest.mark.parametrize("token", ["", "junk", "A" * 54, "é", "=" * 60, "x" * 100_000])
def test_junk_is_one_error(api, db, verb, token):
    assert code_of(verb(api, token)) == BAD


@pytest.mark.parametrize("verb", [confirm, undo])
@pytest.mark.parametrize("token", ["\x00", "\ud800", 1, None, [], {}])
def test_what_is_no_text_is_422(api, db, verb, token):
    assert verb(api, token).status_code == 422


def test_a_deactivated_account_confirms_nothing(api, user, signed_in):
    ask(api)
    User.objects.update(is_active=False)

    assert code_of(confirm(api, open_token("email_change"))) == BAD


def test_open_proofs_of_the_old_address_die(api, user, signed_in):
    reset = passwords.send_link(user)
    ask(api)

    confirm(api, open_token("email_change"))

    assert OneTimeToken.objects.get(pk=reset.pk).used_at is not None


def test_the_first_address_comes_back_after_a_second_change_and_the_one_between_does_not(api, user, changed):
    ask(api, "third@example.net")
    confirm(api, open_token("email_change"))
    between = open_token("email_undo", email=NEW)

    assert undo(api, changed).status_code == 200
    assert code_of(undo(api, between)) == BAD
    assert User.objects.get().email == user.email


def test_an_undo_comes_too_late_when_somebody_else_proved_the_old_address(api, user, changed):
    UserFactory.create(email=user.email)

    assert code_of(undo(api, changed)) == TAKEN
    assert User.objects.get(pk=user.pk).email == NEW


def test_whoever_deletes_a_hijacked_account_is_undone_with_it(api, user, changed):
    session = UserSession.objects.get(revoked_at=None)
    deletion.request(User.objects.get(), actor=Actor("api", request=RequestInfo(session_id=session.pk)))

    assert undo(api, changed).status_code == 200

    row = User.objects.get()
    assert (row.email, row.is_active, row.delete_after_at) == (user.email, True, None)


def test_what_staff_shut_stays_shut_after_an_undo(api, user, changed):
    User.objects.update(is_active=False, deactivated_at=timezone.now(), deactivated_reason="Abuse")

    assert undo(api, changed).status_code == 200
    assert not User.objects.get().is_active


def test_four_links_to_one_address_in_a_minute_send_three(api, user, signed_in):
    answers = [ask(api) for _ in range(3)]
    third = open_token("email_change")
    limited = ask(api)

    assert [answer.status_code for answer in answers] == [200] * 3
    assert limited.status_code == 429
    assert int(limited["Retry-After"]) > 0
    assert Message.objects.filter(type="users.email_change_confirm").count() == 3
    assert confirm(api, third).status_code == 200


def test_a_mailbox_is_not_flooded_by_many_accounts(api, db):
    for _ in range(4):
        api.sign_in(UserFactory.create())
        assert ask(api).json() == {"token_sent": True}

    assert Message.objects.filter(type="users.email_change_confirm").count() == 3


def test_no_token_and_no_address_rests_where_it_should_not(api, user, changed):
    stored = str(list(OneTimeToken.objects.values())) + str(list(Message.objects.values()))

    assert changed not in stored
    assert NEW not in str(recorded("email.changed").__dict__)
