"""API keys: what one opens, what it never opens, and how it ends."""

import logging
import re
import threading
from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.utils import timezone

from lib import logs
from lib.actors import Actor
from lib.errors import ProductError
from notifications.models import Message
from notifications.services import recipients
from users.admin.filters import without_factor
from users.models import ApiKey, AuditEvent, User, UserSession
from users.services import api_keys, key_scopes, rate_limits, sessions, staff
from users.tests.factories import UserFactory
from users.tests.own import at_once

OPERATOR = Actor.command("test")


def make_key(user, *scopes, **more):
    return api_keys.create(user, actor=OPERATOR, name="job", scopes=scopes, **more)


def staff_with(*permissions):
    user = UserFactory(staff=True)
    names = [name.partition(".") for name in permissions]
    for app, _, codename in names:
        user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    return user


def test_a_key_is_made_used_and_listed_by_its_owner(api, db):
    user = UserFactory()
    api.sign_in(user)

    made = api.call("POST", "/auth/api-keys", {"name": "cron", "scopes": ["account:read"]})

    assert made.status_code == 201, made.content
    assert made["Cache-Control"] == "no-store"
    secret = made.json()["secret"]
    assert re.fullmatch(r"sbk_[0-9A-Za-z]{49}", secret)
    answer = api.call("GET", "/users/user", bearer=secret)
    assert answer.status_code == 200
    assert answer.json()["email"] == user.email
    listed = api.call("GET", "/auth/api-keys").json()
    (key,) = listed["keys"]
    assert key["prefix"] == secret[:12]
    assert key["last_used_at"]
    assert "secret" not in key
    assert 89 <= (ApiKey.objects.get().expires_at - timezone.now()).days <= 90
    assert [scope["name"] for scope in listed["scopes"]] == ["account:read", "inbox"]
    assert secret.encode() not in ApiKey.objects.values_list("hash", flat=True)[0]


def test_making_and_ending_are_on_record_without_the_secret(api, db):
    api.sign_in(UserFactory())
    secret = api.call("POST", "/auth/api-keys", {"name": "cron", "scopes": ["inbox"]}).json()["secret"]

    api.call("DELETE", f"/auth/api-keys/{ApiKey.objects.get().pk.hex}")

    events = AuditEvent.objects.filter(event__startswith="api_key")
    assert [event.event for event in events] == ["api_key.created", "api_key.revoked"]
    assert not any(secret in str(event.data) for event in events)
    assert events[0].data["scopes"] == ["inbox"]
    # Nobody erases the log: what strangers type stays out of it.
    assert {event.data["name"] for event in events} == {f"{secret[:12]}…"}


def test_a_key_that_came_in_a_path_is_not_in_the_log(db):
    formatter = logs.JsonFormatter()
    secret = api_keys.new_secret()

    line = formatter.format(logging.makeLogRecord({"msg": "request", "path": f"/api/staff/people/{secret}/activate"}))

    assert "/api/staff/people/…/activate" in line


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/sessions"),
        ("DELETE", "/users/user"),
        ("PATCH", "/users/user"),
        ("POST", "/auth/change-password"),
        ("GET", "/auth/api-keys"),
        ("POST", "/auth/api-keys"),
        ("GET", "/_authenticated"),
        ("POST", "/auth/reauthenticate"),
    ],
)
def test_a_key_opens_nothing_that_a_person_does_to_their_account(api, db, method, path):
    _, secret = make_key(UserFactory(), "account:read", "inbox")

    answer = api.call(method, path, {} if method != "GET" else None, bearer=secret)

    assert answer.status_code in {403, 404}
    assert answer.json()["code"] in {"key_not_accepted", "not_found"}


def test_a_key_opens_only_what_its_scopes_name(api, db):
    _, secret = make_key(UserFactory(), "inbox")

    assert api.call("GET", "/notifications", bearer=secret).status_code == 200
    refused = api.call("GET", "/users/user", bearer=secret)

    assert refused.status_code == 403
    assert refused.json()["detail"] == {
        "code": "ErrorCode.SCOPE_MISSING",
        "reason": "The key lacks the scope account:read.",
    }


