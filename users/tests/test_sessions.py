"""GET, DELETE /api/users/sessions and /api/users/sessions/{id}; when sessions end by themselves."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from users.models import AuditEvent, UserSession
from users.services import tokens
from users.tests.factories import UserFactory
from users.tests.own import recorded, sign_in_elsewhere

pytestmark = pytest.mark.django_db

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
FIELDS = "id kind label ip user_agent amr created_at last_seen_at expires_at is_current"


@pytest.fixture
def signed_in(api, user):
    return api.sign_in(user)


def listed(api, **more):
    return api.call("GET", "/users/sessions", **more).json()


def end(api, session_id):
    return api.call("DELETE", f"/users/sessions/{session_id}")


def refresh(api, token):
    return api.call("POST", "/auth/refresh-tokens", {"token": token}, bearer="")


def test_the_list_tells_program_and_place_and_which_one_this_is(api, user, signed_in):
    sign_in_elsewhere(api, user, user_agent=FIREFOX)

    newest, current = listed(api)

    assert " ".join(newest) == FIELDS
    assert (newest["label"], newest["user_agent"], newest["ip"]) == ("Firefox on Linux", FIREFOX, "127.0.0.1")
    assert (newest["kind"], newest["amr"], newest["is_current"], current["is_current"]) == ("api", ["pwd"], False, True)
    assert newest["created_at"] > current["created_at"]
    assert current["id"] == user.sessions.earliest("created_at").pk.hex


def test_only_live_sessions_of_ones_own_are_listed(api, user, signed_in):
    sign_in_elsewhere(api, UserFactory.create())
    sign_in_elsewhere(api, user)
    expired = UserSession.objects.filter(user=user).latest("created_at")
    UserSession.objects.filter(pk=expired.pk).update(expires_at=timezone.now())

    assert [row["is_current"] for row in listed(api)] == [True]


def test_a_sign_in_to_the_admin_is_listed_and_can_be_ended(api, superuser, staff_client):
    api.sign_in(superuser)
    admin = next(row for row in listed(api) if row["kind"] == "admin")

    assert end(api, admin["id"]).status_code == 204
    assert staff_client.get("/admin/").status_code == 302


def test_the_list_is_never_stored_holds_no_token_and_costs_one_query(api, user, signed_in, queries):
    with queries() as made:
        response = api.call("GET", "/users/sessions")

    assert made() == 2
    assert response["Cache-Control"] == "no-store"
    assert signed_in["refresh_token"] not in response.content.decode()


def test_of_very_many_the_one_in_use_is_in_the_list(api, user, signed_in, monkeypatch):

    from users.services import sessions

    monkeypatch.setattr(sessions, "_LISTED", 2)
    for _ in range(3):
        sign_in_elsewhere(api, user)

    assert [row["is_current"] for row in listed(api)] == [False, False, True]


def test_an_ended_session_is_out_at_once(api, user, signed_in):
    other = sign_in_elsewhere(api, user)
    row = listed(api)[0]

    response = end(api, row["id"])

    assert (response.status_code, response.content) == (204, b"")
    assert api.call("GET", "/users/user", bearer=other["access_token"]).status_code == 401
    assert refresh(api, other["refresh_token"]).status_code == 400
    event = recorded("session.ended")
    assert (event.session_id.hex, event.data["why"], event.actor) == (row["id"], "owner", user.pk.hex)


def test_the_session_in_use_may_be_ended_too(api, user, signed_in):
    assert end(api, listed(api)[0]["id"]).status_code == 204
    assert api.call("GET", "/users/sessions").status_code == 401


@pytest.mark.parametrize("session_id", ["0" * 32, "x", "%00", "a" * 10_000, "urn:uuid:" + "0" * 32, "%ED%A0%80"])
def test_what_is_no_session_of_ones_own_is_404(api, user, signed_in, session_id):
    assert end(api, session_id).status_code == 404


def test_somebody_elses_session_is_404_and_goes_on(api, user, signed_in):
    theirs = sign_in_elsewhere(api, UserFactory.create())
    row = UserSession.objects.exclude(user=user).get()

    assert end(api, row.pk.hex).status_code == 404
    assert api.call("GET", "/users/user", bearer=theirs["access_token"]).status_code == 200


def test_ending_twice_is_404(api, user, signed_in):
    sign_in_elsewhere(api, user)
    row = listed(api)[0]
    end(api, row["id"])

    assert end(api, row["id"]).status_code == 404


def test_ending_all_others_leaves_this_one(api, user, signed_in):
    others = [sign_in_elsewhere(api, user) for _ in range(3)]
    theirs = sign_in_elsewhere(api, UserFactory.create())

    assert api.call("DELETE", "/users/sessions").status_code == 204

    assert [row["is_current"] for row in listed(api)] == [True]
    for other in others:
        assert api.call("GET", "/users/user", bearer=other["access_token"]).status_code == 401
    assert api.call("GET", "/users/user", bearer=theirs["access_token"]).status_code == 200
    assert recorded("session.ended").data == {"ended": 3, "why": "owner"}


def test_with_no_others_nothing_happens_and_nothing_is_recorded(api, user, signed_in):
    assert api.call("DELETE", "/users/sessions").status_code == 204
    assert not AuditEvent.objects.filter(event="session.ended").exists()


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("DELETE", f"/{uuid.UUID(int=1).hex}")])
def test_without_a_bearer_there_is_nothing(api, db, method, path):
    assert api.call(method, f"/users/sessions{path}").status_code == 401


# --- Limits in time ---------------------------------------------------------------------------------------------------


def unused_for(seconds):
    UserSession.objects.update(last_seen_at=timezone.now() - timedelta(seconds=seconds))


def test_without_an_idle_limit_a_session_lasts_unused(api, user, signed_in):
    unused_for(29 * 86400)

    assert api.call("GET", "/users/user").status_code == 200


def test_an_idle_session_ends_for_access_and_refresh_and_leaves_the_list(api, user, signed_in, settings):
    settings.USERS_SESSION_IDLE_SECONDS = 1800
    other = sign_in_elsewhere(api, user)
    UserSession.objects.filter(pk=listed(api)[0]["id"]).update(last_seen_at=timezone.now() - timedelta(seconds=1801))

    assert api.call("GET", "/users/user", bearer=other["access_token"]).status_code == 401
    assert refresh(api, other["refresh_token"]).status_code == 400
    assert [row["is_current"] for row in listed(api)] == [True]


def test_a_call_and_a_refresh_count_as_use(api, user, signed_in, settings):
    settings.USERS_SESSION_IDLE_SECONDS = 1800
    unused_for(1700)
    assert refresh(api, signed_in["refresh_token"]).status_code == 200
    by_refresh = UserSession.objects.get().last_seen_at
    unused_for(1700)
    assert api.call("GET", "/users/user").status_code == 200
    by_call = UserSession.objects.get().last_seen_at

    assert timezone.now() - by_refresh < timedelta(seconds=60)
    assert timezone.now() - by_call < timedelta(seconds=60)


def test_last_seen_is_written_at_most_once_a_minute(api, user, signed_in, queries):
    unused_for(61)
    with queries() as stale:
        api.call("GET", "/users/user")
    with queries() as fresh:
        api.call("GET", "/users/user")

    assert (stale(), fresh()) == (2, 1)


def test_the_admin_signs_out_after_half_an_hour_unused_and_after_twelve_hours(superuser, staff_client):
    unused_for(29 * 60)
    assert staff_client.get("/admin/").status_code == 200
    unused_for(30 * 60 + 1)
    assert staff_client.get("/admin/").status_code == 302

    row = UserSession.objects.get()
    assert row.expires_at - row.created_at == timedelta(hours=12)


def test_a_session_ends_for_good_however_much_it_is_used(api, user, signed_in):
    UserSession.objects.update(expires_at=timezone.now() + timedelta(seconds=30))
    made = refresh(api, signed_in["refresh_token"]).json()
    UserSession.objects.update(expires_at=timezone.now())

    assert made["refresh_token_expiration"] <= 30
    assert api.call("GET", "/users/user", bearer=made["access_token"]).status_code == 401
    assert refresh(api, made["refresh_token"]).status_code == 400


def test_a_session_refreshes_120_times_in_five_minutes_then_429(api, user, signed_in, settings):
    settings.USERS_REFRESH_ROTATION = False
    answers = [refresh(api, signed_in["refresh_token"]) for _ in range(121)]

    assert {answer.status_code for answer in answers[:120]} == {200}
    assert (answers[120].status_code, answers[120].json()["code"]) == (429, "too_many_requests")
    assert 0 < int(answers[120]["Retry-After"]) <= 300
    assert api.call("GET", "/users/user").status_code == 200
    assert refresh(api, sign_in_elsewhere(api, user)["refresh_token"]).status_code == 200


# --- Replay -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def replayed(api, user, signed_in, outbox):
    """The mails that a refresh token used again after the leeway leads to."""
    from users.models import RefreshToken

    refresh(api, refresh(api, signed_in["refresh_token"]).json()["refresh_token"])
    RefreshToken.objects.exclude(used_at=None).update(used_at=timezone.now() - timedelta(seconds=61))
    with outbox() as mails:
        assert refresh(api, signed_in["refresh_token"]).status_code == 400
        assert refresh(api, signed_in["refresh_token"]).status_code == 400
    return mails


def test_a_replay_is_mailed_to_the_owner_once(user, replayed):
    assert [mail.to for mail in replayed] == [[user.email]]


def test_a_replay_is_on_record_once_with_its_session(user, replayed):
    event = recorded("session.replay")

    assert (event.user_id, event.outcome, event.session_id) == (user.pk, "refused", user.sessions.get().pk)


def test_a_replay_ends_no_other_session(api, user, signed_in, outbox):
    from users.models import RefreshToken

    other = sign_in_elsewhere(api, user)
    refresh(api, refresh(api, signed_in["refresh_token"]).json()["refresh_token"])
    RefreshToken.objects.exclude(used_at=None).update(used_at=timezone.now() - timedelta(seconds=61))
    refresh(api, signed_in["refresh_token"])

    assert api.call("GET", "/users/user").status_code == 401
    assert api.call("GET", "/users/user", bearer=other["access_token"]).status_code == 200


# --- Keys -------------------------------------------------------------------------------------------------------------


def test_a_new_key_signs_nobody_out(api, user, signed_in, settings):
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-secret-of-at-least-32-characters"

    assert api.call("GET", "/users/user").status_code == 200
    second = refresh(api, signed_in["refresh_token"]).json()
    settings.USERS_TOKEN_SECRET_FALLBACKS = []
    assert api.call("GET", "/users/user", bearer=second["access_token"]).status_code == 200
    assert refresh(api, second["refresh_token"]).status_code == 200


def test_once_the_old_key_is_gone_old_access_tokens_are_not_taken_and_the_session_refreshes_on(
    api, user, signed_in, settings
):
    settings.USERS_TOKEN_SECRET = "another-secret-of-at-least-32-characters"

    assert api.call("GET", "/users/user").status_code == 401
    assert refresh(api, signed_in["refresh_token"]).status_code == 200


@pytest.mark.parametrize(("ahead", "status"), [(tokens.CLOCK_LEEWAY - 5, 200), (tokens.CLOCK_LEEWAY + 5, 401)])
def test_a_token_of_a_host_whose_clock_is_a_little_ahead_is_good(api, user, signed_in, ahead, status):
    session = UserSession.objects.get()

    bearer = tokens.make_access(user, session.pk, timezone.now() + timedelta(seconds=ahead))

    assert api.call("GET", "/users/sessions", bearer=bearer).status_code == status
