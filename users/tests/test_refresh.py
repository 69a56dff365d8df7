"""POST /api/auth/refresh-tokens: one token, one successor."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from conftest import ApiClient
from users.models import AuditEvent, RateBucket, RefreshToken, UserSession
from users.services import rate_limits
from users.tests.own import at_once, recorded

pytestmark = pytest.mark.django_db

INVALID = "ErrorCode.REFRESH_TOKEN_INVALID"


def refresh(api, token):
    return api.call("POST", "/auth/refresh-tokens", {"token": token}, bearer="")


@pytest.fixture
def first(api, user):
    return api.log_in(user)["refresh_token"]


def age_use(seconds):
    RefreshToken.objects.exclude(used_at=None).update(used_at=timezone.now() - timedelta(seconds=seconds))


def test_a_refresh_answers_a_new_pair(api, first):
    body = refresh(api, first).json()

    assert list(body) == [
        "access_token",
        "access_token_expiration",
        "token_type",
        "refresh_token",
        "refresh_token_expiration",
    ]
    assert body["refresh_token"] != first
    assert api.call("GET", "/users/user", bearer=body["access_token"]).status_code == 200


def test_the_old_access_token_stays_good(api, first):
    refresh(api, first)

    assert api.call("GET", "/users/user").status_code == 200


def test_callers_within_the_leeway_get_the_same_successor(api, first):
    second = refresh(api, first).json()["refresh_token"]

    assert refresh(api, first).json()["refresh_token"] == second
    assert RefreshToken.objects.count() == 2


def test_within_the_leeway_a_late_tab_gets_the_newest_token(api, first):
    second = refresh(api, first).json()["refresh_token"]
    third = refresh(api, second).json()["refresh_token"]

    assert refresh(api, first).json()["refresh_token"] == third


@pytest.mark.parametrize("seconds", [61, 86_400, 29 * 86_400])
def test_a_client_that_lost_the_answer_is_given_it_again(api, user, first, outbox, seconds):
    lost = refresh(api, first).json()["refresh_token"]
    age_use(seconds)

    with outbox() as mails:
        again = [refresh(api, first).json()["refresh_token"] for _ in range(3)]

    assert again == [lost] * 3
    assert refresh(api, lost).status_code == 200
    assert [(mail.to, mail.subject) for mail in mails] == [([user.email], "A sign-in to your account was resumed")]
    assert recorded("session.resumed").session_id == UserSession.objects.get().pk


@pytest.mark.parametrize("who_comes_first", ["owner", "thief"])
def test_of_two_who_hold_the_successor_the_second_ends_the_session(api, first, outbox, who_comes_first):
    kept = refresh(api, first).json()["refresh_token"]
    age_use(61)
    copied = refresh(api, first).json()["refresh_token"]

    assert refresh(api, kept if who_comes_first == "owner" else copied).status_code == 200
    age_use(61)
    with outbox() as mails:
        second = refresh(api, copied if who_comes_first == "owner" else kept)

    assert second.status_code == 400
    assert UserSession.objects.get().revoked_reason == "replay"
    assert len(mails) == 1


def test_an_answer_may_be_lost_again_once_one_has_arrived(api, first):
    lost = refresh(api, first).json()["refresh_token"]
    age_use(61)
    refresh(api, first)
    arrived = refresh(api, lost).json()["refresh_token"]
    lost_again = refresh(api, arrived).json()["refresh_token"]
    age_use(61)

    assert refresh(api, arrived).json()["refresh_token"] == lost_again


def test_an_answer_made_with_an_older_key_is_given_again(api, first, settings):
    lost = refresh(api, first).json()["refresh_token"]
    age_use(61)
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-secret-of-at-least-32-characters"

    assert refresh(api, first).json()["refresh_token"] == lost


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("together", [["first"] * 8, ["first", "second"] * 4])
def test_late_callers_at_once_are_answered_or_end_the_session_and_fork_nothing(api, user, together):
    first = api.log_in(user)["refresh_token"]
    held = {"first": first, "second": refresh(api, first).json()["refresh_token"]}
    age_use(61)

    answers = at_once([lambda name=name: refresh(ApiClient(), held[name]) for name in together])

    chain = [token.parent_id for token in RefreshToken.objects.order_by("pk")]
    assert len(chain) == len(set(chain)) <= 3
    assert AuditEvent.objects.filter(event="session.resumed").count() <= 1
    if "second" not in together:
        assert {answer.json()["refresh_token"] for answer in answers} == {held["second"]}


def test_a_replay_after_the_leeway_ends_the_session(api, first):
    second = refresh(api, first).json()["refresh_token"]
    refresh(api, second)
    age_use(61)

    response = refresh(api, first)

    assert (response.status_code, response.json()["detail"]) == (400, INVALID)
    assert UserSession.objects.get().revoked_reason == "replay"
    assert refresh(api, second).status_code == 400
    assert api.call("GET", "/users/user").status_code == 401


@pytest.mark.parametrize("token", ["", "junk", "rt_" + "A" * 43, "x" * 100_000, "é"])
def test_anything_invalid_is_one_error_without_an_error_key(api, db, token):
    response = refresh(api, token)

    assert (response.status_code, response.json()["detail"]) == (400, INVALID)
    assert "error" not in response.json()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda user: UserSession.objects.update(expires_at=timezone.now()),
        lambda user: UserSession.objects.update(revoked_at=timezone.now(), revoked_reason="logout"),
        lambda user: type(user).objects.update(is_active=False),
        lambda user: RefreshToken.objects.update(created_at=timezone.now() - timedelta(days=31)),
    ],
)
def test_a_dead_session_refreshes_no_more(api, user, first, spoil):
    spoil(user)

    assert refresh(api, first).status_code == 400


def test_a_refresh_token_never_outlives_its_session(api, first):
    UserSession.objects.update(expires_at=timezone.now() + timedelta(seconds=100))

    assert refresh(api, first).json()["refresh_token_expiration"] <= 100


def test_without_rotation_the_seeds_answer_and_nothing_is_spent(api, first, settings):
    settings.USERS_REFRESH_ROTATION = False

    for _ in range(2):
        assert list(refresh(api, first).json()) == ["access_token", "access_token_expiration", "token_type"]
    assert RefreshToken.objects.get().used_at is None


def test_a_successor_made_with_an_older_key_is_found(api, first, settings):
    second = refresh(api, first).json()["refresh_token"]
    settings.USERS_TOKEN_SECRET_FALLBACKS = [settings.USERS_TOKEN_SECRET]
    settings.USERS_TOKEN_SECRET = "another-secret-of-at-least-32-characters"

    assert refresh(api, first).json()["refresh_token"] == second


def test_a_refresh_costs_few_queries(api, first, queries):
    with queries() as made:
        refresh(api, first)

    assert made() == {"sqlite": 4, "postgresql": 2}[connection.vendor]


def test_a_refresh_over_its_limit_is_refused_and_spends_nothing(api, first):
    for _ in range(rate_limits.REFRESH.max_count):
        rate_limits.reserve(rate_limits.REFRESH.of_thing("session", UserSession.objects.get().pk.hex))

    response = refresh(api, first)

    assert (response.status_code, response.json()["code"]) == (429, "too_many_requests")
    assert int(response["Retry-After"]) > 0
    assert RefreshToken.objects.get().used_at is None


def test_each_refresh_counts_once(api, first):
    for token in (first, refresh(api, first).json()["refresh_token"], first):
        refresh(api, token)

    assert RateBucket.objects.get(scope="refresh").count == 4


def test_no_token_rests_in_the_database(api, first):
    rows = [bytes(row.hash) for row in RefreshToken.objects.all()]

    assert first.encode() not in rows
    assert len(rows[0]) == 32