@pytest.mark.parametrize("kind", ["revoked", "expired", "of someone deactivated", "mistyped", "unknown"])
def test_a_key_that_ended_is_as_good_as_none(api, db, kind):
    key, secret = make_key(UserFactory(), "account:read")
    if kind == "revoked":
        api_keys.revoke(key, actor=OPERATOR)
    elif kind == "expired":
        ApiKey.objects.update(expires_at=timezone.now())
    elif kind == "of someone deactivated":
        User.objects.update(is_active=False)
    elif kind == "mistyped":
        secret = secret[:-1] + ("a" if secret[-1] != "a" else "b")
    else:
        secret = api_keys.new_secret()

    for path in ("/users/user", "/users/sessions"):
        assert api.call("GET", path, bearer=secret).status_code == 401


def test_a_key_is_refused_from_other_networks(api, db):
    _, secret = make_key(UserFactory(), "account:read", networks=["192.0.2.0/24"])

    assert api.call("GET", "/users/user", bearer=secret).status_code == 401
    ApiKey.objects.update(networks="192.0.2.0/24 127.0.0.0/8")
    assert api.call("GET", "/users/user", bearer=secret).status_code == 200


def test_networks_are_kept_as_addresses_of_callers_are_spelled(api, db):
    _, secret = make_key(UserFactory(), "account:read", networks=["::ffff:127.0.0.0/104"])

    assert ApiKey.objects.get().networks == "127.0.0.0/8"
    assert api.call("GET", "/users/user", bearer=secret).status_code == 200


def test_one_statement_tells_who_calls_and_the_last_use_is_written_once_a_minute(api, db, django_assert_num_queries):
    _, secret = make_key(UserFactory(), "account:read")

    with django_assert_num_queries(2):
        api.call("GET", "/users/user", bearer=secret)
    with django_assert_num_queries(1):
        api.call("GET", "/users/user", bearer=secret)

    key = ApiKey.objects.get()
    assert key.last_used_ip == "127.0.0.1"
    assert timezone.now() - key.last_used_at < timedelta(minutes=1)


def test_a_rotated_key_goes_on_beside_its_successor(api, db):
    api.sign_in(UserFactory())
    old = api.call("POST", "/auth/api-keys", {"name": "cron", "scopes": ["account:read"]}).json()

    new = api.call("POST", f"/auth/api-keys/{old['key']['id']}/rotate", {"overlap_hours": 1})

    assert new.status_code == 201
    assert {key["name"] for key in (old["key"], new.json()["key"])} == {"cron"}
    for secret in (old["secret"], new.json()["secret"]):
        assert api.call("GET", "/users/user", bearer=secret).status_code == 200
    assert ApiKey.objects.get(pk=old["key"]["id"]).expires_at <= timezone.now() + timedelta(hours=1)
    at_once = api.call("POST", f"/auth/api-keys/{new.json()['key']['id']}/rotate", {"overlap_hours": 0}).json()
    assert api.call("GET", "/users/user", bearer=new.json()["secret"]).status_code == 401
    assert api.call("GET", "/users/user", bearer=at_once["secret"]).status_code == 200


def test_making_a_key_takes_a_fresh_proof(api, db):
    user = UserFactory()
    api.sign_in(user)
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))

    answer = api.call("POST", "/auth/api-keys", {"name": "cron", "scopes": ["account:read"]})

    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["inbox"]},
        {"name": "x" * 101, "scopes": ["inbox"]},
        {"name": "a", "scopes": []},
        {"name": "a", "scopes": ["flags:switch"]},
        {"name": "a", "scopes": ["all"]},
        {"name": "a", "scopes": ["inbox"], "networks": ["example.org"]},
        {"name": "a", "scopes": ["inbox"], "networks": [""]},
        {"name": "a", "scopes": ["inbox"], "networks": ["fe80::1%eth0"]},
        {"name": "a", "scopes": ["inbox"], "expires_at": "2027-01-01T00:00:00"},
        {"name": "a", "scopes": ["inbox"], "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "a", "scopes": ["inbox"], "expires_at": "9999-12-31T23:59:59Z"},
        {"name": "a\u0000", "scopes": ["inbox"]},
    ],
)
def test_what_is_no_key_is_refused_with_words(api, db, body):
    api.sign_in(UserFactory())

    answer = api.call("POST", "/auth/api-keys", body)

    assert answer.status_code == 422, answer.content
    assert not ApiKey.objects.exists()


