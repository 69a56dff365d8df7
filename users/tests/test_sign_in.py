"""POST /api/login, sessions, DELETE /api/logout."""

import jwt
import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.utils import timezone

from lib.actors import Actor
from notifications.models import Message
from users.models import AuditEvent, RateBucket, RefreshToken, User, UserSession
from users.services import hashing, personal_data, staff, tokens
from users.tests.factories import PASSWORD, UserFactory

pytestmark = pytest.mark.django_db

BAD = "ErrorCode.LOGIN_BAD_CREDENTIALS"


def test_signing_in_answers_the_pair(api, user):
    body = api.login_form(user.email).json()

    assert list(body) == [
        "access_token",
        "refresh_token",
        "token_type",
        "access_token_expiration",
        "refresh_token_expiration",
    ]
    assert (body["token_type"], body["access_token_expiration"], body["refresh_token_expiration"]) == (
        "bearer",
        900,
        2592000,
    )


def test_the_access_token_can_be_decoded_by_a_browser(api):
    user = UserFactory.create(first_name="Zoë")

    token = api.log_in(user)["access_token"]

    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["user_id"], claims["email"], claims["first_name"]) == (user.pk.hex, user.email, "Zoë")
    assert claims["aud"] == "users:ACCESS_TOKEN"
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "at+jwt"}
    assert claims["exp"] > timezone.now().timestamp()


def test_the_answer_is_never_stored(api, user):
    assert api.login_form(user.email)["Cache-Control"] == "no-store"


def test_letter_case_and_blanks_of_the_address_do_not_matter(api, user):
    assert api.login_form(f" {user.email.upper()} ").status_code == 200


def test_a_blank_in_the_username_is_the_plus_of_a_client_that_does_not_encode(api):
    UserFactory.create(email="ada+test@example.org")
    body = f"username=ada+test@example.org&password={PASSWORD}"

    response = api.post("/api/login", body, content_type="application/x-www-form-urlencoded")

    assert response.status_code == 200


def test_a_multipart_form_and_the_ignored_oauth_fields_are_taken(api, user):
    form = {"username": user.email, "password": PASSWORD, "grant_type": "password", "scope": "a b", "client_id": "x"}

    assert api.post("/api/login", form).status_code == 200


@pytest.mark.parametrize("form", [{"username": "a@b.org"}, {"password": "x"}, {}])
def test_a_missing_field_is_422(api, form):
    response = api.post("/api/login", form)

    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"][0] == "body"


def test_another_grant_type_is_422(api, user):
    form = {"username": user.email, "password": PASSWORD, "grant_type": "client_credentials"}

    assert api.post("/api/login", form).status_code == 422


def test_a_json_body_is_422(api, user):
    response = api.call("POST", "/login", {"username": user.email, "password": PASSWORD})

    assert response.status_code == 422
    assert PASSWORD not in response.content.decode()


@pytest.mark.parametrize("traits", [{}, {"inactive": True}, {"must_reset": True}, None])
def test_unknown_wrong_and_inactive_are_answered_alike(api, traits):
    if traits is not None:
        UserFactory.create(email="ada@example.org", **traits)
    password = "Wrong-Horse-7" if traits == {} else PASSWORD

    response = api.login_form("ada@example.org", password)

    assert response.status_code == 400
    assert response.json()["detail"] == BAD
    assert response.json()["code"] == "login_bad_credentials"


def test_an_unverified_person_with_the_right_password_is_told_so(api):
    user = UserFactory.create(unverified=True)

    assert api.login_form(user.email).json()["detail"] == "ErrorCode.LOGIN_USER_NOT_VERIFIED"
    assert api.login_form(user.email, "Wrong-Horse-7").json()["detail"] == BAD


def test_a_person_waiting_for_the_code_is_not_paused_by_right_passwords(api):
    user = UserFactory.create(unverified=True)

    answers = {api.login_form(user.email).json()["detail"] for _ in range(7)}

    assert answers == {"ErrorCode.LOGIN_USER_NOT_VERIFIED"}


