"""DELETE /api/users/user, POST /api/auth/undelete, and what is left when the time is over."""

import json
from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from notifications.models import InAppNotification, Message, Preference, WebhookDelivery, WebhookEndpoint
from notifications.services import endpoints, outbox, periodic_jobs, personal_data, recipients
from notifications.tests.factories import MessageFactory
from users.models import (
    ApiKey,
    AuditEvent,
    MfaDevice,
    OneTimeToken,
    RateBucket,
    RecoveryCode,
    RefreshToken,
    Registration,
    User,
    UserSession,
)
from users.services import api_keys, deletion, passwords, sessions, staff, tokens
from users.tests.factories import PASSWORD, UserFactory
from users.tests.own import age_proof, code_of, recorded, sign_in_elsewhere, token_in

pytestmark = pytest.mark.django_db

BAD = (400, "ErrorCode.UNDELETE_BAD_TOKEN", "undelete_bad_token")
LATER = timedelta(days=30, seconds=1)
OPERATOR = Actor.command("test")


def delete(api, **more):
    return api.call("DELETE", "/users/user", **more)


def undelete(api, token):
    return api.call("POST", "/auth/undelete", {"token": token}, bearer="")


def undelete_token():
    return tokens.one_time_token(OneTimeToken.objects.get(purpose="undelete", used_at=None))


@pytest.fixture
def signed_in(api, user):
    return api.sign_in(user)


@pytest.fixture
def deleted(api, user, signed_in):
    """The token that takes back a deletion asked for just now."""
    assert delete(api).status_code == 202
    return undelete_token()


def raiser(error):
    def fail(*args):
        raise error

    return fail


def delete_due(now):
    """As housekeeping does it; how many went."""
    return deletion.carry_out(list(deletion.due(now).values_list("pk", flat=True)), now)


def test_the_account_is_shut_at_once_and_every_session_ends(api, user, signed_in):
    other = sign_in_elsewhere(api, user)

    response = delete(api)

    body = response.json()
    assert (response.status_code, body["deletion_scheduled"]) == (202, True)
    row = User.objects.get()
    assert not row.is_active
    assert abs(row.delete_after_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)
    for token in (signed_in, other):
        assert api.call("GET", "/users/user", bearer=token["access_token"]).status_code == 401
        answer = api.call("POST", "/auth/refresh-tokens", {"token": token["refresh_token"]}, bearer="")
        assert answer.status_code == 400
    assert api.login_form(user.email).json()["detail"] == "ErrorCode.LOGIN_BAD_CREDENTIALS"
    assert recorded("user.deletion_requested").data == {"ended": 2}


def test_the_mailed_link_takes_it_back(api, user, signed_in, outbox):
    with outbox() as mails:
        delete(api)

    response = undelete(api, token_in(mails[0]))

    assert mails[0].to == [user.email]
    assert (response.status_code, response.json()) == (200, {"undeleted": True})
    assert api.login_form(user.email).status_code == 200
    assert User.objects.get().delete_after_at is None
    assert recorded("user.deletion_undone").user_id == user.pk


def test_the_link_works_once(api, deleted):
    undelete(api, deleted)

    assert code_of(undelete(api, deleted)) == BAD


@pytest.mark.parametrize("token", ["", "junk", "A" * 54, "é", "x" * 100_000])
def test_junk_is_one_error(api, db, token):
    assert code_of(undelete(api, token)) == BAD


@pytest.mark.parametrize("token", ["\x00", "\ud800", 1, None])
def test_what_is_no_text_is_422(api, db, token):
    assert undelete(api, token).status_code == 422


def test_it_needs_a_fresh_proof(api, user, signed_in):
    age_proof()

    assert code_of(delete(api)) == (403, "ErrorCode.REAUTHENTICATION_REQUIRED", "reauthentication_required")
    assert User.objects.get().is_active


def test_it_needs_a_bearer(api, user):
    assert delete(api).status_code == 401


def test_the_last_superuser_stays(api, superuser):
    api.sign_in(superuser)

    assert code_of(delete(api))[1] == "ErrorCode.LAST_SUPERUSER"
    assert User.objects.get().is_active


def test_a_reset_link_mailed_before_opens_nothing(api, user, signed_in):
    token = tokens.one_time_token(passwords.send_link(user))
    delete(api)

    body = {"email": user.email, "token": token, "password": "Another-Horse-8"}
    assert api.call("POST", "/auth/reset-password", body, bearer="").status_code == 400
    assert not User.objects.get().is_active
    undelete(api, undelete_token())
    assert api.call("POST", "/auth/reset-password", body, bearer="").status_code == 400


def test_staff_who_activate_the_account_take_it_back(api, user, deleted):
    staff.activate(user, actor=Actor("command", label="f" * 32))

    assert User.objects.get().delete_after_at is None
    assert delete_due(timezone.now() + LATER) == 0
    assert code_of(undelete(api, deleted)) == BAD