def test_what_signs_out_everywhere_ends_the_keys(api, db):
    user = UserFactory()
    _, secret = make_key(user, "account:read")
    session = sessions.new_session(user, OPERATOR.request, UserSession.Kind.API, timezone.now())

    sessions.end_all_sessions(user.pk, reason="password", keep=session.pk)
    assert api.call("GET", "/users/user", bearer=secret).status_code == 200
    staff.sign_out(user, actor=OPERATOR)
    assert api.call("GET", "/users/user", bearer=secret).status_code == 401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", ["make", "rotate"])
def test_a_key_made_while_its_owner_is_signed_out_everywhere_does_not_outlive_that(user, verb):
    session = sessions.new_session(user, OPERATOR.request, UserSession.Kind.API, timezone.now())
    actor = Actor("api", user, request=replace(OPERATOR.request, session_id=session.pk))
    key, _ = make_key(user, "inbox")

    def make():
        try:
            if verb == "make":
                api_keys.create(user, actor=actor, name="b", scopes=["inbox"])
            else:
                api_keys.rotate(key, actor=actor)
        except ProductError as error:
            refusals.append(error.code)
        finally:
            connection.close()

    refusals = []
    making = threading.Thread(target=make)
    with transaction.atomic():
        sessions.end_all_sessions(user.pk, reason="password")
        making.start()
        making.join(0.5)
    making.join()

    assert not ApiKey.objects.live(timezone.now()).exists()
    assert refusals == ["REAUTHENTICATION_REQUIRED"]


@pytest.mark.django_db(transaction=True)
def test_keys_made_at_once_are_no_more_than_the_limit(user, monkeypatch):
    monkeypatch.setattr(api_keys, "LIMIT", 3)

    def make():
        try:
            return make_key(user, "inbox") and "made"
        except ProductError as error:
            return error.code

    assert sorted(at_once([make] * 8)) == ["KEY_LIMIT"] * 5 + ["made"] * 3
    key = ApiKey.objects.first()

    def rotate():
        try:
            return api_keys.rotate(key, actor=OPERATOR, overlap_hours=0) and "made"
        except ProductError as error:
            return error.code

    assert sorted(at_once([rotate] * 4)) == ["KEY_ENDED"] * 3 + ["made"]


def test_the_owner_is_mailed_about_a_new_key(api, db):
    api.sign_in(UserFactory())

    api.call("POST", "/auth/api-keys", {"name": "cron https://evil.example", "scopes": ["inbox"]})

    message = Message.objects.get(type="users.api_key_created")
    assert message.context["scopes"] == "inbox"
    assert "evil" not in message.context["name"]


def test_a_service_account_is_neither_written_to_nor_staff_without_factor(db):
    user = api_keys.create_service_account(name="deploy", groups=[], actor=OPERATOR).user
    make_key(user, "account:read")

    assert not Message.objects.exists()
    assert recipients.unreachable(user) == "inactive"
    assert not User.objects.filter(without_factor()).exists()


def test_nobody_reaches_the_key_of_another(api, db):
    key, _ = make_key(UserFactory(), "inbox")
    api.sign_in(UserFactory())

    assert api.call("DELETE", f"/auth/api-keys/{key.pk.hex}").status_code == 404
    assert api.call("POST", f"/auth/api-keys/{key.pk.hex}/rotate").status_code == 404
    assert ApiKey.objects.get().revoked_at is None


