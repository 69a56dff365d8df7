"""/api/auth/passkeys/*, and passkeys as a second step and as a proof."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone

from conftest import ApiClient
from lib import env
from lib.actors import Actor
from lib.errors import ProductError
from notifications.models import Message
from users.models import AuditEvent, MfaDevice, OneTimeToken, RecoveryCode, User, UserSession
from users.services import passkeys, second_factors, tokens
from users.services import sign_in as signing_in
from users.tests.authenticator import ORIGIN, Authenticator, b64
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

REJECTED = "ErrorCode.PASSKEY_REJECTED"


@pytest.fixture(autouse=True)
def site(settings):
    settings.USERS_WEBAUTHN_RP_ID = "app.example.org"
    settings.USERS_WEBAUTHN_ORIGINS = [ORIGIN]


def registered(user, authenticator=None, **options):
    """An authenticator that holds a passkey of the person's."""
    authenticator = authenticator or Authenticator(**options)
    ceremony, asked = passkeys.registration_options(user, name="Key")
    passkeys.register(
        user, ceremony=ceremony, credential=authenticator.create(asked), actor=Actor("command", label="test")
    )
    return authenticator


def begin(api, mfa_token=None):
    answer = api.call("POST", "/auth/passkeys/login/options", {"mfa_token": mfa_token} if mfa_token else None)
    assert answer.status_code == 200, answer.content
    return answer.json()["ceremony"], answer.json()["options"]


def sign_in(api, authenticator, **how):
    ceremony, options = begin(api)
    return finish(api, ceremony, authenticator.get(options, **how))


def finish(api, ceremony, credential):
    return api.call("POST", "/auth/passkeys/login/verify", {"ceremony": ceremony, "credential": credential})


def is_rejected(answer):
    return (answer.status_code, answer.json()["detail"]) == (400, REJECTED)


def why(user):
    return AuditEvent.objects.filter(user_id=user.pk, event="mfa.failed").latest("id").data["why"]


# --- Registration -----------------------------------------------------------------------------------------------------


def register(api, authenticator, name="Key"):
    begun = api.call("POST", "/auth/passkeys/register/options", {"name": name}).json()
    body = {"ceremony": begun["ceremony"], "credential": authenticator.create(begun["options"])}
    return api.call("POST", "/auth/passkeys/register/verify", body), body


def test_a_passkey_is_registered_and_signs_in(api, user):
    api.sign_in(user)
    authenticator = Authenticator()

    answer, _ = register(api, authenticator)

    assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
    assert len(answer.json()["recovery_codes"]) == 10
    device = api.call("GET", "/auth/mfa").json()["devices"][0]
    assert (device["kind"], device["name"]) == ("webauthn", "Key")
    assert MfaDevice.objects.get().transports == ["usb"]
    assert AuditEvent.objects.get(event="mfa.added").data == {"kind": "webauthn"}
    assert Message.objects.filter(type="users.factor_changed").count() == 1
    assert sign_in(ApiClient(), authenticator).status_code == 200


def test_the_options_ask_for_a_discoverable_verified_passkey_of_this_site(api, user):
    first = registered(user)
    api.bearer = sign_in(ApiClient(), first).json()["access_token"]

    options = api.call("POST", "/auth/passkeys/register/options", {}).json()["options"]

    assert options["rp"] == {"name": "Switchboard", "id": "app.example.org"}
    assert options["authenticatorSelection"]["residentKey"] == "required"
    assert options["authenticatorSelection"]["userVerification"] == "required"
    assert options["attestation"] == "none"
    assert options["user"]["id"] == b64(user.pk.bytes)
    assert [excluded["id"] for excluded in options["excludeCredentials"]] == [b64(first.id)]


def test_other_sessions_end_with_a_passkey(api, user):
    other = ApiClient()
    other.sign_in(user)
    api.sign_in(user)

    register(api, Authenticator())

    assert other.call("GET", "/users/user").status_code == 401
    assert api.call("GET", "/users/user").status_code == 200


def test_a_ceremony_registers_once(api, user):
    api.sign_in(user)
    _, body = register(api, Authenticator())

    assert is_rejected(api.call("POST", "/auth/passkeys/register/verify", body))
    assert MfaDevice.objects.count() == 1


def test_a_credential_belongs_to_one_account(api, user):
    authenticator = registered(UserFactory.create())
    api.sign_in(user)

    answer, _ = register(api, authenticator)

    assert is_rejected(answer)
    assert MfaDevice.objects.count() == 1


