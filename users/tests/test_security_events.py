"""GET /api/users/security-events: what happened to the own account."""

from dataclasses import replace

import pytest
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from users.models import AuditEvent, UserSession
from users.services import audit, sessions, staff
from users.tests.factories import UserFactory
from users.tests.own import code_of

pytestmark = pytest.mark.django_db

FIELDS = ["id", "at", "event", "outcome", "by", "door", "ip", "label", "session_id", "data"]


def events(api, before=""):
    return api.call("GET", f"/users/security-events?before={before}" if before else "/users/security-events")


def fill(user, count):
    AuditEvent.objects.bulk_create(
        [audit.event("session.ended", actor=Actor("api"), user=user, count=n) for n in range(count)]
    )


def test_a_sign_in_tells_when_from_where_and_with_what(api, user):
    api.login_form(user.email, "Wrong-Horse-7", user_agent="curl/8")
    api.log_in(user)

    response = events(api)

    ok, failed = response.json()
    assert list(ok) == FIELDS
    assert (ok["event"], ok["outcome"], ok["by"], ok["door"], ok["ip"]) == ("login.ok", "ok", "you", "api", "127.0.0.1")
    assert (ok["session_id"], ok["data"]) == (user.sessions.get().pk.hex, {"amr": ["pwd"], "kind": "api"})
    assert (failed["event"], failed["by"], failed["label"]) == ("login.failed", "unknown", "curl")
    assert response["Cache-Control"] == "no-store"


def test_only_ones_own_are_shown(api, user):
    fill(UserFactory.create(), 3)
    api.login_form("nobody@example.org")
    api.log_in(user)

    assert [event["event"] for event in events(api).json()] == ["login.ok"]


def test_fifty_a_page_the_newest_first_and_none_twice(api, user, queries):
    fill(user, 119)
    api.log_in(user)

    with queries() as made:
        first = events(api).json()
    assert made() == 2
    second = events(api, first[-1]["id"]).json()
    third = events(api, second[-1]["id"]).json()

    assert [len(first), len(second), len(third)] == [50, 50, 20]
    assert first[0]["event"] == "login.ok"
    assert [event["data"]["count"] for event in (first + second + third)[1:]] == list(reversed(range(119)))
    assert events(api, third[-1]["id"]).json() == []


def test_of_staff_nothing_is_told_but_that_it_was_staff(api, user, superuser):
    info = RequestInfo("198.51.100.9", "Mozilla/5.0 Firefox/140.0")
    session = sessions.new_session(superuser, info, UserSession.Kind.ADMIN, timezone.now())
    actor = Actor("admin", superuser, "f" * 32, replace(info, session_id=session.pk))
    staff.deactivate(user, actor=actor, reason="Complaint of Bob")
    staff.activate(user, actor=actor)
    api.log_in(user)

    body = events(api).content.decode()

    seen = {event["event"]: event for event in events(api).json()}
    off = seen["user.deactivated"]
    assert (off["by"], off["ip"], off["label"], off["data"]) == ("staff", "", "", {"ended": 0})
    assert not any(word in body for word in ("Bob", "f" * 32, superuser.pk.hex, superuser.email, "198.51.100.9"))


def test_commands_are_staffs_and_periodic_jobs_the_systems(api, user):
    audit.record("user.unlocked", actor=Actor.command("unlock_user"), user=user)
    audit.record("user.updated", actor=Actor.schedule("x"), user=user)
    api.log_in(user)

    assert [event["by"] for event in events(api).json()] == ["you", "system", "staff"]


def test_ones_own_sign_in_to_the_admin_is_ones_own(api, superuser, staff_client):
    api.log_in(superuser)

    assert {(event["door"], event["by"]) for event in events(api).json()} == {("api", "you"), ("admin", "you")}


@pytest.mark.parametrize("before", ["junk", "1", "-1", "%00", "%ED%A0%80", "a" * 200, "9" * 25])
def test_a_cursor_we_did_not_make_is_400(api, user, before):
    api.log_in(user)

    assert code_of(events(api, before))[:2] == (400, "ErrorCode.BAD_CURSOR")


def test_somebody_elses_cursor_is_400_and_a_huge_one_422(api, user):
    other = UserFactory.create()
    api.log_in(other)
    theirs = events(api).json()[0]["id"]
    api.log_in(user)

    assert events(api, theirs).status_code == 400
    assert events(api, "a" * 201).status_code == 422


def test_without_a_bearer_there_is_nothing(api, db):
    assert events(api).status_code == 401
