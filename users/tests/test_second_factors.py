"""/api/auth/mfa/*, the second step of /api/login, /api/auth/reauthenticate."""

from datetime import timedelta
from types import SimpleNamespace

import bcrypt
import pyotp
import pytest
from asgiref.sync import async_to_sync
from cryptography.fernet import Fernet
from django.contrib.auth.hashers import make_password
from django.db import connection
from django.utils import timezone

from conftest import ApiClient
from lib import encryption
from lib.actors import Actor, RequestInfo
from lib.errors import ProductError
from notifications.models import Message
from users.models import AuditEvent, MfaDevice, OneTimeToken, RateBucket, RecoveryCode, User, UserSession
from users.services import hashing, second_factors, sessions, sign_in, staff
from users.tests.factories import PASSWORD, UserFactory
from users.tests.own import at_once

pytestmark = pytest.mark.django_db

BAD = "ErrorCode.MFA_BAD_CODE"
NOW = 1_900_000_000  # on the beat of a step
OWNER = Actor("command", label="test")


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The time factors go by: `clock.at(seconds)` after NOW."""
    stopped = SimpleNamespace(now=NOW, time=lambda: stopped.now)
    stopped.at = lambda seconds: setattr(stopped, "now", NOW + seconds)
    monkeypatch.setattr(second_factors, "time", stopped)
    return stopped


def app_of(user, name="Phone"):
    """A confirmed authenticator app and the recovery codes that came with it."""
    made = second_factors.start_totp(user, name=name)
    codes = second_factors.take_into_use(made.device, actor=OWNER, keep=None)
    return pyotp.TOTP(made.secret), codes


def asked(api, user, password=PASSWORD):
    """The `mfa_token` of a sign-in whose password was right."""
    answer = api.login_form(user.email, password)
    assert answer.status_code == 403, answer.content
    return answer.json()["mfa_token"]


def verify(api, token, code, method="totp"):
    return api.call("POST", "/auth/mfa/verify", {"mfa_token": token, "method": method, "code": code}, bearer="")


def make_stale(user):
    UserSession.objects.filter(user=user).update(auth_at=timezone.now() - timedelta(minutes=11))


def events(user, name):
    return AuditEvent.objects.filter(user_id=user.pk, event=name)


# --- Enrolment --------------------------------------------------------------------------------------------------------


def test_an_app_counts_once_a_code_of_it_was_seen(api, user):
    api.sign_in(user)
    started = api.call("POST", "/auth/mfa/totp", {"name": " Phone "})
    made = started.json()

    assert (started.status_code, started["Cache-Control"]) == (201, "no-store")
    assert pyotp.parse_uri(made["otpauth_uri"]).secret == made["secret"]
    assert made["svg"].startswith("<svg ")
    assert not {"<script", "style="} & set(made["svg"].split())
    assert api.call("GET", "/auth/mfa").json() == {"devices": [], "recovery_codes": 0}
    assert api.login_form(user.email).status_code == 200

    confirmed = api.call("POST", "/auth/mfa/totp/confirm", {"code": pyotp.TOTP(made["secret"]).at(NOW)})

    assert (confirmed.status_code, confirmed["Cache-Control"]) == (200, "no-store")
    assert len(set(confirmed.json()["recovery_codes"])) == 10
    overview = api.call("GET", "/auth/mfa").json()
    assert [(device["id"], device["kind"], device["name"]) for device in overview["devices"]] == [
        (made["id"], "totp", "Phone")
    ]
    assert overview["recovery_codes"] == 10
    assert api.login_form(user.email).status_code == 403
    assert events(user, "mfa.added").get().data == {"kind": "totp"}


def test_a_wrong_first_code_takes_nothing_into_use(api, user):
    api.sign_in(user)
    secret = api.call("POST", "/auth/mfa/totp", {}).json()["secret"]

    answer = api.call("POST", "/auth/mfa/totp/confirm", {"code": pyotp.TOTP(secret).at(NOW + 90)})

    assert (answer.status_code, answer.json()["detail"]) == (400, BAD)
    assert api.login_form(user.email).status_code == 200


def test_confirming_twice_is_refused(api, user):
    api.sign_in(user)
    app = pyotp.TOTP(api.call("POST", "/auth/mfa/totp", {}).json()["secret"])
    assert api.call("POST", "/auth/mfa/totp/confirm", {"code": app.at(NOW)}).status_code == 200

    again = api.call("POST", "/auth/mfa/totp/confirm", {"code": app.at(NOW + 30)})

    assert (again.status_code, again.json()["code"]) == (400, "mfa_already_confirmed")


def test_the_code_that_confirmed_does_not_sign_in(api, user):
    api.sign_in(user)
    app = pyotp.TOTP(api.call("POST", "/auth/mfa/totp", {}).json()["secret"])
    api.call("POST", "/auth/mfa/totp/confirm", {"code": app.at(NOW)})

    assert verify(api, asked(api, user), app.at(NOW)).json()["detail"] == BAD


def test_the_secret_is_encrypted_and_recovery_codes_are_not_kept(api, user):
    app, codes = app_of(user)

    device, rows = MfaDevice.objects.get(), RecoveryCode.objects.all()

    assert app.secret not in device.secret
    assert encryption.decrypt(device.secret) == app.secret
    assert len(rows) == len(codes) == 10
    assert {len(row.hash) for row in rows} == {32}


def test_other_sessions_end_with_a_factor_and_this_one_goes_on(api, user):
    other = ApiClient()
    other.sign_in(user)
    api.sign_in(user)
    app = pyotp.TOTP(api.call("POST", "/auth/mfa/totp", {}).json()["secret"])

    api.call("POST", "/auth/mfa/totp/confirm", {"code": app.at(NOW)})

    assert other.call("GET", "/users/user").status_code == 401
    assert api.call("GET", "/users/user").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/auth/mfa/totp", {}),
        ("POST", "/auth/mfa/totp/confirm", {"code": "123456"}),
        ("POST", "/auth/mfa/recovery-codes", None),
        ("DELETE", "/auth/mfa/devices/" + "0" * 32, None),
        ("POST", "/auth/passkeys/register/options", {}),
        ("POST", "/auth/passkeys/register/verify", {"ceremony": "x", "credential": {}}),
    ],
)
def test_changes_need_a_fresh_proof_and_a_bearer(api, user, method, path, body):
    api.sign_in(user)
    make_stale(user)

    stale = api.call(method, path, body)

    assert (stale.status_code, stale.json()["detail"]) == (403, "ErrorCode.REAUTHENTICATION_REQUIRED")
    assert ApiClient().call(method, path, body).status_code == 401


# --- The second step --------------------------------------------------------------------------------------------------


def test_a_right_password_asks_for_the_factor(api, user):
    app_of(user)

    answer = api.login_form(user.email)

    body = answer.json()
    assert (answer.status_code, answer["Cache-Control"]) == (403, "no-store")
    assert list(body) == ["detail", "code", "request_id", "mfa_token", "methods"]
    assert (body["detail"], body["code"]) == ("ErrorCode.LOGIN_MFA_REQUIRED", "login_mfa_required")
    assert body["methods"] == ["totp", "recovery"]
    assert "device" not in answer.cookies
    assert not UserSession.objects.exists()


def test_a_wrong_password_says_nothing_of_the_factor(api, user):
    app_of(user)

    answer = api.login_form(user.email, "Wrong-Horse-7")

    assert (answer.status_code, answer.json()["detail"]) == (400, "ErrorCode.LOGIN_BAD_CREDENTIALS")


def test_the_code_signs_in_as_login_does(api, user):
    app, _ = app_of(user)

    answer = verify(api, asked(api, user), app.at(NOW))

    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    assert list(answer.json()) == [
        "access_token",
        "refresh_token",
        "token_type",
        "access_token_expiration",
        "refresh_token_expiration",
    ]
    assert answer.cookies["device"]["httponly"]
    assert api.call("GET", "/users/user", bearer=answer.json()["access_token"]).json()["id"] == user.pk.hex
    assert UserSession.objects.get().amr == ["pwd", "otp"]
    assert events(user, "login.ok").get().data["amr"] == ["pwd", "otp"]


@pytest.mark.parametrize(("seconds", "status"), [(-60, 400), (-30, 200), (0, 200), (30, 200), (60, 400)])
def test_one_step_either_side_is_taken(api, user, seconds, status):
    app, _ = app_of(user)

    assert verify(api, asked(api, user), app.at(NOW + seconds)).status_code == status


def test_a_code_never_works_twice_nor_an_older_one_after_it(api, user, clock):
    app, _ = app_of(user)
    assert verify(api, asked(api, user), app.at(NOW)).status_code == 200

    assert verify(api, asked(api, user), app.at(NOW)).status_code == 400
    assert verify(api, asked(api, user), app.at(NOW - 30)).status_code == 400
    clock.at(30)
    assert verify(api, asked(api, user), app.at(NOW)).status_code == 400
    assert verify(api, asked(api, user), app.at(NOW + 30)).status_code == 200


def test_blanks_in_a_code_do_not_matter(api, user):
    app, codes = app_of(user)
    code = app.at(NOW)

    assert verify(api, asked(api, user), f" {code[:3]} {code[3:]}").status_code == 200
    assert verify(api, asked(api, user), codes[0].lower().replace("-", " "), "recovery").status_code == 200


def test_the_token_of_a_sign_in_works_once(api, user, clock):
    app, _ = app_of(user)
    token = asked(api, user)
    assert verify(api, token, app.at(NOW)).status_code == 200

    clock.at(30)
    again = verify(api, token, app.at(NOW + 30))

    assert (again.status_code, again.json()["detail"], again.json()["code"]) == (400, BAD, "mfa_token_invalid")


def test_a_hash_that_is_renewed_does_not_end_the_sign_in_it_came_with(api, user, clock):
    app, _ = app_of(user)
    seed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    User.objects.filter(pk=user.pk).update(password=f"bcrypt${seed}")

    assert verify(api, asked(api, user), app.at(NOW)).status_code == 200


@pytest.mark.parametrize("change", ["add", "remove", "codes"])
def test_a_session_ended_by_another_change_meanwhile_changes_no_factor(user, change):
    app, _ = app_of(user)
    waiting, actor = second_factors.start_totp(user), Actor("command", label="test")
    session = sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())
    sessions.end_all_sessions(user.pk, reason="factor")
    before = set(MfaDevice.objects.values_list("pk", "confirmed_at")), set(RecoveryCode.objects.values_list("hash"))

    verb = {
        "add": lambda: second_factors.take_into_use(waiting.device, actor=actor, keep=session.pk),
        "remove": lambda: second_factors.remove(
            user, second_factors.devices_of(user)[0].pk, actor=actor, keep=session.pk
        ),
        "codes": lambda: second_factors.new_recovery_codes(user, actor=actor, keep=session.pk),
    }[change]
    with pytest.raises(ProductError) as refused:
        verb()

    assert refused.value.code == "REAUTHENTICATION_REQUIRED"
    after = set(MfaDevice.objects.values_list("pk", "confirmed_at")), set(RecoveryCode.objects.values_list("hash"))
    assert after == before


def test_of_two_that_found_a_sign_in_waiting_one_finishes_it(api, user):
    app_of(user)
    token, actor = asked(api, user), Actor("api")
    first, second = sign_in.find_pending(token), sign_in.find_pending(token)

    sign_in.complete(first, amr=("pwd", "otp"), actor=actor)
    with pytest.raises(ProductError) as refused:
        sign_in.complete(second, amr=("pwd", "otp"), actor=actor)

    assert refused.value.slug == "mfa_token_invalid"
    assert user.sessions.count() == 1


def test_a_code_is_not_lost_on_a_token_that_is_over(api, user):
    app, _ = app_of(user)
    token = asked(api, user)
    OneTimeToken.objects.update(expires_at=timezone.now())

    assert verify(api, token, app.at(NOW)).json()["code"] == "mfa_token_invalid"
    assert verify(api, asked(api, user), app.at(NOW)).status_code == 200


def test_a_recovery_code_works_once_and_its_owner_is_told(api, user):
    _, codes = app_of(user)

    answer = verify(api, asked(api, user), codes[3], "recovery")
    again = verify(api, asked(api, user), codes[3], "recovery")

    assert (answer.status_code, again.status_code) == (200, 400)
    assert UserSession.objects.get().amr == ["pwd", "recovery"]
    assert events(user, "recovery.used").count() == 1
    assert Message.objects.get(type="users.recovery_code_used").context["left"] == 9
    assert api.call("GET", "/auth/mfa", bearer=answer.json()["access_token"]).json()["recovery_codes"] == 9


def test_new_recovery_codes_void_the_old_ones(api, user):
    app, old = app_of(user)
    api.bearer = verify(api, asked(api, user), app.at(NOW)).json()["access_token"]

    answer = api.call("POST", "/auth/mfa/recovery-codes")

    new = answer.json()["recovery_codes"]
    assert answer["Cache-Control"] == "no-store"
    assert not set(new) & set(old)
    assert verify(api, asked(api, user), old[0], "recovery").status_code == 400
    assert verify(api, asked(api, user), new[0], "recovery").status_code == 200


def test_somebody_elses_code_opens_nothing(api, user):
    app_of(user)
    other, codes = app_of(UserFactory.create())

    assert verify(api, asked(api, user), other.at(NOW)).status_code == 400
    assert verify(api, asked(api, user), codes[0], "recovery").status_code == 400


def test_a_token_opens_only_the_account_it_was_made_for(api, user):
    app_of(user)
    other = UserFactory.create()
    app, _ = app_of(other)

    answer = verify(api, asked(api, user), app.at(NOW))

    assert answer.status_code == 400
    assert not UserSession.objects.exists()


@pytest.mark.parametrize("method", ["totp", "recovery"])
@pytest.mark.parametrize("code", ["", "0", "12345", "1234567", "١٢٣٤٥٦", "ßßßßßß", "0x1234", "-" * 64, "é" * 16])
def test_junk_codes_are_refused(api, user, method, code):
    app_of(user)

    assert verify(api, asked(api, user), code, method).status_code in {400, 422}


@pytest.mark.parametrize(
    "body",
    [
        {"mfa_token": "\x00", "method": "totp", "code": "123456"},
        {"mfa_token": "a", "method": "totp", "code": "12\x0034"},
        {"mfa_token": "a", "method": "totp", "code": "\ud800"},
        {"mfa_token": "a", "method": "sms", "code": "123456"},
        {"mfa_token": "a", "method": "totp", "code": 123456},
        {"mfa_token": "a", "method": "totp"},
        {"mfa_token": "a", "method": "webauthn", "code": "123456"},
        {"mfa_token": "a", "method": "webauthn", "ceremony": "a", "credential": []},
        {"mfa_token": "a", "method": "totp", "code": "1" * 65},
        {"method": "totp", "code": "123456"},
        [],
        None,
        '{"mfa_token": NaN}',
    ],
)
def test_bodies_that_cannot_be_read_are_422(api, body):
    assert api.call("POST", "/auth/mfa/verify", body).status_code == 422


@pytest.mark.parametrize("token", ["", "a", "é", "A" * 54, "A" * 55, "-" * 10_000])
def test_junk_tokens_are_refused(api, token):
    answer = verify(api, token, "123456")

    assert (answer.status_code, answer.json()["code"]) == (400, "mfa_token_invalid")


def test_who_was_deactivated_between_the_steps_stays_out(api, user):
    app, _ = app_of(user)
    waiting = asked(api, user)

    staff.deactivate(user, actor=OWNER, reason="test")

    assert verify(api, waiting, app.at(NOW)).status_code == 400
    assert not UserSession.objects.exists()


def test_a_password_changed_between_the_steps_has_to_be_given_again(api, user):
    app, _ = app_of(user)
    waiting = asked(api, user)
    User.objects.filter(pk=user.pk).update(password=make_password("Another-Horse-8"))

    assert verify(api, waiting, app.at(NOW)).json()["code"] == "mfa_token_invalid"
    assert verify(api, asked(api, user, "Another-Horse-8"), app.at(NOW)).status_code == 200


def test_a_mailed_reset_voids_what_waits_for_a_code(api, user, settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    app, _ = app_of(user)
    waiting = asked(api, user)
    token = api.call("POST", "/auth/forgot-password", {"email": user.email}).json()["forgot_password_token"]

    api.call("POST", "/auth/reset-password", {"email": user.email, "token": token, "password": PASSWORD})

    assert verify(api, waiting, app.at(NOW)).json()["code"] == "mfa_token_invalid"


def test_a_reset_by_mail_neither_removes_nor_passes_the_factor(api, user, settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    app, _ = app_of(user)
    token = api.call("POST", "/auth/forgot-password", {"email": user.email}).json()["forgot_password_token"]
    body = {"email": user.email, "token": token, "password": "Another-Horse-8"}
    assert api.call("POST", "/auth/reset-password", body).status_code == 200

    assert verify(api, asked(api, user, "Another-Horse-8"), app.at(NOW)).status_code == 200


# --- Limits -----------------------------------------------------------------------------------------------------------


def lift_pause():
    """As if it had passed; what was counted stays counted."""
    RateBucket.objects.filter(scope="factor").update(blocked_until=0)


def test_five_wrong_codes_pause_and_void_the_token(api, user):
    app, _ = app_of(user)
    token = asked(api, user)
    wrong = [verify(api, token, app.at(NOW + 3000 * n)).json()["code"] for n in range(1, 6)]
    assert wrong == ["mfa_bad_code"] * 5

    assert verify(api, token, app.at(NOW)).json()["code"] == "mfa_token_invalid"
    paused = verify(api, asked(api, user), app.at(NOW))
    assert (paused.status_code, paused.json()["code"]) == (400, "mfa_paused")
    assert 0 < int(paused["Retry-After"]) <= 60
    assert user.mfa_devices.get().last_step is None

    lift_pause()
    assert verify(api, asked(api, user), app.at(NOW)).status_code == 200
    assert events(user, "mfa.failed").count() == 5


def test_a_reset_by_mail_buys_no_more_guesses_at_codes_and_staff_can_lift_the_pause(api, user, superuser, settings):
    settings.USERS_RETURN_FORGOT_PASSWORD_TOKEN = True
    app, _ = app_of(user)
    token = asked(api, user)
    for _ in range(5):
        verify(api, token, "000000")
    link = api.call("POST", "/auth/forgot-password", {"email": user.email}).json()["forgot_password_token"]
    body = {"email": user.email, "token": link, "password": "Brand-New-Kettle-7"}
    assert api.call("POST", "/auth/reset-password", body).status_code == 200

    paused = verify(api, asked(api, user, "Brand-New-Kettle-7"), app.at(NOW))
    assert paused.json()["code"] == "mfa_paused"

    staff.unlock(user, actor=Actor("admin", superuser))
    assert verify(api, asked(api, user, "Brand-New-Kettle-7"), app.at(NOW)).status_code == 200


def test_each_further_wrong_code_doubles_the_pause(api, user):
    app_of(user)
    pauses = []
    for n in range(7):
        verify(api, asked(api, user), "000000")
        if n >= 4:
            answer = verify(api, asked(api, user), "000000")
            pauses.append(int(answer["Retry-After"]))
            lift_pause()

    assert [round(seconds / 60) for seconds in pauses] == [1, 2, 4]


def test_a_right_code_ends_the_count(api, user, clock):
    app, _ = app_of(user)
    for n in range(3):
        for _ in range(4):
            assert verify(api, asked(api, user), "000000").json()["code"] == "mfa_bad_code"
        clock.at(30 * n)
        assert verify(api, asked(api, user), app.at(NOW + 30 * n)).status_code == 200


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_secrets_and_codes_outlive_a_change_of_keys(api, user, settings):
    app, codes = app_of(user)
    waiting = asked(api, user)
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-token-secret-0123456789-abcdefghij"

    assert verify(api, waiting, app.at(NOW)).status_code == 200
    assert verify(api, asked(api, user), codes[0], "recovery").status_code == 200


def test_encryption_keys_can_be_rotated(api, user, settings):
    settings.USERS_ENCRYPTION_KEYS = ["first-" + "x" * 32]
    app, _ = app_of(user)
    settings.USERS_ENCRYPTION_KEYS = ["second-" + "y" * 32, "first-" + "x" * 32]

    assert verify(api, asked(api, user), app.at(NOW)).status_code == 200


def test_an_app_whose_secret_cannot_be_read_is_refused(api, user):
    app, codes = app_of(user)
    MfaDevice.objects.update(secret=Fernet(Fernet.generate_key()).encrypt(app.secret.encode()).decode())

    assert verify(api, asked(api, user), app.at(NOW)).json()["detail"] == BAD
    assert verify(api, asked(api, user), codes[0], "recovery").status_code == 200


# --- Removal ----------------------------------------------------------------------------------------------------------


def signed_in(api, user, app):
    api.bearer = verify(api, asked(api, user), app.at(NOW)).json()["access_token"]


def test_with_the_last_factor_the_recovery_codes_go(api, user):
    app, _ = app_of(user)
    signed_in(api, user, app)

    answer = api.call("DELETE", f"/auth/mfa/devices/{user.mfa_devices.get().pk.hex}")

    assert answer.status_code == 204
    assert api.call("GET", "/auth/mfa").json() == {"devices": [], "recovery_codes": 0}
    assert api.login_form(user.email).status_code == 200
    assert events(user, "mfa.removed").count() == 1


def test_another_factor_keeps_the_recovery_codes(api, user):
    app, _ = app_of(user)
    second = second_factors.start_totp(user, name="Tablet").device
    assert second_factors.take_into_use(second, actor=OWNER, keep=None) == []
    signed_in(api, user, app)

    assert api.call("DELETE", f"/auth/mfa/devices/{second.pk.hex}").status_code == 204
    assert api.call("GET", "/auth/mfa").json()["recovery_codes"] == 10


def test_foreign_and_unknown_devices_are_not_found(api, user):
    app_of(UserFactory.create())
    foreign = MfaDevice.objects.get()
    api.sign_in(user)

    for name in (foreign.pk.hex, "0" * 32, "x", "%00", "0" * 31):
        answer = api.call("DELETE", f"/auth/mfa/devices/{name}")
        assert (answer.status_code, answer.json()["detail"]) == (404, "Not Found")
    assert MfaDevice.objects.get() == foreign


def test_staff_keep_their_last_factor_where_one_is_required(api, settings):
    settings.USERS_STAFF_MFA = "required"
    staff = UserFactory.create(staff=True)
    app, _ = app_of(staff)
    signed_in(api, staff, app)
    path = f"/auth/mfa/devices/{staff.mfa_devices.get().pk.hex}"

    assert api.call("DELETE", path).json()["detail"] == "ErrorCode.MFA_REQUIRED"
    settings.USERS_STAFF_MFA = "optional"
    assert api.call("DELETE", path).status_code == 204


# --- Proving it once more ---------------------------------------------------------------------------------------------


def reauthenticate(api, **proof):
    return api.call("POST", "/auth/reauthenticate", proof)


def test_the_password_makes_a_session_fresh_again(api, user):
    api.sign_in(user)
    make_stale(user)

    answer = reauthenticate(api, password=PASSWORD)

    assert (answer.status_code, list(answer.json())) == (200, ["auth_at"])
    assert api.call("POST", "/auth/mfa/totp", {}).status_code == 201
    event = events(user, "user.reauthenticated").get()
    assert (event.data, event.session_id) == ({"amr": ["pwd"]}, UserSession.objects.get().pk)


def test_codes_do_too_and_are_spent(api, user, clock):
    app, codes = app_of(user)
    signed_in(api, user, app)
    make_stale(user)
    assert reauthenticate(api, code=app.at(NOW)).json()["detail"] == BAD
    clock.at(30)

    assert reauthenticate(api, code=app.at(NOW + 30)).status_code == 200
    assert reauthenticate(api, code=codes[0]).status_code == 200
    assert reauthenticate(api, code=codes[0]).json()["detail"] == BAD
    assert UserSession.objects.get().amr == ["otp", "pwd", "recovery"]


def test_only_this_session_becomes_fresh(api, user):
    other = ApiClient()
    other.sign_in(user)
    api.sign_in(user)
    make_stale(user)

    reauthenticate(api, password=PASSWORD)

    assert other.call("POST", "/auth/mfa/totp", {}).status_code == 403


def test_wrong_passwords_count_like_those_of_a_sign_in(api, user):
    api.sign_in(user)
    make_stale(user)
    tried = [reauthenticate(api, password="Wrong-Horse-7") for _ in range(5)]
    assert {(answer.status_code, answer.json()["detail"]) for answer in tried} == {(400, "ErrorCode.PASSWORD_WRONG")}

    paused = reauthenticate(api, password=PASSWORD)

    assert (paused.json()["detail"], paused.json()["code"]) == ("ErrorCode.PASSWORD_WRONG", "login_paused")
    assert int(paused["Retry-After"]) > 0
    assert api.login_form(user.email).json()["code"] == "login_paused"
    assert api.call("POST", "/auth/mfa/totp", {}).status_code == 403
    assert api.call("GET", "/users/user").status_code == 200


def test_wrong_codes_count_like_those_of_a_sign_in(api, user):
    app, _ = app_of(user)
    signed_in(api, user, app)
    for _ in range(5):
        assert reauthenticate(api, code="000000").json()["code"] == "mfa_bad_code"

    assert reauthenticate(api, code="000000").json()["code"] == "mfa_paused"


def test_a_code_of_somebody_without_factor_is_a_wrong_code(api, user):
    api.sign_in(user)

    assert reauthenticate(api, code="123456").json()["detail"] == BAD
    assert reauthenticate(api, code="ABCD-EFGH-IJKL-MNOP").json()["detail"] == BAD


@pytest.mark.parametrize(
    "proof",
    [{}, {"password": PASSWORD, "code": "1"}, {"password": "\x00"}, {"code": "\x00"}, {"code": ""}, {"password": None}],
)
def test_a_proof_that_is_none_is_422(api, user, proof):
    api.sign_in(user)

    assert reauthenticate(api, **proof).status_code == 422


def test_no_code_or_secret_is_on_record(api, user, caplog):
    caplog.set_level("DEBUG")
    app, codes = app_of(user)
    token = asked(api, user)
    verify(api, token, "000000")
    verify(api, token, codes[0], "recovery")
    verify(api, asked(api, user), app.at(NOW))

    said = caplog.text + "".join(str(row) for row in AuditEvent.objects.values_list("event", "data", "user_agent"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM notifications_message")
        said += str(cursor.fetchall())

    for secret in (app.secret, app.at(NOW), token, *codes, codes[0].replace("-", "")):
        assert secret not in said


@pytest.mark.parametrize("open_session", [sign_in.open_session, async_to_sync(sign_in.aopen_session)])
def test_a_sign_in_begun_before_there_was_a_factor_does_not_outrun_it(user, open_session):
    attempt = sign_in.begin(email=user.email, actor=Actor("api"))
    checked = hashing.check(PASSWORD, attempt.encoded)
    app_of(user)

    with pytest.raises(ProductError) as refused:
        open_session(attempt, checked)

    assert refused.value.code == "LOGIN_BAD_CREDENTIALS"
    assert not UserSession.objects.exists()


# --- All at once ------------------------------------------------------------------------------------------------------


def codes_of(answers):
    return sorted(answer.status_code for answer in answers)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("method", ["totp", "recovery"])
@pytest.mark.parametrize("is_one_token", [True, False])
def test_eight_uses_of_one_code_open_one_session(api, user, method, is_one_token):
    app, codes = app_of(user)
    code = app.at(NOW) if method == "totp" else codes[0]
    waiting = [asked(api, user)] * 8 if is_one_token else [asked(api, user) for _ in range(8)]

    answers = at_once([lambda token=token: verify(ApiClient(), token, code, method) for token in waiting])

    assert codes_of(answers) == [200] + [400] * 7
    assert UserSession.objects.count() == 1
    if method == "recovery":
        assert RecoveryCode.objects.exclude(used_at=None).count() == 1


@pytest.mark.django_db(transaction=True)
def test_twenty_wrong_codes_at_once_count_five(api, user):
    app, _ = app_of(user)
    token = asked(api, user)
    wrong = [app.at(NOW + 3000 * n) for n in range(1, 21)]

    answers = at_once([lambda code=code: verify(ApiClient(), token, code) for code in wrong])

    assert codes_of(answers) == [400] * 20
    assert events(user, "mfa.failed").count() == 5
    assert verify(api, token, app.at(NOW)).json()["code"] == "mfa_token_invalid"


@pytest.mark.django_db(transaction=True)
def test_eight_confirmations_at_once_are_one(api, user):
    api.sign_in(user)
    app = pyotp.TOTP(api.call("POST", "/auth/mfa/totp", {}).json()["secret"])

    def confirm():
        return ApiClient().call("POST", "/auth/mfa/totp/confirm", {"code": app.at(NOW)}, bearer=api.bearer)

    assert codes_of(at_once([confirm] * 8)) == [200] + [400] * 7
    assert RecoveryCode.objects.count() == 10


@pytest.mark.django_db(transaction=True)
def test_signing_in_and_removing_the_factor_at_once_is_no_accident(user):
    for _ in range(3):
        app, codes = app_of(user)
        token = asked(ApiClient(), user)
        device = user.mfa_devices.get()

        def remove(device=device):
            second_factors.remove(user, device.pk, actor=OWNER)

        def sign_in(token=token, code=codes[0]):
            return verify(ApiClient(), token, code, "recovery").status_code

        _, status = at_once([remove, sign_in])

        assert status in {200, 400}