def test_somebody_elses_ceremony_registers_nothing(api, user):
    ceremony, options = passkeys.registration_options(UserFactory.create())
    api.sign_in(user)

    answer = api.call(
        "POST", "/auth/passkeys/register/verify", {"ceremony": ceremony, "credential": Authenticator().create(options)}
    )

    assert is_rejected(answer)
    assert not MfaDevice.objects.exists()


def test_the_ceremony_of_ones_own_second_step_registers_nothing(api, user):
    ceremony, asked = passkeys.login_options(user)
    _, options = passkeys.registration_options(user)
    api.sign_in(user)

    credential = Authenticator().create({**options, "challenge": asked["challenge"]})
    answer = api.call("POST", "/auth/passkeys/register/verify", {"ceremony": ceremony, "credential": credential})

    assert is_rejected(answer)
    assert not MfaDevice.objects.exists()


@pytest.mark.parametrize("flaw", [{"origin": "https://evil.example.org"}, {"verifies": False}])
def test_a_wrong_origin_or_an_unverified_person_registers_nothing(api, user, flaw):
    api.sign_in(user)

    answer, _ = register(api, Authenticator(**flaw))

    assert is_rejected(answer)
    assert not MfaDevice.objects.exists()


def test_there_are_at_most_twenty_factors(api, user):
    MfaDevice.objects.bulk_create([MfaDevice(user=user, kind="totp") for _ in range(20)])
    api.sign_in(user)

    answer = api.call("POST", "/auth/passkeys/register/options", {})

    assert (answer.status_code, answer.json()["code"]) == (400, "mfa_too_many")


@pytest.mark.parametrize("name", ["x" * 65, "\x00", "\ud800", 7, None])
def test_names_that_cannot_be_kept_are_422(api, user, name):
    api.sign_in(user)

    assert api.call("POST", "/auth/passkeys/register/options", {"name": name}).status_code == 422
    assert api.call("POST", "/auth/mfa/totp", {"name": name}).status_code == 422


# --- Sign-in without a password ---------------------------------------------------------------------------------------


def test_a_passkey_alone_signs_in_as_login_does(api, user):
    authenticator = registered(user)

    answer = sign_in(api, authenticator)

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
    assert UserSession.objects.get().amr == ["webauthn"]
    assert AuditEvent.objects.get(event="login.ok").data["amr"] == ["webauthn"]
    assert MfaDevice.objects.get().last_used_at is not None
    assert api.call("GET", "/users/user", bearer=answer.json()["access_token"]).json()["id"] == user.pk.hex


def test_a_session_opened_so_is_fresh(api, user):
    api.bearer = sign_in(api, registered(user)).json()["access_token"]

    assert api.call("POST", "/auth/mfa/recovery-codes").status_code == 200


def test_an_answer_works_once(api, user):
    ceremony, options = begin(api)
    credential = registered(user).get(options)
    assert finish(api, ceremony, credential).status_code == 200

    assert is_rejected(finish(api, ceremony, credential))


def test_an_answer_to_another_challenge_is_refused_and_the_ceremony_spent(api, user):
    authenticator = registered(user)
    ceremony, options = begin(api)
    _, other = begin(api)

    assert is_rejected(finish(api, ceremony, authenticator.get(other)))
    assert why(user) == "wrong"
    assert is_rejected(finish(api, ceremony, authenticator.get(options)))


def test_a_sign_count_that_goes_back_is_refused_and_on_record(api, user):
    authenticator = registered(user)
    assert sign_in(api, authenticator).status_code == 200
    authenticator.count = 5
    assert sign_in(api, authenticator).status_code == 200

    authenticator.count = 3

    assert is_rejected(sign_in(api, authenticator))
    assert why(user) == "sign_count"
    authenticator.count = 6
    assert is_rejected(sign_in(api, authenticator, grows=False))
    authenticator.count = 0
    assert is_rejected(sign_in(api, authenticator, grows=False))
    assert UserSession.objects.count() == 2


def test_an_authenticator_without_sign_count_is_taken(api, user):
    authenticator = registered(user)

    for _ in range(2):
        assert sign_in(api, authenticator, grows=False).status_code == 200