@pytest.mark.parametrize("is_known", [True, False])
def test_five_wrong_passwords_pause_known_and_unknown_addresses_alike(api, user, is_known):
    email = user.email if is_known else "nobody@example.org"
    for _ in range(5):
        assert api.login_form(email, "Wrong-Horse-7").json()["code"] == "login_bad_credentials"

    response = api.login_form(email)

    assert response.status_code == 400
    assert (response.json()["detail"], response.json()["code"]) == (BAD, "login_paused")
    assert 55 <= int(response["Retry-After"]) <= 60


def test_a_pause_neither_deactivates_nor_ends_sessions(api, user):
    api.log_in(user)
    for _ in range(6):
        api.login_form(user.email, "Wrong-Horse-7")

    user.refresh_from_db()
    assert user.is_active
    assert api.call("GET", "/users/user").status_code == 200


def test_tries_during_a_pause_do_not_lengthen_it_and_each_further_failure_doubles_it(api, user):
    for _ in range(8):
        api.login_form(user.email, "Wrong-Horse-7")
    assert set(RateBucket.objects.values_list("count", flat=True)) == {5}
    RateBucket.objects.update(blocked_until=0)

    api.login_form(user.email, "Wrong-Horse-7")
    response = api.login_form(user.email)

    assert 110 <= int(response["Retry-After"]) <= 120


def test_the_pause_never_exceeds_64_minutes(api, user):
    for _ in range(20):
        api.login_form(user.email, "Wrong-Horse-7")
        RateBucket.objects.update(blocked_until=0)

    api.login_form(user.email, "Wrong-Horse-7")

    assert int(api.login_form(user.email)["Retry-After"]) <= 64 * 60


def test_the_pause_ends(api, user):
    for _ in range(6):
        api.login_form(user.email, "Wrong-Horse-7")
    RateBucket.objects.update(blocked_until=1)

    assert api.login_form(user.email).status_code == 200


def test_a_stranger_in_another_network_does_not_pause_the_owner(api, user):
    for _ in range(6):
        api.post("/api/login", {"username": user.email, "password": "Wrong-Horse-7"}, REMOTE_ADDR="203.0.113.9")

    assert api.login_form(user.email).status_code == 200


def test_signing_in_forgets_the_wrong_passwords(api, user):
    for _ in range(4):
        api.login_form(user.email, "Wrong-Horse-7")
    api.login_form(user.email)

    assert RateBucket.objects.get(scope="login").count == 0
    assert set(RateBucket.objects.exclude(scope="login").values_list("count", flat=True)) == {4}


def test_a_failed_sign_in_costs_three_queries(api, user, django_assert_max_num_queries):
    for _ in range(6):
        with django_assert_max_num_queries(3):
            api.login_form(user.email, "Wrong-Horse-7")


def test_a_sign_in_costs_at_most_nine_queries(api, user, queries):
    with queries() as made:
        assert api.login_form(user.email).status_code == 200

    assert made() <= 9


def test_a_sign_in_from_a_known_place_costs_three_queries_on_postgresql(api, user, queries):
    api.log_in(user)

    with queries() as made:
        assert api.login_form(user.email).status_code == 200

    assert made() <= (3 if connection.vendor == "postgresql" else 9)


def test_a_sign_in_from_a_known_place_leaves_the_rows_of_any_other(api, user):
    for _ in range(2):
        api.log_in(user)

    assert differing(UserSession) == {"id", "created_at", "last_seen_at", "auth_at", "expires_at"}
    assert differing(RefreshToken) == {"id", "hash", "session_id", "created_at"}
    assert differing(AuditEvent) == {"id", "at", "session_id", "request_id"}
    assert set(RateBucket.objects.values_list("count", flat=True)) == {0}
    user.refresh_from_db()
    assert user.last_login == UserSession.objects.latest("created_at").created_at


def differing(model):
    """The columns in which the two rows there are differ."""
    one, other = model.objects.values()
    return {name for name in one if one[name] != other[name]}