def test_a_key_is_never_good_for_more_than_its_owner(api, db):
    user = staff_with("users.view_user", "users.activate_user")
    someone = UserFactory(inactive=True)
    _, secret = make_key(user, "people:activate")
    path = f"/staff/people/{someone.pk.hex}/activate"

    user.user_permissions.clear()
    refused = api.call("POST", path, bearer=secret)

    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert not User.objects.get(pk=someone.pk).is_active


def test_scopes_of_staff_need_a_second_factor_where_staff_do(api, db, settings):
    settings.USERS_STAFF_MFA = "required"
    user = staff_with("users.view_user")
    key, _ = make_key(user, "people:read")
    api.sign_in(user)

    made = api.call("POST", "/auth/api-keys", {"name": "a", "scopes": ["people:read"]})
    rotated = api.call("POST", f"/auth/api-keys/{key.pk.hex}/rotate")

    for answer in (made, rotated):
        assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required")


def test_nobody_makes_keys_and_mails_without_end(api, db, monkeypatch):
    monkeypatch.setattr(rate_limits, "API_KEY", rate_limits.Limit("api_key", 2, window=60))
    api.sign_in(UserFactory())
    key = api.call("POST", "/auth/api-keys", {"name": "a", "scopes": ["inbox"]}).json()["key"]["id"]
    rotated = api.call("POST", f"/auth/api-keys/{key}/rotate")

    answers = [
        api.call("POST", "/auth/api-keys", {"name": "a", "scopes": ["inbox"]}),
        api.call("POST", f"/auth/api-keys/{key}/rotate"),
    ]

    assert rotated.status_code == 201
    assert [answer.status_code for answer in answers] == [429, 429]
    assert 0 < int(answers[0]["Retry-After"]) <= 60
    assert (ApiKey.objects.count(), Message.objects.count()) == (2, 2)


def test_a_user_has_at_most_so_many_keys(db, monkeypatch):
    monkeypatch.setattr(api_keys, "LIMIT", 1)
    user = UserFactory()
    key, _ = make_key(user, "inbox")

    with pytest.raises(ProductError) as refused:
        make_key(user, "inbox")
    api_keys.revoke(key, actor=OPERATOR)

    assert refused.value.code == "KEY_LIMIT"
    make_key(user, "inbox")


def test_rotating_makes_no_more_keys_than_twice_as_many(db, monkeypatch):
    monkeypatch.setattr(api_keys, "LIMIT", 1)
    key, _ = make_key(UserFactory(), "inbox")
    successor, _ = api_keys.rotate(key, actor=OPERATOR)

    with pytest.raises(ProductError) as refused:
        api_keys.rotate(successor, actor=OPERATOR)

    assert refused.value.code == "KEY_LIMIT"
    api_keys.revoke(key, actor=OPERATOR)
    api_keys.rotate(successor, actor=OPERATOR)


def test_nobody_gets_the_secret_of_anothers_key_by_rotating_it(db):
    key, _ = make_key(UserFactory(), "inbox")
    support = staff_with("users.revoke_apikey")
    session = sessions.new_session(support, OPERATOR.request, UserSession.Kind.ADMIN, timezone.now())
    actor = Actor("admin", support, request=replace(OPERATOR.request, session_id=session.pk))

    with pytest.raises(ProductError) as refused:
        api_keys.rotate(key, actor=actor)

    assert refused.value.code == "SUPERUSERS_ONLY"


def test_a_service_account_is_not_the_last_superuser(db):
    person = UserFactory(superuser=True)
    account = api_keys.create_service_account(name="deploy", groups=[], actor=OPERATOR)
    staff.edit(account.user, is_superuser=True, actor=OPERATOR)

    with pytest.raises(ProductError) as refused:
        staff.deactivate(person, actor=OPERATOR, reason="left")

    assert refused.value.code == "LAST_SUPERUSER"