@pytest.mark.parametrize(
    ("name", "value"),
    [("origin", "https://evil.example.org"), ("origin", "https://app.example.org.evil.net"), ("flags", 0x01)],
)
def test_a_foreign_origin_and_an_unverified_person_are_refused(api, user, name, value):
    authenticator = registered(user)
    setattr(authenticator, name, value)

    assert is_rejected(sign_in(api, authenticator))
    assert why(user) == "wrong"


def test_the_site_is_that_of_the_settings_whatever_the_host(api, user, settings):
    settings.ALLOWED_HOSTS = ["*"]
    authenticator = registered(user)
    authenticator.origin = "http://evil.example.net"

    answer = api.call("POST", "/auth/passkeys/login/options", host="evil.example.net").json()
    assert answer["options"]["rpId"] == "app.example.org"
    body = {"ceremony": answer["ceremony"], "credential": authenticator.get(answer["options"])}

    assert is_rejected(api.call("POST", "/auth/passkeys/login/verify", body, host="evil.example.net"))


def test_a_passkey_for_another_site_is_refused(api, user, settings):
    authenticator = registered(user)
    ceremony, options = begin(api)

    assert is_rejected(finish(api, ceremony, authenticator.get({**options, "rpId": "evil.example.org"})))


def test_an_unknown_passkey_and_another_key_under_a_known_id_are_refused(api, user):
    known, stranger = registered(user), Authenticator()
    assert is_rejected(sign_in(api, stranger))

    stranger.id, stranger.handle = known.id, user.pk.bytes

    assert is_rejected(sign_in(api, stranger))
    assert not UserSession.objects.exists()


def test_the_authenticator_must_name_the_owner(api, user):
    authenticator = registered(user)
    for handle in (UserFactory.create().pk.bytes, b""):
        authenticator.handle = handle
        assert is_rejected(sign_in(api, authenticator))


@pytest.mark.parametrize(
    "state",
    [
        {"is_active": False, "deactivated_at": timezone.now()},
        {"email_verified_at": None},
        {"must_reset": True},
    ],
)
def test_who_may_not_sign_in_does_not_with_a_passkey(api, user, state):
    authenticator = registered(user)
    User.objects.filter(pk=user.pk).update(**state)

    assert is_rejected(sign_in(api, authenticator))
    assert why(user) == "inactive"


def test_a_ceremony_lives_five_minutes(api, user):
    ceremony, options = begin(api)
    row = OneTimeToken.objects.get()
    assert row.expires_at - row.created_at <= timedelta(minutes=5, seconds=1)
    credential = registered(user).get(options)
    OneTimeToken.objects.update(expires_at=timezone.now())

    assert is_rejected(finish(api, ceremony, credential))


def test_a_registration_cannot_be_answered_as_a_sign_in_nor_the_other_way_round(api, user):
    authenticator = registered(user)
    ceremony, options = passkeys.registration_options(user)
    assert is_rejected(finish(api, ceremony, authenticator.get({**options, "rpId": "app.example.org"})))

    api.bearer = sign_in(ApiClient(), authenticator).json()["access_token"]
    ceremony, options = begin(api)
    as_new = {"rp": {"id": options["rpId"]}, "user": {"id": b64(user.pk.bytes)}, **options}
    body = {"ceremony": ceremony, "credential": Authenticator().create(as_new)}
    assert is_rejected(api.call("POST", "/auth/passkeys/register/verify", body))


def test_a_removed_passkey_signs_in_no_more(api, user):
    authenticator = registered(user)
    api.bearer = sign_in(api, authenticator).json()["access_token"]

    assert api.call("DELETE", f"/auth/mfa/devices/{MfaDevice.objects.get().pk.hex}").status_code == 204
    assert is_rejected(sign_in(ApiClient(), authenticator))


@contextmanager
def removed_once_it_was_checked(user):
    """The owner removes the passkey between its check and the session it opens."""
    actor = Actor("command", label="test")

    def execute(run, sql, params, many, context):
        result = run(sql, params, many, context)
        if sql.startswith('UPDATE "users_mfadevice" SET "sign_count"'):
            for device in MfaDevice.objects.filter(user=user, kind="webauthn"):
                second_factors.remove(user, device.pk, actor=actor)
        return result

    with connection.execute_wrapper(execute):
        yield


def test_a_passkey_removed_during_its_own_sign_in_opens_nothing(user):
    actor, authenticator = Actor("api"), registered(user)
    ceremony, options = passkeys.login_options()

    with removed_once_it_was_checked(user), pytest.raises(ProductError) as refused:
        passkeys.sign_in(ceremony=ceremony, credential=authenticator.get(options), actor=actor)

    assert refused.value.code == "PASSKEY_REJECTED"
    assert not user.sessions.exists()