def test_an_authenticated_call_costs_one_query(api, user, django_assert_num_queries):
    api.log_in(user)

    with django_assert_num_queries(1):
        api.call("GET", "/users/user")


def test_a_seed_bcrypt_hash_is_accepted_and_renewed(api, user):
    import bcrypt

    seed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    User.objects.update(password=f"bcrypt${seed}".replace("bcrypt$$", "bcrypt$$"))

    assert api.login_form(user.email).status_code == 200
    user.refresh_from_db()
    assert user.password.startswith("argon2$argon2id$")
    assert api.login_form(user.email).status_code == 200


def test_a_seed_password_over_72_bytes_still_opens(api, user):
    import bcrypt

    long = "Correct-Horse-7" * 10
    User.objects.update(password="bcrypt$" + bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode())

    assert api.login_form(user.email, long).status_code == 200
    assert api.login_form(user.email, long).status_code == 200


def test_a_broken_hash_is_a_wrong_password(api, user):
    for broken in ("bcrypt$$2b$junk", "argon2$junk", "md5$x", "", "!"):
        User.objects.update(password=broken)
        RateBucket.objects.all().delete()
        assert api.login_form(user.email).status_code == 400


def test_a_full_hashing_queue_is_503(api, user, monkeypatch):
    import threading

    monkeypatch.setattr(hashing._pool(), "_places", threading.BoundedSemaphore(1))
    hashing._pool()._places.acquire()

    response = api.login_form(user.email)

    assert response.status_code == 503
    assert response.json()["detail"] == "ErrorCode.BUSY"
    assert response["Retry-After"] == "1"


def test_signing_out_ends_access_at_once(api, user):
    api.log_in(user)

    assert api.call("DELETE", "/logout").json() == {"status": "success"}
    assert api.call("GET", "/users/user").status_code == 401


def test_signing_out_by_refresh_token_ends_its_session(api, user):
    pair = api.log_in(user)

    api.call("DELETE", "/logout", {"refresh_token": pair["refresh_token"]}, bearer="")

    assert api.call("GET", "/users/user").status_code == 401


@pytest.mark.parametrize("body", [None, "{", "[]", '{"refresh_token": 7}', '{"refresh_token": "é"}', b"\xff" * 10])
def test_signing_out_answers_200_to_anything(api, db, body):
    for bearer in ("", "junk", "a.b.c"):
        assert api.call("DELETE", "/logout", body, bearer=bearer).status_code == 200


def test_other_sessions_survive_a_sign_out(api, user):
    first = api.log_in(user)["access_token"]
    api.log_in(user)
    api.call("DELETE", "/logout")

    assert api.call("GET", "/users/user", bearer=first).status_code == 200


def test_deactivation_ends_access_at_once(api, user):
    api.log_in(user)

    staff.deactivate(user, actor=Actor("command", label="test"), reason="gone")

    assert api.call("GET", "/users/user").status_code == 401
    staff.activate(user, actor=Actor("command", label="test"))
    assert api.call("GET", "/users/user").status_code == 401


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Bearer junk", "Basic YTpi", "Bearer a.b.c", "Bearer é.é.é", "bearer " + "x" * 8000],
)
def test_no_or_bad_bearer_is_401(api, db, header):
    response = api.get("/api/users/user", headers={"authorization": header})

    assert response.status_code == 401
    assert response.json()["detail"] == "Unauthorized"
    assert response["WWW-Authenticate"] == "Bearer"


