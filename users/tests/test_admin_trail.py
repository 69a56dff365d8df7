"""The screens of sessions and of the audit trail, and what the page and the list of people show of them."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.utils import timezone

from lib.actors import Actor, RequestInfo
from users.models import AuditEvent, MfaDevice, UserSession
from users.services import audit, rate_limits, sessions, sign_in, staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
LIST, SESSIONS, AUDIT = "/admin/users/user/", "/admin/users/usersession/", "/admin/users/auditevent/"


def clerk(*permissions):
    user = UserFactory.create(staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="users", codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def signed_in(user, **actor):
    return sessions.new_session(user, RequestInfo(**actor), UserSession.Kind.API, timezone.now())


def rows(response):
    assert response.status_code == 200
    return list(response.context["cl"].result_list)


def write(event="login.ok", **more):
    audit.record(event, actor=more.pop("actor", Actor("api", request=RequestInfo("203.0.113.7", "Firefox/1"))), **more)
    return AuditEvent.objects.order_by("-pk")[0]


# --- Audit ------------------------------------------------------------------------------------------------------------


def test_nobody_writes_in_the_trail(staff_client, user):
    event = write(user=user)

    for end in ("add/", f"{event.pk}/delete/"):
        assert staff_client.get(f"{AUDIT}{end}").status_code == 403
        assert staff_client.post(f"{AUDIT}{end}", {"post": "yes"}).status_code == 403
    assert staff_client.post(f"{AUDIT}{event.pk}/change/", {"event": "forged"}).status_code == 403
    staff_client.post(AUDIT, {"action": "delete_selected", "_selected_action": event.pk, "post": "yes"})
    assert AuditEvent.objects.values().get(pk=event.pk)["event"] == "login.ok"


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"event": "login.failed"}, {"failed", "stranger"}),
        ({"event": "no.such.event"}, {"ok", "failed", "stranger", "old", "staff"}),
        ({"outcome__exact": "failed"}, {"failed", "stranger"}),
        ({"door__exact": "command"}, {"staff"}),
        ({"event": "login.failed", "outcome__exact": "ok"}, set()),
        ({"q": "Ada@Example.org"}, {"ok", "failed", "old", "staff"}),
        ({"q": "nobody@example.org"}, {"stranger"}),
        ({"q": "never@example.org"}, set()),
        ({"q": "request-7"}, {"ok"}),
        ({"q": "nul\x00"}, {"ok", "failed", "stranger", "old", "staff"}),
        ({"since": "2020-01-01T00:00", "until": "2020-02-01"}, {"old"}),
        ({"until": "2020-02-01T00:00Z"}, {"old"}),
        ({"since": "2020-02-01T00:00", "event": "login.ok"}, {"ok"}),
        ({"since": "yesterday"}, {"ok", "failed", "stranger", "old", "staff"}),
        ({"since": "2999-12-31T23:59"}, set()),
    ],
)
def test_the_trail_is_searched(staff_client, user, query, found):
    person = UserFactory.create(email="ada@example.org")
    event = audit.event("login.ok", actor=Actor("api"), user=person)
    event.at = datetime(2020, 1, 15, tzinfo=UTC)
    event.save(force_insert=True)
    made = {"old": event.pk}
    event = audit.event("login.ok", actor=Actor("api"), user=person)
    event.request_id = "request-7"
    event.save(force_insert=True)
    made["ok"] = event.pk
    made["failed"] = write("login.failed", outcome="failed", user=person).pk
    made["stranger"] = write("login.failed", outcome="failed", email="nobody@example.org").pk
    made["staff"] = write("user.deactivated", actor=Actor.command("deactivate_user"), user=person, reason="gone").pk

    shown = {event.pk for event in rows(staff_client.get(AUDIT, query))}

    assert {name for name, pk in made.items() if pk in shown} == found


def test_the_id_of_a_person_or_session_finds_its_events(staff_client, user):
    session = signed_in(user)
    event = write(user=user, session_id=session.pk)
    write(user=UserFactory.create())

    for term in (user.pk, user.pk.hex, session.pk):
        assert [row.pk for row in rows(staff_client.get(AUDIT, {"q": term}))] == [event.pk]


def test_a_row_says_who_and_leads_to_person_session_and_request(staff_client, superuser, user):
    session = signed_in(user)
    staff.end_session(session, actor=Actor("admin", superuser))
    event = AuditEvent.objects.get(event="session.ended")

    row = staff_client.get(AUDIT, {"event": "session.ended"}).content.decode()
    page = staff_client.get(f"{AUDIT}{event.pk}/change/").content.decode()

    assert "root@example.org" in row
    for target in (f"{LIST}{user.pk}/change/", f"{SESSIONS}{session.pk}/change/", f"{AUDIT}?q={session.pk}"):
        assert target in page
    assert "subject" not in page


def test_a_lookup_nobody_offers_is_refused(staff_client):
    for query in ({"data__reason__contains": "x"}, {"subject_mac": "x"}, {"user_agent__regex": "("}):
        assert staff_client.get(AUDIT, query).status_code == 400


def test_viewers_of_people_see_no_trail(user):
    client = clerk("view_user")

    assert client.get(AUDIT).status_code == 403
    assert client.get(SESSIONS).status_code == 403
    assert "Last events" not in client.get(f"{LIST}{user.pk}/change/").content.decode()


# --- Sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_is_ended_by_a_press_and_the_access_token_with_it(staff_client, api, user):
    api.sign_in(user)
    session = user.sessions.get()

    for _ in range(2):
        answer = staff_client.post(f"{SESSIONS}{session.pk}/end/", {"_from": "person"})
        assert answer.headers["Location"] == f"{LIST}{user.pk}/change/"

    assert api.call("GET", "/users/user").status_code == 401
    event = AuditEvent.objects.get(event="session.ended")
    assert (event.door, event.data["why"], event.session_id) == ("admin", "staff", session.pk)


def test_sessions_are_read_only_but_for_that(staff_client, user):
    session = signed_in(user)

    assert staff_client.get(f"{SESSIONS}add/").status_code == 403
    assert staff_client.post(f"{SESSIONS}{session.pk}/change/", {"ip": "1"}).status_code == 403
    assert staff_client.post(f"{SESSIONS}{session.pk}/delete/", {"post": "yes"}).status_code == 403
    assert clerk("view_usersession").post(f"{SESSIONS}{session.pk}/end/").status_code == 403
    session.refresh_from_db()
    assert session.revoked_at is None


def test_sessions_are_found_by_a_part_of_a_name_or_address_and_by_state(staff_client, user):
    live, ended = signed_in(user), signed_in(UserFactory.create(first_name="Jürgen"))
    sessions.end_sessions(UserSession.objects.filter(pk=ended.pk), reason="logout")

    assert rows(staff_client.get(SESSIONS, {"q": user.email.upper()})) == [live]
    assert rows(staff_client.get(SESSIONS, {"q": str(ended.pk)})) == rows(staff_client.get(SESSIONS, {"q": "urgen"}))
    assert rows(staff_client.get(SESSIONS, {"q": "jurgen"})) == [ended]
    assert ended in rows(staff_client.get(SESSIONS, {"live": "0"}))
    assert live in rows(staff_client.get(SESSIONS, {"live": "1"}))
    assert ended not in rows(staff_client.get(SESSIONS, {"live": "1"}))
    assert rows(staff_client.get(SESSIONS, {"q": "x\x00"})) != []


def test_events_are_found_by_a_part_of_a_name_or_address(staff_client):
    person, other = (UserFactory.create(first_name=name) for name in ("Ilva", "Ada"))
    for user in (person, other):
        staff.deactivate(user, actor=Actor.command("deactivate_user"), reason="left")

    found = rows(staff_client.get("/admin/users/auditevent/", {"q": "ilva"}))

    assert {event.user_id for event in found} == {person.pk}


# --- The page and the list of people ----------------------------------------------------------------------------------


def test_the_page_shows_sessions_factors_and_events(staff_client, user):
    signed_in(user, ip="203.0.113.9")
    MfaDevice.objects.create(
        user=user, kind="totp", name="<Phone>", secret="sealed-secret", confirmed_at=timezone.now()
    )
    staff.deactivate(user, actor=Actor.command("deactivate_user"), reason="a&b left")
    staff.activate(user, actor=Actor.command("activate_user"))
    session = signed_in(user)

    html = staff_client.get(f"{LIST}{user.pk}/change/").content.decode()

    for text in ("&lt;Phone&gt;", "reason: a&amp;b left", "command:deactivate_user", f"{SESSIONS}{session.pk}/end/"):
        assert text in html
    assert "sealed-secret" not in html


def test_the_export_is_a_file_and_on_record_with_its_reason(staff_client, superuser, user):
    answer = staff_client.post(f"{LIST}{user.pk}/export/", {"reason": "asked in writing"})

    assert json.loads(b"".join(answer.streaming_content))["profile"]["email"] == user.email
    assert "attachment" in answer.headers["Content-Disposition"]
    assert "no-store" in answer.headers["Cache-Control"]
    event = AuditEvent.objects.get(event="export.made")
    assert (event.actor, event.data) == (superuser.pk.hex, {"reason": "asked in writing"})


def test_factors_go_with_reason_sessions_and_a_mail(staff_client, user, outbox):
    MfaDevice.objects.create(user=user, kind="totp", confirmed_at=timezone.now())
    session = signed_in(user)

    with outbox() as mails:
        assert "Say why" in staff_client.post(f"{LIST}{user.pk}/remove-factors/", {"reason": " "}).content.decode()
        staff_client.post(f"{LIST}{user.pk}/remove-factors/", {"reason": "lost phone"})

    assert not user.mfa_devices.exists()
    session.refresh_from_db()
    assert session.revoked_at is not None
    assert AuditEvent.objects.get(event="mfa.removed").data["reason"] == "lost phone"
    assert [mail.to for mail in mails] == [[user.email]]


def test_a_registration_code_is_sent_again(staff_client, outbox):
    user = UserFactory.create(unverified=True)

    with outbox() as mails:
        staff_client.post(f"{LIST}{user.pk}/send-code/")

    assert [mail.to for mail in mails] == [[user.email]]
    assert AuditEvent.objects.filter(event="user.code_sent", user_id=user.pk).exists()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"look": "paused"}, {"paused"}),
        ({"look": "no-factor"}, {"bare"}),
        ({"waiting": "verification-7"}, {"late"}),
        ({"waiting": "first-here"}, {"moved"}),
        ({"waiting": "deletion"}, {"leaving"}),
    ],
)
def test_the_filters_find_who_needs_a_look(staff_client, client, superuser, query, found):
    week = timezone.now() - timedelta(days=8)
    for user in (superuser, UserFactory.create(staff=True, email="safe@example.org")):
        MfaDevice.objects.get_or_create(user=user, kind="totp", defaults={"confirmed_at": timezone.now()})
    UserFactory.create(staff=True, email="bare@example.org")
    UserFactory.create(unverified=True, email="late@example.org", created_at=week)
    UserFactory.create(unverified=True, email="early@example.org")
    UserFactory.create(email="moved@example.org", password="bcrypt$$2b$12$x")
    UserFactory.create(email="leaving@example.org", is_active=False, delete_after_at=timezone.now())
    paused = UserFactory.create(email="paused@example.org")
    for _ in range(rate_limits.LOGIN.max_count):
        client.post("/api/login", {"username": paused.email, "password": "Wrong-Horse-7"})
    UserFactory.create(email="plain@example.org")

    assert {user.email.partition("@")[0] for user in rows(staff_client.get(LIST, query))} == found


def test_a_lifted_pause_leaves_the_filter(staff_client, user):
    for _ in range(rate_limits.LOGIN.max_count):
        rate_limits.reserve(sign_in.login_bucket(user.email, RequestInfo("203.0.113.7")))
    write("login.paused", outcome="refused", user=user)
    assert rows(staff_client.get(LIST, {"look": "paused"})) == [user]

    staff.unlock(user, actor=Actor("command", label="test"))

    assert rows(staff_client.get(LIST, {"look": "paused"})) == []


# --- Plans ------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite words its plans otherwise")
@pytest.mark.parametrize(
    ("address", "query", "table"),
    [
        (AUDIT, {}, "users_auditevent"),
        (AUDIT, {"event": "login.paused"}, "users_auditevent"),
        (AUDIT, {"outcome__exact": "failed"}, "users_auditevent"),
        (AUDIT, {"q": "nobody@example.org"}, "users_auditevent"),
        (AUDIT, {"until": "2020-02-01"}, "users_auditevent"),
        (SESSIONS, {}, "users_usersession"),
        (SESSIONS, {"live": "0"}, "users_usersession"),
        (LIST, {"waiting": "verification-7"}, "users_user"),
        (LIST, {"waiting": "first-here"}, "users_user"),
        (LIST, {"waiting": "deletion"}, "users_user"),
        (LIST, {"look": "no-factor"}, "users_user"),
        (LIST, {"look": "paused"}, "users_user"),
    ],
)
def test_a_page_is_answered_by_an_index(staff_client, superuser, user, monkeypatch, address, query, table):
    from django.test.utils import CaptureQueriesContext

    from users.models import User

    for module in ("users.admin.audit", "users.admin.sessions"):
        monkeypatch.setattr(f"{module}.WINDOW", 100)
    now = timezone.now()
    people = [User(email=f"n{n}@example.org", email_verified_at=now, password="x") for n in range(4000)]
    User.objects.bulk_create(people)
    AuditEvent.objects.bulk_create([audit.event("login.ok", actor=Actor("api"), user=one) for one in people])
    UserSession.objects.bulk_create(
        UserSession(user=one, kind="api", created_at=now - timedelta(seconds=n), expires_at=now + timedelta(days=1))
        for n, one in enumerate(people)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    staff_client.get(address, query)
    with CaptureQueriesContext(connection) as captured:
        assert staff_client.get(address, query).status_code == 200

    asked = [q["sql"] for q in captured.captured_queries if f'FROM "{table}"' in q["sql"]]
    assert asked
    with connection.cursor() as cursor:
        for sql in asked:
            cursor.execute(f"EXPLAIN {sql.replace('%', '%%')}", ())
            plan = "\n".join(row[0] for row in cursor.fetchall())
            # A capped count may read on until it has its 1,001 rows; nothing is read to the end and sorted.
            assert f"Seq Scan on {table}" not in plan or ("Limit" in plan and "Sort" not in plan and not query), plan


@pytest.mark.parametrize(
    "at", ["0001-01-01", "9999-12-31T23:59", "9999-12-31T23:59:59.999999-12:00", "0001-01-01T00:00:00+14:00"]
)
def test_years_that_nothing_is_from_are_no_time(staff_client, at):
    for name in ("since", "until"):
        page = staff_client.get("/admin/users/auditevent/", {name: at})
        assert page.status_code == 200
        assert "This is no time" in page.content.decode()
        assert staff_client.post(f"/admin/users/auditevent/csv/?{name}={at}").status_code in {200, 302}
        assert staff_client.get("/admin/activity/", {name: at[:10]}).status_code == 200