def test_a_passkey_removed_during_the_second_step_finishes_nothing(user):
    actor, authenticator = Actor("api"), registered(user)
    ceremony, options = passkeys.login_options(user)
    token = tokens.one_time_token(signing_in.start_pending(user, actor))
    answer = {"ceremony": ceremony, "credential": authenticator.get(options)}

    with removed_once_it_was_checked(user), pytest.raises(ProductError) as refused:
        signing_in.finish_by_passkey(token=token, **answer, actor=actor)

    assert refused.value.code == "PASSKEY_REJECTED"
    assert not user.sessions.exists()


def test_a_passkey_removed_during_the_sign_in_of_staff_opens_nothing(client, superuser, settings):
    settings.USERS_STAFF_MFA = "optional"
    authenticator = registered(superuser)
    ceremony, options = passkeys.login_options()
    answer = {"ceremony": ceremony, "credential": json.dumps(authenticator.get(options))}

    with removed_once_it_was_checked(superuser):
        response = client.post("/admin/login/passkey/", answer)

    assert response.headers["Location"].startswith("/admin/login/")
    assert not superuser.sessions.exists()


def test_the_challenge_is_not_in_the_database(api):
    _, options = begin(api)

    row = OneTimeToken.objects.get()

    assert options["challenge"] not in {b64(bytes(row.nonce)), b64(row.pk.bytes), str(row.payload)}
    assert row.payload == {"for": "login"}


def test_ceremonies_outlive_a_change_of_keys(api, user, settings):
    authenticator = registered(user)
    ceremony, options = begin(api)
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-token-secret-0123456789-abcdefghij"

    assert finish(api, ceremony, authenticator.get(options)).status_code == 200


def test_a_hundred_ceremonies_in_five_minutes_are_enough_for_one_address(api):
    for _ in range(100):
        begin(api)

    answer = api.call("POST", "/auth/passkeys/login/options")

    assert (answer.status_code, answer.json()["detail"]) == (429, "ErrorCode.TOO_MANY_REQUESTS")
    assert int(answer["Retry-After"]) > 0


JUNK = ["", "\x00", "\ud800", "é", "A", "A" * 100_000, 7, None, [], {}, True, {"a": []}, "[" * 10_000]


@pytest.mark.parametrize(
    "where", ["", "id", "rawId", "type", "response", "clientDataJSON", "authenticatorData", "signature", "userHandle"]
)
def test_junk_in_an_answer_is_refused(api, user, where):
    authenticator = registered(user)

    for junk in JUNK:
        ceremony, options = begin(api)
        credential = planted(authenticator.get(options), where, junk)
        assert finish(api, ceremony, credential).status_code in {400, 422}, junk
    assert not UserSession.objects.exists()


@pytest.mark.parametrize("where", ["id", "rawId", "type", "response", "clientDataJSON", "attestationObject"])
def test_junk_in_a_registration_is_refused(api, user, where):
    api.sign_in(user)

    for junk in JUNK:
        begun = api.call("POST", "/auth/passkeys/register/options", {}).json()
        credential = planted(Authenticator().create(begun["options"]), where, junk)
        body = {"ceremony": begun["ceremony"], "credential": credential}
        assert is_rejected(api.call("POST", "/auth/passkeys/register/verify", body)), junk
    assert not MfaDevice.objects.exists()


def planted(credential, where, junk):
    if not where:
        return junk
    (credential if where in credential else credential["response"])[where] = junk
    return credential


@pytest.mark.parametrize("transports", ["usb", ["usb", "telepathy", 7, None, ["nfc"], {}], None, []])
def test_how_an_authenticator_is_reached_is_kept_where_it_is_known(api, user, transports):
    api.sign_in(user)
    begun = api.call("POST", "/auth/passkeys/register/options", {}).json()
    credential = Authenticator().create(begun["options"])
    credential["response"]["transports"] = transports

    answer = api.call(
        "POST", "/auth/passkeys/register/verify", {"ceremony": begun["ceremony"], "credential": credential}
    )

    assert answer.status_code == 201 or is_rejected(answer)
    assert all(device.transports in ([], ["usb"]) for device in MfaDevice.objects.all())