def forged(user, session, **changes):

    now = timezone.now().timestamp()
    claims = {
        "user_id": user.pk.hex,
        "email": user.email,
        "first_name": "",
        "aud": "users:ACCESS_TOKEN",
        "exp": now + 60,
        "sid": session.pk.hex,
        "iat": now,
        "jti": "1",
        "iss": "switchboard",
        **changes,
    }
    claims = {key: value for key, value in claims.items() if value is not None}
    return jwt.encode(claims, tokens.keys("access")[0].value, algorithm="HS256")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"aud": "other"},
        {"iss": "other"},
        {"sid": None},
        {"sid": "junk"},
        {"sid": 7},
        {"user_id": "0" * 32},
        {"user_id": None},
        {"jti": None},
    ],
)
def test_a_token_with_a_wrong_claim_is_401(api, user, changes):
    api.log_in(user)
    session = UserSession.objects.get()
    assert api.call("GET", "/users/user", bearer=forged(user, session)).status_code == 200

    assert api.call("GET", "/users/user", bearer=forged(user, session, **changes)).status_code == 401


def test_an_unsigned_token_is_401(api, user):
    api.log_in(user)
    claims = jwt.decode(api.bearer, options={"verify_signature": False})

    assert api.call("GET", "/users/user", bearer=jwt.encode(claims, "", algorithm="none")).status_code == 401


def test_a_token_signed_with_an_older_secret_is_read(api, user, settings):
    api.log_in(user)
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-secret-of-at-least-32-characters"

    assert api.call("GET", "/users/user").status_code == 200
    settings.USERS_TOKEN_SECRET_FALLBACKS = []
    assert api.call("GET", "/users/user").status_code == 401


def test_public_endpoints_ignore_a_stale_bearer(api, user):
    api.bearer = "stale.bearer.token"

    assert api.call("GET", "/_status").status_code == 200
    assert api.call("GET", "/feature-flags/feature-flags").status_code == 200
    assert (
        api.post(
            "/api/login", {"username": user.email, "password": PASSWORD}, headers={"authorization": "Bearer stale"}
        ).status_code
        == 200
    )


def test_the_greeting_comes_from_the_database(api, user):
    api.log_in(user)
    async_to_sync(personal_data.rename)(user, first_name="Grace", actor=Actor("command", label="test"))

    assert api.call("GET", "/_authenticated").json() == {"message": "Hello Grace!"}


def test_a_sign_in_from_a_new_place_is_told_to_the_owner_but_not_the_first(api, user, outbox):
    with outbox() as first:
        api.post("/api/login", {"username": user.email, "password": PASSWORD}, REMOTE_ADDR="203.0.113.7")
    with outbox() as again:
        api.post("/api/login", {"username": user.email, "password": PASSWORD}, REMOTE_ADDR="203.0.113.99")
    with outbox() as elsewhere:
        api.post("/api/login", {"username": user.email, "password": PASSWORD}, REMOTE_ADDR="198.51.100.1")

    assert (first, again) == ([], [])
    assert [mail.to for mail in elsewhere] == [[user.email]]
    assert "198.51.100.1" in elsewhere[0].body
    assert "/forgot-password" in elsewhere[0].body


def test_network_and_program_of_the_owner_hide_no_stranger_from_her(api, user, outbox):
    with outbox() as first:
        api.login_form(user.email)
    with outbox() as again:
        api.login_form(user.email)
    api.cookies.clear()
    with outbox() as strangers:
        api.login_form(user.email)

    assert (first, again) == ([], [])
    assert [mail.subject for mail in strangers] == ["New sign-in to your account"]


def test_a_program_that_keeps_no_cookies_fills_no_mailbox(api, user):
    for _ in range(25):
        api.cookies.clear()
        assert api.login_form(user.email).status_code == 200

    sent = Message.objects.filter(type="users.new_sign_in").exclude(state="suppressed")
    assert sent.count() == 20


def test_many_failures_before_are_told_to_the_owner(api, user, outbox):
    for _ in range(4):
        api.login_form(user.email, "Wrong-Horse-7")
    with outbox() as few:
        api.login_form(user.email)
    for number in range(6):
        api.post("/api/login", {"username": user.email, "password": "x"}, REMOTE_ADDR=f"10.0.{number}.1")
    with outbox() as many:
        api.login_form(user.email)
    with outbox() as none:
        api.login_form(user.email)

    assert (few, none) == ([], [])
    assert len(many) == 1
    assert ": 6" in many[0].body