def test_no_key_is_made_for_an_account_that_is_shut(db):
    user = api_keys.create_service_account(name="deploy", groups=[], actor=OPERATOR).user
    key, _ = make_key(user, "inbox")
    User.objects.update(is_active=False)

    for make in (lambda: make_key(user, "inbox"), lambda: api_keys.rotate(key, actor=OPERATOR)):
        with pytest.raises(ProductError) as refused:
            make()
        assert refused.value.code == "USER_INACTIVE"


def test_a_service_account_acts_by_its_groups_and_never_signs_in(api, db):
    group = Group.objects.get(name="Release")
    account = api_keys.create_service_account(name="deploy", groups=[group], actor=OPERATOR)
    _, secret = make_key(account.user, "flags:switch", "flags:read")

    assert account.user.has_perm("feature_flags.switch_featureflag")
    assert not account.user.has_usable_password()
    assert api.login_form(account.user.email, "").status_code in {400, 422}
    assert api.call("GET", "/users/user", bearer=secret).status_code == 403
    assert "people:read" not in key_scopes.offered(account.user)


def test_no_mail_and_no_stranger_reaches_a_service_account(api, db):
    user = api_keys.create_service_account(name="deploy", groups=[], actor=OPERATOR).user

    api.call("POST", "/auth/forgot-password", {"email": user.email})
    names = {"first_name": "A", "last_name": "B"}
    registered = api.call(
        "POST", "/register", {"email": "next@service-account.invalid", "password": "Correct-Horse-7", **names}
    )

    assert not Message.objects.exists()
    assert registered.json()["code"] == "address_reserved"
    for make in (staff.create_admin, lambda email, actor: staff.create(email=email, actor=actor)):
        with pytest.raises(ProductError) as reserved:
            make("Next@Service-Account.invalid", actor=OPERATOR)
        assert reserved.value.code == "ADDRESS_RESERVED"
    with pytest.raises(ProductError):
        staff.send_reset(user, actor=OPERATOR)


@pytest.mark.parametrize("name", ["", "Deploy", "a b", "-a", "a-", "x" * 64, "ä"])
def test_a_service_account_has_a_plain_name(db, name):
    with pytest.raises(ProductError) as refused:
        api_keys.create_service_account(name=name, groups=[], actor=OPERATOR)

    assert refused.value.code == "SERVICE_ACCOUNT_INVALID"


def test_every_permission_of_staff_is_in_one_scope(db):
    named = [permission for scope in key_scopes.SCOPES.values() for permission in scope.permissions]

    assert {name for name in named if named.count(name) > 1} == {"notifications.add_message"}
    verbs = {verb.permission for page in pages() for verb in page.verbs}
    # What people alone do stands in none.
    assert verbs - set(named) == {"users.decide_proposal"}


def pages():
    from django.contrib import admin

    from lib.admin.verbs import VerbAdmin

    return [page for page in admin.site._registry.values() if isinstance(page, VerbAdmin)]


def run(*arguments):
    output = StringIO()
    call_command(*arguments, stdout=output)
    return output.getvalue().strip()


def test_operators_make_service_accounts_and_keys(api, db):
    assert run("create_service_account", "deploy", "--group", "Release") == "deploy created, in Release."
    secret = run("create_api_key", "deploy", "--scope", "flags:switch", "--days", "7")

    assert api.call("POST", "/staff/flags/NO_SUCH/switch/on", bearer=secret).status_code == 404
    key = ApiKey.objects.get()
    assert (key.scopes, key.created_by) == ("flags:switch", "command:create_api_key")
    assert 6 <= (key.expires_at - timezone.now()).days <= 7


@pytest.mark.parametrize(
    "arguments",
    [
        ("create_service_account", "deploy", "--group", "Nobody"),
        ("create_service_account", "De ploy"),
        ("create_api_key", "deploy", "--scope", "inbox"),
        ("create_api_key", "ada@example.org", "--scope", "flags:switch"),
    ],
)
def test_commands_refuse_with_a_sentence(db, arguments):
    UserFactory(email="ada@example.org")

    with pytest.raises(CommandError):
        run(*arguments)

    assert not ApiKey.objects.exists()