@pytest.mark.parametrize("client_data", [b"\xff", b"[]", b"{}", b'{"type":"webauthn.get","challenge":7,"origin":{}}'])
def test_client_data_that_is_none_is_refused(api, user, client_data):
    authenticator = registered(user)
    ceremony, options = begin(api)
    credential = authenticator.get(options)
    credential["response"]["clientDataJSON"] = b64(client_data)

    assert is_rejected(finish(api, ceremony, credential))


@pytest.mark.parametrize("ceremony", ["", "x", "é", "A" * 54, "A" * 100_000])
def test_junk_ceremonies_are_refused(api, user, ceremony):
    _, options = begin(api)

    assert is_rejected(finish(api, ceremony, registered(user).get(options)))


# --- Embedded, native, and of another level ---------------------------------------------------------------------------

SHOP = "https://shop.example.net"


def registering(api, authenticator, **credential):
    begun = api.call("POST", "/auth/passkeys/register/options", {}).json()
    made = authenticator.create(begun["options"]) | credential
    return api.call("POST", "/auth/passkeys/register/verify", {"ceremony": begun["ceremony"], "credential": made})


@pytest.mark.parametrize(
    ("more", "allowed", "is_good"),
    [
        ({"crossOrigin": False}, [], True),
        ({"crossOrigin": True}, [], False),
        ({"crossOrigin": 1}, [], False),
        ({"crossOrigin": True, "topOrigin": SHOP}, [], False),
        ({"topOrigin": SHOP}, [], False),
        ({"crossOrigin": True, "topOrigin": SHOP}, [SHOP], True),
        ({"crossOrigin": True}, [SHOP], True),
        ({"crossOrigin": True, "topOrigin": "https://evil.example.net"}, [SHOP], False),
        ({"crossOrigin": True, "topOrigin": {}}, [SHOP], False),
    ],
)
def test_inside_a_foreign_page_nothing_is_taken_unless_it_may_embed_ours(api, user, settings, more, allowed, is_good):
    settings.USERS_WEBAUTHN_EMBEDDED_IN = allowed
    authenticator = registered(user)
    authenticator.more = more
    signed_in = sign_in(ApiClient(), authenticator)
    authenticator.more = {}
    api.bearer = sign_in(api, authenticator).json()["access_token"]
    other = Authenticator()
    other.more = more

    made = registering(api, other)

    if is_good:
        assert (signed_in.status_code, made.status_code) == (200, 201)
    else:
        assert is_rejected(signed_in)
        assert is_rejected(made)


def test_a_native_android_app_that_is_listed_may_use_passkeys(api, user, monkeypatch, settings):
    app = "android:apk-key-hash:" + "aB-_" * 10 + "xYz"
    monkeypatch.setenv("USERS_WEBAUTHN_ORIGINS", f"{app}, HTTPS://App.example.org/")
    settings.USERS_WEBAUTHN_ORIGINS = env.webauthn_origins("USERS_WEBAUTHN_ORIGINS")
    authenticator = registered(user)

    for origin, status in ((app, 200), ("https://app.example.org", 200), (app.lower(), 400)):
        authenticator.origin = origin
        assert sign_in(api, authenticator).status_code == status


@pytest.mark.parametrize("value", ["android:apk-key-hash:short", "android:apk-key-hash:" + "a" * 44, "ios:x"])
def test_what_is_no_origin_stops_the_start(monkeypatch, value):
    monkeypatch.setenv("USERS_WEBAUTHN_ORIGINS", value)

    with pytest.raises(ImproperlyConfigured):
        env.webauthn_origins("USERS_WEBAUTHN_ORIGINS")


@pytest.mark.parametrize("attachment", ["platform", "implanted", "", None, 7])
def test_unknown_values_of_enumerations_are_ignored(api, user, attachment):
    authenticator = registered(user)
    ceremony, options = begin(api)
    answer = finish(api, ceremony, authenticator.get(options) | {"authenticatorAttachment": attachment})
    assert answer.status_code == 200

    api.bearer = answer.json()["access_token"]

    assert registering(api, Authenticator(), authenticatorAttachment=attachment).status_code == 201


# --- As a second step -------------------------------------------------------------------------------------------------


def asked(api, user):
    answer = api.login_form(user.email)
    assert answer.status_code == 403
    return answer.json()


def second_step(api, token, ceremony, credential):
    body = {"mfa_token": token, "method": "webauthn", "ceremony": ceremony, "credential": credential}
    return api.call("POST", "/auth/mfa/verify", body)