def test_what_staff_shut_in_the_meantime_no_link_opens(api, user, deleted):
    assert staff.deactivate(user, actor=Actor("command", label="f" * 32), reason="Abuse")

    assert code_of(undelete(api, deleted)) == BAD
    assert delete_due(timezone.now() + LATER) == 1


# --- When the time is over --------------------------------------------------------------------------------------------


def test_before_its_time_nothing_is_deleted(api, user, deleted):
    assert delete_due(timezone.now() + timedelta(days=29)) == 0
    assert User.objects.get().email == user.email


def test_afterwards_nothing_tells_who_it_was(api, user, signed_in, staff_client, superuser):
    address, name = user.email, "Ada"
    User.objects.filter(pk=superuser.pk).update(first_name="", last_name="")
    User.objects.filter(pk=user.pk).update(is_staff=True, language="de", last_login=timezone.now())
    user.groups.add(Group.objects.create(name="Testers"))
    MfaDevice.objects.create(user=user, kind="totp", name="Ada's phone", secret="x", confirmed_at=timezone.now())
    RecoveryCode.objects.create(user=user, hash=b"x")
    Registration.objects.create(user=user, password="x", first_name=name)
    Preference.objects.create(user=user, category="x", channel="email", enabled=False)
    InAppNotification.objects.create(user=user, type="x", category="x", title="For Ada")
    key = api_keys.create(user, actor=Actor.command("test"), name="Ada's job", scopes=["inbox"])[0]
    for thing in (user, key):
        LogEntry.objects.log_actions(superuser.pk, [thing], CHANGE, "x", single_object=True)
    api.login_form(address, "Wrong-Horse-7")
    delete(api)

    assert delete_due(timezone.now() + LATER) == 1

    row = User.objects.get(pk=user.pk)
    assert (row.email, row.first_name, row.last_name) == (f"deleted-{user.pk.hex}@invalid", "", "")
    assert (row.is_active, row.is_staff, row.delete_after_at, row.is_verified) == (False, False, None, False)
    assert not row.has_usable_password()
    assert not row.groups.exists()
    own = (UserSession, OneTimeToken, Registration, MfaDevice, RecoveryCode, ApiKey, Preference, InAppNotification)
    for model in own:
        assert not model.objects.filter(user=user).exists()
    assert not RateBucket.objects.filter(scope="login").exists()
    kept = [list(model.objects.values()) for model in (User, Message, LogEntry, InAppNotification)]
    assert not any(word in str(kept) for word in (address, name, "Lovelace"))
    assert recorded("user.deleted").user_id == user.pk


def test_webhooks_forget_the_address(api, user, signed_in):
    events = ["user.updated", "address.suppressed", "user.deleted"]
    endpoints.create(name="CRM", url="https://crm.example.org/", events=events, actor=OPERATOR)
    staff.edit(user, actor=OPERATOR, first_name="Grace")
    recipients.suppress(user.email, scope="all", reason="bounce", source="")
    WebhookDelivery.objects.filter(event="user.updated").update(state="delivered", due_at=None)
    assert delete(api).status_code == 202

    delete_due(timezone.now() + LATER)

    bodies = dict(WebhookDelivery.objects.values_list("event", "body"))
    assert [name for name, body in bodies.items() if user.email in body] == ["user.deleted"]
    assert json.loads(bodies["user.updated"])["data"] == {**json.loads(bodies["user.updated"])["data"], "email": ""}
    assert user.email not in str(list(WebhookDelivery.objects.values_list("subject", flat=True)))
    WebhookDelivery.objects.update(state="delivered", due_at=None)
    list(periodic_jobs.purge())
    assert not WebhookDelivery.objects.filter(event="user.deleted").exists()


def test_mails_that_wait_are_not_sent(api, user, deleted, settings):
    settings.NOTIFICATIONS_ENGINE = "off"
    with_name = {"first_name": "Ada"}
    outbox.queue("users.welcome", to=user.email, user=user, context=with_name)

    delete_due(timezone.now() + LATER)

    assert set(Message.objects.values_list("state", flat=True)) <= {"cancelled", "sent"}


def test_the_address_is_free_again(api, user, deleted):
    delete_due(timezone.now() + LATER)

    body = {"email": user.email, "password": PASSWORD, "first_name": "A", "last_name": "B"}
    assert api.call("POST", "/register", body, bearer="").json()["id"] != user.pk.hex


def test_the_link_is_dead_then(api, user, deleted):
    delete_due(timezone.now() + LATER)

    assert code_of(undelete(api, deleted)) == BAD


