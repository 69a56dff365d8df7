"""The commands of accounts beyond the seed's: what they print, for people and with --json, and what they leave."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from lib import encryption
from lib.actors import Actor, RequestInfo
from users.models import AuditEvent, MfaDevice, User, UserSession
from users.services import api_keys, rate_limits, second_factors, sessions, sign_in, staff
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db
#: Readable, and in UTC beyond the years there are.
ENDS_OF_TIME = ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"]


def run(name, *arguments, **options):
    out = io.StringIO()
    call_command(name, *arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def asked(name, *arguments):
    return json.loads(run(name, *arguments, "--json"))


def refusal(name, *arguments):
    with pytest.raises(CommandError) as caught:
        run(name, *arguments)
    return caught.value.returncode, str(caught.value)


def signed_in(user, ip="203.0.113.7"):
    return sessions.new_session(
        user, RequestInfo(ip, "Mozilla/5.0 (X11; Linux) Firefox/140.0"), UserSession.Kind.API, timezone.now()
    )


def with_app(user):
    """An authenticator app in use."""
    enrolment = second_factors.start_totp(user, name="Phone")
    MfaDevice.objects.filter(pk=enrolment.device.pk).update(confirmed_at=timezone.now())
    return enrolment


def pause(user):
    for _ in range(rate_limits.LOGIN.max_count):
        rate_limits.reserve(sign_in.login_bucket(user.email, RequestInfo("203.0.113.7")))


def live(user):
    return UserSession.objects.live(timezone.now()).filter(user=user).count()


@pytest.mark.parametrize("typed", ["ada@example.org", "ADA@Example.ORG"])
def test_verifying_takes_the_address_on_the_operators_word(typed):
    user = UserFactory.create(email="ada@example.org", unverified=True)

    assert run("verify_user", typed, "--reason", "by telephone") == "ada@example.org is verified\n"

    user.refresh_from_db()
    assert user.is_verified
    row = AuditEvent.objects.get(event="user.verified")
    assert (row.door, row.actor, row.data) == ("command", "command:verify_user", {"reason": "by telephone"})


def test_unlocking_lifts_the_pause_and_says_whether_there_was_one():
    user = UserFactory.create(email="ada@example.org")
    pause(user)

    assert run("unlock_user", "ada@example.org") == "ada@example.org is unlocked\n"
    assert run("unlock_user", "ada@example.org") == "ada@example.org was not paused\n"
    assert AuditEvent.objects.filter(event="user.unlocked").count() == 1


def test_revoking_signs_one_person_out_everywhere():
    ada, bob = UserFactory.create(email="ada@example.org"), UserFactory.create()
    for user in (ada, ada, bob):
        signed_in(user)

    assert run("revoke_sessions", "ada@example.org") == "ada@example.org: 2 sessions ended\n"
    assert (live(ada), live(bob)) == (0, 1)


def test_revoking_all_wants_to_be_meant():
    ada, bob = UserFactory.create(), UserFactory.create()
    signed_in(ada), signed_in(bob)

    assert refusal("revoke_sessions", "--all") == (2, "--all signs everybody out: add --yes.")
    assert refusal("revoke_sessions")[0] == 2
    assert refusal("revoke_sessions", "--all", "--yes", ada.email)[0] == 2
    assert live(ada) == 1
    assert run("revoke_sessions", "--all", "--yes") == "2 sessions ended.\n"
    assert (live(ada), live(bob)) == (0, 0)


def test_sessions_are_listed_newest_first_and_of_one_person():
    ada, bob = UserFactory.create(email="ada@example.org"), UserFactory.create(email="bob@example.org")
    first, second = signed_in(ada), signed_in(bob)
    ended = signed_in(ada)
    UserSession.objects.filter(pk=ended.pk).update(revoked_at=timezone.now(), revoked_reason="logout")

    everybody = asked("list_sessions")["sessions"]

    assert [row["id"] for row in everybody] == [str(second.pk), str(first.pk)]
    assert (everybody[1]["user"], everybody[1]["label"]) == ("ada@example.org", "Firefox on Linux")
    assert [row["user"] for row in asked("list_sessions", "--user", "ADA@example.org")["sessions"]] == [ada.email]
    assert "bob@example.org  Firefox on Linux" in run("list_sessions")


def test_sessions_can_be_asked_for_by_age():
    old, new = signed_in(UserFactory.create()), signed_in(UserFactory.create())
    UserSession.objects.filter(pk=old.pk).update(last_seen_at=timezone.now() - timedelta(days=2))

    assert [row["id"] for row in asked("list_sessions", "--since", "36h")["sessions"]] == [str(new.pk)]
    assert len(asked("list_sessions", "--since", "3d")["sessions"]) == 2


@pytest.mark.parametrize(
    "when", ["yesterday", "", "7", "d", "-1d", "99999999999999d", "2026-13-01", "²d", "\x00", *ENDS_OF_TIME]
)
def test_a_time_that_is_none_is_a_usage_error(when):
    assert refusal("list_sessions", f"--since={when}")[0] == 2
    assert refusal("audit_log", f"--since={when}")[0] == 2


@pytest.mark.parametrize("limit", ["-1", "1.5", "²", "9" * 19, "9" * 5000])
def test_a_limit_that_is_none_is_a_usage_error(limit):
    assert refusal("list_sessions", f"--limit={limit}")[0] == 2
    assert refusal("audit_log", f"--limit={limit}")[0] == 2


def test_asked_about_nobody_they_do_not_tell_about_everybody():
    signed_in(UserFactory.create())
    call_command("activate_user", UserFactory.create(is_active=False).email, stdout=io.StringIO())

    assert refusal("list_sessions", "--user", "")[0] == 1
    assert asked("audit_log", "--user", "")["events"] == []
    assert refusal("audit_log", "--event", "")[0] == 2


def test_the_audit_log_answers_for_a_person_and_for_an_address_nobody_has(api):
    user = UserFactory.create(email="ada@example.org")
    api.login_form("ada@example.org", "Wrong-Horse-7")
    api.login_form("ada@example.org")
    api.login_form("eve@example.org", "Wrong-Horse-7")

    mine = asked("audit_log", "--user", "Ada@Example.org")["events"]

    assert [row["event"] for row in mine] == ["login.ok", "login.failed"]
    assert {row["user_id"] for row in mine} == {str(user.pk)}
    assert [row["event"] for row in asked("audit_log", "--user", "eve@example.org")["events"]] == ["login.failed"]
    assert len(asked("audit_log", "--event", "login", "--outcome", "failed")["events"]) == 2
    assert asked("audit_log", "--door", "admin")["events"] == []
    assert "login.ok ok" in run("audit_log", "--user", "ada@example.org", "--since", "1h")
    assert PASSWORD not in run("audit_log")


def test_an_event_there_is_not_is_a_usage_error():
    assert refusal("audit_log", "--event", "login.okay") == (2, "No event login.okay.")


def test_resetting_factors_removes_them_ends_sessions_and_is_on_record():
    user = UserFactory.create(email="ada@example.org")
    with_app(user)
    signed_in(user)

    assert run("reset_mfa", "ada@example.org", "--reason", "lost phone") == "ada@example.org: 1 second factor removed\n"

    assert not MfaDevice.objects.exists()
    assert live(user) == 0
    assert AuditEvent.objects.get(event="mfa.removed").data == {"kind": "totp", "reason": "lost phone"}
    assert run("reset_mfa", "ada@example.org") == "ada@example.org: 0 second factors removed\n"


def test_all_of_a_selection_are_tried_and_json_tells_both_kinds():
    UserFactory.create(email="ada@example.org", inactive=True)
    out = io.StringIO()

    with pytest.raises(CommandError, match=r"No user nobody@example.org."):
        call_command("activate_user", "nobody@example.org", "ada@example.org", "--json", stdout=out)

    assert json.loads(out.getvalue()) == {
        "done": [{"email": "ada@example.org", "changed": True, "is_verified": True}],
        "refused": [{"email": "nobody@example.org", "code": "user_unknown", "message": "No user nobody@example.org."}],
    }


def test_the_last_superuser_stays_and_the_others_are_done():
    UserFactory.create(email="root@example.org", superuser=True)
    UserFactory.create(email="ada@example.org")

    code, told = refusal("deactivate_user", "root@example.org", "ada@example.org")

    assert (code, told) == (1, "root@example.org: This is the last active superuser.")
    assert not User.objects.get(email="ada@example.org").is_active


@pytest.mark.parametrize(
    "name", ["activate_user", "deactivate_user", "verify_user", "unlock_user", "revoke_sessions", "reset_mfa"]
)
@pytest.mark.parametrize("typed", ["a\x00b@example.org", "\ud800@example.org", "nobody", "", "x" * 10_000])
def test_what_is_no_address_is_nobody(name, typed):
    code, told = refusal(name, typed)

    assert code == 1
    assert told.startswith("No user ")
    assert "\x00" not in told


def test_key_rotation_brings_secrets_under_the_first_key(settings):
    user = UserFactory.create()
    secret = with_app(user).secret
    settings.USERS_ENCRYPTION_KEYS = ["a-new-key-that-is-long-enough-0123456789"]
    before = MfaDevice.objects.get().secret
    assert refusal("rotate_token_keys") == (1, "1 secrets can be read with none of the keys.")
    assert MfaDevice.objects.get().secret == before
    old = settings.USERS_TOKEN_SECRET
    settings.USERS_ENCRYPTION_KEYS, settings.USERS_TOKEN_SECRET = [], "another-token-secret-0123456789-abcdefghij"
    settings.USERS_TOKEN_SECRET_FALLBACKS = [old]

    assert run("rotate_token_keys", "--dry-run") == "1 secrets would be encrypted anew.\n"
    assert MfaDevice.objects.get().secret == before
    assert asked("rotate_token_keys") == {"resealed": 1, "unreadable": 0}

    settings.USERS_TOKEN_SECRET_FALLBACKS = []
    assert encryption.decrypt(MfaDevice.objects.get().secret) == secret


# --- check_accounts ---------------------------------------------------------------------------------------------------


def findings():
    out = io.StringIO()
    try:
        call_command("check_accounts", "--json", stdout=out)
    except CommandError as error:
        assert error.returncode == 1  # noqa: PT017 (it may also end well)
    return {row["code"]: row["message"] for row in json.loads(out.getvalue())["findings"]}


def test_a_sound_set_up_has_no_findings(settings):
    settings.BASE_URL, settings.APP_URL = "https://app.example.org", "https://app.example.org"
    settings.USERS_WEBAUTHN_RP_ID, settings.USERS_WEBAUTHN_ORIGINS = "example.org", ["https://app.example.org"]
    settings.SESSION_COOKIE_SECURE = True
    settings.USERS_TOKEN_SECRET = "Zt5wPq8Lr2Xk9Vn4Bm7Cd1Fg6Hj3Ks0Qa"
    with_app(UserFactory.create(superuser=True))

    assert run("check_accounts") == "Nothing found.\n"


def test_what_is_unsafe_is_found_by_name_and_never_by_value(settings):
    settings.USERS_ACCESS_TOKEN_SECRET = "super-secret-token-of-the-seed"
    settings.USERS_IP_LIMITS = False
    settings.USERS_STAFF_MFA = "optional"
    settings.APP_URL = "http://app.example.org"
    settings.TRUSTED_PROXIES = ["0.0.0.0/0"]
    settings.USERS_WEBAUTHN_RP_ID, settings.USERS_WEBAUTHN_ORIGINS = "app.example.org", ["https://api.example.org"]
    settings.USERS_RETURN_VERIFICATION_TOKENS = True
    UserFactory.create(staff=True, email="eve@example.org")

    found = findings()

    assert found.keys() >= {
        "weak-secret",
        "no-ip-limits",
        "staff-mfa-optional",
        "plain-http",
        "trusts-everybody",
        "passkeys-elsewhere",
        "secrets-in-answers",
        "staff-without-factor",
        "no-superuser",
    }
    assert "super-secret" not in str(found)
    assert "eve@example.org" in found["staff-without-factor"]
    assert refusal("check_accounts")[0] == 1


def test_a_service_account_has_no_factor_and_is_no_superuser_who_could_help():
    account = api_keys.create_service_account(name="deploy", groups=[], actor=Actor.command("test"))
    staff.edit(account.user, is_superuser=True, actor=Actor.command("test"))

    found = findings()

    assert "staff-without-factor" not in found
    assert "no-superuser" in found


def test_a_secret_no_key_reads_is_found(settings):
    with_app(UserFactory.create())
    settings.USERS_ENCRYPTION_KEYS = ["a-new-key-that-is-long-enough-0123456789"]

    assert "unreadable-factors" in findings()


def test_commands_say_who_did_it():
    ada = UserFactory.create(email="ada@example.org")
    run("deactivate_user", "ada@example.org", "--reason", "left")
    run("activate_user", "ada@example.org")

    told = AuditEvent.objects.filter(user_id=ada.pk).order_by("id").values_list("event", "actor", "door")
    assert list(told) == [
        ("user.deactivated", "command:deactivate_user", "command"),
        ("user.activated", "command:activate_user", "command"),
    ]


def test_a_superuser_is_made_verified_and_without_a_password():
    told = asked("create_admin", " New@Example.org ", "--no-input")

    user = User.objects.get()
    assert (told["email"], told["created"]) == ("new@example.org", True)
    assert told["link"].startswith("http://testserver/admin/enrol/")
    assert (user.is_staff, user.is_superuser, user.is_verified, user.has_usable_password()) == (True, True, True, False)
    assert AuditEvent.objects.get().event == "user.created"


def test_an_account_that_a_stranger_may_have_registered_keeps_no_password():
    stranger = UserFactory.create(email="ada@example.org", unverified=True, first_name="Mallory")
    verified = UserFactory.create(email="bob@example.org", inactive=True)

    run("create_admin", "ada@example.org")
    run("create_admin", "bob@example.org")

    stranger.refresh_from_db()
    verified.refresh_from_db()
    assert (stranger.has_usable_password(), stranger.first_name, stranger.is_verified) == (False, "", True)
    assert (verified.has_usable_password(), verified.is_active, verified.is_superuser) == (True, True, True)


@pytest.mark.parametrize("typed", ["nobody", "", "a\x00b@example.org", "x" * 300 + "@example.org"])
def test_no_superuser_is_made_of_what_is_no_address(typed):
    code, told = refusal("create_admin", typed)

    assert code == 1
    assert "\x00" not in told
    assert not User.objects.exists()