def test_a_passkey_finishes_a_sign_in_with_the_password(api, user):
    authenticator = registered(user)
    waiting = asked(api, user)
    assert waiting["methods"] == ["webauthn", "recovery"]
    ceremony, options = begin(api, waiting["mfa_token"])
    assert [allowed["id"] for allowed in options["allowCredentials"]] == [b64(authenticator.id)]

    answer = second_step(api, waiting["mfa_token"], ceremony, authenticator.get(options))

    assert answer.status_code == 200
    assert answer.cookies["device"]["httponly"]
    assert UserSession.objects.get().amr == ["pwd", "webauthn"]


def test_somebody_elses_passkey_finishes_nothing(api, user):
    registered(user)
    other = UserFactory.create()
    stranger = registered(other)
    waiting = asked(api, user)["mfa_token"]

    for ceremony, options in (begin(api, waiting), begin(api)):
        assert is_rejected(second_step(api, waiting, ceremony, stranger.get(options)))
    assert why(other) == "other_person"
    assert not UserSession.objects.exists()


def test_the_ceremony_of_a_second_step_is_none_for_a_sign_in_without_password(api, user):
    authenticator = registered(user)
    ceremony, options = begin(api, asked(api, user)["mfa_token"])

    assert is_rejected(finish(api, ceremony, authenticator.get(options)))


def test_options_for_a_second_step_need_the_token_of_a_sign_in(api):
    answer = api.call("POST", "/auth/passkeys/login/options", {"mfa_token": "x"})

    assert (answer.status_code, answer.json()["code"]) == (400, "mfa_token_invalid")


# --- As a proof -------------------------------------------------------------------------------------------------------


def test_a_passkey_proves_once_more_who_one_is(api, user):
    authenticator = registered(user)
    api.bearer = sign_in(api, authenticator).json()["access_token"]
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))
    ceremony, options = begin(api)
    body = {"ceremony": ceremony, "credential": authenticator.get(options)}

    assert api.call("POST", "/auth/reauthenticate", body).status_code == 200
    assert api.call("POST", "/auth/mfa/recovery-codes").status_code == 200


def test_somebody_elses_passkey_proves_nothing(api, user):
    stranger = registered(UserFactory.create())
    api.sign_in(user)
    UserSession.objects.update(auth_at=timezone.now() - timedelta(hours=1))
    ceremony, options = begin(api)

    answer = api.call("POST", "/auth/reauthenticate", {"ceremony": ceremony, "credential": stranger.get(options)})

    assert is_rejected(answer)
    assert api.call("POST", "/auth/mfa/totp", {}).status_code == 403


# --- All at once ------------------------------------------------------------------------------------------------------


def at_once(calls):
    def run(call):
        try:
            return call().status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(len(calls)) as pool:
        return sorted(pool.map(run, calls))


@pytest.mark.django_db(transaction=True)
def test_eight_uses_of_one_answer_open_one_session(api, user):
    ceremony, options = begin(api)
    credential = registered(user).get(options)

    assert at_once([lambda: finish(ApiClient(), ceremony, credential)] * 8) == [200] + [400] * 7
    assert UserSession.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_clones_at_once_one_gets_in(api, user):
    authenticator = registered(user)
    begun = [begin(api) for _ in range(8)]
    answers = []
    for ceremony, options in begun:
        authenticator.count = 0
        answers.append((ceremony, authenticator.get(options)))

    found = at_once([lambda answer=answer: finish(ApiClient(), *answer) for answer in answers])

    assert found == [200] + [400] * 7


@pytest.mark.django_db(transaction=True)
def test_eight_registrations_of_one_answer_are_one(api, user):
    api.sign_in(user)
    begun = api.call("POST", "/auth/passkeys/register/options", {}).json()
    body = {"ceremony": begun["ceremony"], "credential": Authenticator().create(begun["options"])}

    def call():
        return ApiClient().call("POST", "/auth/passkeys/register/verify", body, bearer=api.bearer)

    assert at_once([call] * 8) == [201] + [400] * 7
    assert (MfaDevice.objects.count(), RecoveryCode.objects.count()) == (1, 10)


def test_the_password_still_asks_for_the_passkey_after_it_was_used_alone(api, user):
    sign_in(api, registered(user))

    assert api.login_form(user.email, PASSWORD).status_code == 403
    assert second_factors.methods(user) == ["webauthn", "recovery"]