def test_a_second_run_deletes_nothing(api, user, deleted):
    assert delete_due(timezone.now() + LATER) == 1
    assert delete_due(timezone.now() + LATER) == 0


def test_the_hourly_purge_deletes_what_is_due(api, user, deleted):
    User.objects.update(delete_after_at=timezone.now())

    assert deletion.expired()["deletions"] == 1
    assert deletion.purge()["deletions"] == 1
    assert not User.objects.filter(email=user.email).exists()


def test_the_command_tells_of_it(api, user, deleted, capsys):
    User.objects.update(delete_after_at=timezone.now())

    call_command("purge_accounts", "--dry-run")

    assert "deletions" in capsys.readouterr().out
    assert User.objects.get().email == user.email


def test_whoever_comes_back_while_the_purge_runs_stays(api, user, deleted):
    keys = list(deletion.due(timezone.now() + LATER).values_list("pk", flat=True))
    undelete(api, deleted)

    assert deletion.carry_out(keys, timezone.now() + LATER) == 0
    assert User.objects.get().email == user.email


def test_one_who_has_become_the_last_superuser_meanwhile_is_kept(api, superuser):
    User.objects.create_superuser("second@example.org", PASSWORD)
    api.sign_in(superuser)
    delete(api)
    User.objects.filter(email="second@example.org").delete()

    assert delete_due(timezone.now() + LATER) == 0


def test_accounts_that_staff_shut_are_never_deleted(user):
    staff.deactivate(user, actor=Actor("command", label="f" * 32), reason="Abuse")

    assert delete_due(timezone.now() + timedelta(days=3650)) == 0


def test_many_go_in_one_run(db, monkeypatch):
    monkeypatch.setattr(deletion, "_TOGETHER", 2)
    for _ in range(5):
        UserFactory.create(inactive=True, delete_after_at=timezone.now())
    UserFactory.create()

    assert deletion.purge()["deletions"] == 5
    assert User.objects.exclude(email__startswith="deleted-").count() == 1


def test_one_more_account_costs_no_statement(db):
    WebhookEndpoint.objects.create(name="crm", url="https://example.org/", events=["user.deleted"])
    addresses, counts = [], []
    for number in (5, 25):
        for user in UserFactory.create_batch(number, inactive=True, delete_after_at=timezone.now()):
            outbox.queue("users.welcome", to=user.email, user=user, context={"first_name": "Ada"})
            addresses.append(user.email)
            MessageFactory.create(to_address=user.email)
            session = sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())
            RefreshToken.objects.create(hash=session.pk.bytes, session=session)
        with CaptureQueriesContext(connection) as captured:
            assert deletion.purge()["deletions"] == number
        counts.append(len(captured))
        # PostgreSQL would read the messages of all who are gone, once they are more than it knows of.
        assert not any('message"."user_id" IS NULL' in query["sql"] for query in captured.captured_queries)

    assert counts[1] <= counts[0]
    assert AuditEvent.objects.filter(event="user.deleted").count() == 30
    told = [json.loads(row.body)["data"] for row in WebhookDelivery.objects.filter(due_at__isnull=False)]
    assert sorted(data["email"] for data in told) == sorted(addresses)
    assert {row.subject for row in WebhookDelivery.objects.all()} == {f"user:{data['id']}" for data in told}
    assert not Message.objects.exclude(to_address="", user=None, context={}).exists()


def test_an_account_with_very_much_is_emptied_in_some_transactions(user, monkeypatch):
    """And where the process dies between them the next run goes on."""
    User.objects.update(is_active=False, delete_after_at=timezone.now())
    for module in (personal_data, sessions):
        monkeypatch.setattr(module, "_ROWS", 2)
    for _ in range(5):
        MessageFactory.create(to_address=user.email)
        InAppNotification.objects.create(user=user, type="x", category="x", title="For Ada")
    session = sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())
    link = None
    for number in range(5):
        link = RefreshToken.objects.create(hash=bytes([number]), session=session, parent=link)

    with monkeypatch.context() as patched:
        patched.setattr(deletion.rate_limits, "end_pause", raiser(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            deletion.purge()

    # What the first transactions did stays, the account is still to be deleted, and nothing says that it was.
    assert not Message.objects.exclude(to_address="").exists()
    assert RefreshToken.objects.count() == 1
    assert User.objects.get().email == user.email
    assert not AuditEvent.objects.filter(event="user.deleted").exists()
    assert deletion.purge()["deletions"] == 1
    assert not any(model.objects.exists() for model in (RefreshToken, UserSession, InAppNotification))


def test_a_token_of_another_purpose_opens_nothing(api, user, deleted):
    other = tokens.issue(user, OneTimeToken.Purpose.EMAIL_UNDO, email=user.email, lasts=LATER)

    assert code_of(undelete(api, tokens.one_time_token(other))) == BAD
