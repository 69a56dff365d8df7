"""Who changed what: one page over accounts, flags, mail and settings."""

import csv
import io
import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import strip_tags

from feature_flags.models import FlagRevision, UnknownFlag
from feature_flags.services import editing, segments
from lib.actors import Actor
from notifications.models import TemplateOverride
from project.activity import entries, sources
from users.audit_events import EVENTS
from users.models import AuditEvent, UserSession
from users.services import audit, staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PAGE, CSV = "/admin/activity/", "/admin/activity/csv/"


@pytest.fixture
def ada():
    return UserFactory.create(email="ada@example.org", staff=True, superuser=True)


@pytest.fixture
def bob():
    return UserFactory.create(email="bob@example.org", first_name="Bob", last_name="Ross")


@pytest.fixture
def scene(ada, bob):
    """One change in each area, and what is none."""
    by_ada = Actor("admin", ada)
    flag = editing.create("FF_A", actor=Actor.command("setup"))
    editing.switch(flag, on=True, actor=by_ada, reason="the launch")
    audit.record("user.deactivated", actor=by_ada, user=bob, reason="asked by telephone")
    audit.record("provider.paused", actor=by_ada, name="email", reason="unpaid")
    audit.record("group.saved", actor=by_ada, name="Support", permissions=[])
    audit.record("login.failed", actor=Actor("api"), user=bob, outcome="failed", why="wrong")
    audit.record("login.ok", actor=by_ada, user=ada)
    audit.record("message.sent", actor=Actor("api", ada), user=bob, kind="users.welcome")
    return flag


def clerk(*permissions):
    user = UserFactory.create(staff=True, first_name="", last_name="")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def lines(response):
    assert response.status_code == 200
    found = re.findall(r'<td class="activity-what">(.*?)</td>', response.content.decode(), re.DOTALL)
    return [" ".join(strip_tags(line).split()) for line in found]


#: The flag that code declares was there before each test; its name is for some readers only.
DECLARED = (
    "The code created the flag FF_ENABLE_REGISTRATION",
    "The code created the flag (not shown to you)",
)


def shown(client, **query):
    return [line for line in lines(client.get(PAGE, query)) if line not in DECLARED]


def test_a_change_of_any_app_is_a_sentence_newest_first(staff_client, scene):
    assert shown(staff_client) == [
        "Ada Lovelace sent bob@example.org the message Welcome",
        "Ada Lovelace changed the group Support",
        "Ada Lovelace paused email, because “unpaid”",
        "Ada Lovelace deactivated the account of bob@example.org, because “asked by telephone”",
        "Ada Lovelace switched FF_A on, because “the launch”",
        "The command setup created the flag FF_A",
    ]


def test_the_things_and_people_of_a_sentence_lead_to_their_pages(staff_client, scene, ada, bob):
    page = staff_client.get(PAGE).content.decode()

    for path in (
        f"/admin/users/user/{ada.pk}/change/",
        f"/admin/users/user/{bob.pk}/change/",
        f"/admin/feature_flags/featureflag/{scene.pk}/change/",
        f"/admin/feature_flags/flagrevision/{FlagRevision.objects.latest('pk').pk}/change/",
    ):
        assert f'href="{path}"' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"area": "flags"}, ["switched FF_A", "created the flag"]),
        ({"area": ["mail", "settings"]}, ["the message Welcome", "group Support", "paused email"]),
        ({"kind": "flag.switch"}, ["switched FF_A"]),
        ({"kind": ["login.failed", "group.saved"]}, ["Sign-in as bob@example.org failed: wrong password", "Support"]),
        ({"by": "all", "area": "accounts"}, ["signed in", "Sign-in as bob", "deactivated", "signed in"]),
        ({"person": "bob@example.org"}, ["the message Welcome", "Sign-in as bob", "deactivated"]),
        ({"person": "ross"}, ["the message Welcome", "Sign-in as bob", "deactivated"]),
        ({"person": "bob@example.org", "role": "did"}, ["Sign-in as bob"]),
        ({"person": "bob@example.org", "area": "mail"}, ["the message Welcome"]),
        ({"person": "ada@example.org", "role": "about"}, ["signed in"]),
        ({"person": "ada@example.org", "role": "did", "area": "flags"}, ["switched FF_A"]),
        ({"person": "no one of this name"}, []),
        ({"thing": "ff_a"}, ["switched FF_A", "created the flag"]),
        ({"thing": "Supp"}, ["group Support"]),
        ({"until": "2020-01-01"}, []),
        ({"since": "2020-01-01", "area": "flags", "kind": "flag.create"}, ["created the flag"]),
    ],
)
def test_the_list_is_narrowed_by_its_address(staff_client, scene, query, found):
    rows = shown(staff_client, **query)

    assert len(rows) == len(found), rows
    assert all(text in row for text, row in zip(found, rows, strict=True)), rows


def test_each_active_filter_is_a_chip_that_leads_to_the_list_without_it(staff_client, scene):
    page = staff_client.get(PAGE, {"area": ["flags", "mail"], "since": "2020-01-02", "kind": "flag.switch"})

    chips = {chip["text"]: chip["url"] for chip in page.context["chips"]}
    assert {str(text) for text in chips} == {"Flags", "Mail", "2 Jan 2020", "Switched"}
    assert chips["2 Jan 2020"] == "?area=flags&area=mail&kind=flag.switch"


def test_what_is_no_answer_is_said_and_narrows_nothing(staff_client, scene):
    page = staff_client.get(PAGE, {"since": "last week", "area": "weather"})

    assert "Enter a valid date." in page.content.decode()
    assert len(lines(page)) == 6 + 1
    assert staff_client.get(PAGE, {"older": "x"}).status_code == 400
    assert staff_client.get(PAGE, {"person": "a\x00b"}).status_code == 400


def test_pages_follow_one_another_without_a_gap_or_a_repeat(staff_client, ada, bob):
    flag = editing.create("FF_A", actor=Actor.command("setup"))
    for number in range(70):
        audit.record("user.deactivated", actor=Actor("admin", ada), user=bob, reason=f"reason {number}")
        editing.switch(flag, on=not number % 2, actor=Actor("admin", ada), reason=f"switch {number}")
    first = staff_client.get(PAGE)
    audit.record("user.activated", actor=Actor("admin", ada), user=bob)

    second = staff_client.get(PAGE + first.context["older_url"])
    third = staff_client.get(PAGE + second.context["older_url"])

    rows = [*lines(first), *lines(second), *lines(third)]
    assert [len(lines(page)) for page in (first, second, third)] == [50, 50, 42]
    assert len(set(rows)) == 142
    assert third.context["older_url"] == ""
    assert third.context["newest_url"]


def test_what_was_written_late_stands_in_its_place(staff_client, ada, bob):
    audit.record("user.activated", actor=Actor("admin", ada), user=bob)
    late = audit.event("user.deactivated", actor=Actor("admin", ada), user=bob)
    late.at = timezone.now() - timedelta(hours=1)
    late.save(force_insert=True)

    assert [line.split(" the ")[0] for line in shown(staff_client)] == [
        "Ada Lovelace activated",
        "Ada Lovelace deactivated",
    ]


def test_each_source_is_for_those_who_may_see_its_model(scene):
    assert clerk("view_user").get(PAGE).status_code == 403
    flags = shown(clerk("view_flagrevision"))
    accounts = shown(clerk("view_auditevent"))

    assert flags == [
        "Ada Lovelace switched (not shown to you) on, because “the launch”",
        "The command setup created the flag (not shown to you)",
    ]
    assert "Ada Lovelace deactivated the account of an account, because “asked by telephone”" in accounts
    assert not any("FF_A" in line or "bob@" in line or "Support" in line for line in accounts)


def test_a_change_of_a_segment_is_told_in_full_to_those_who_may_see_segments(scene):
    segment = segments.create_segment("Invited", constraints=[], actor=Actor.command("setup"))
    segments.edit_segment(segment, {"description": "Ours"}, actor=Actor.command("setup"))

    assert shown(clerk("view_flagrevision", "view_segment"))[0] == (
        "The command setup changed the segment Invited: description: – → Ours"
    )
    assert "Ours" not in shown(clerk("view_flagrevision", "view_featureflag"))[0]


def test_templates_are_told_of_to_those_without_the_audit_trail(ada):
    TemplateOverride.objects.create(
        type="users.welcome",
        language="de",
        part="subject",
        body="x",
        version=1,
        edited_by=ada,
        edited_by_label=ada.pk.hex,
    )

    assert shown(clerk("view_templateoverride")) == ["Ada Lovelace changed the mail template Welcome de: Subject"]
    assert shown(clerk("view_templateoverride", "view_auditevent")) == []


def test_what_only_djangos_history_knows_is_shown_too(staff_client, ada):
    about = {"user": ada, "action_flag": CHANGE, "object_id": "1", "change_message": "Looked into."}
    for model, name in ((UnknownFlag, "FF_GONE"), (UserSession, "a session")):
        kind = ContentType.objects.get_for_model(model)
        LogEntry.objects.create(content_type=kind, object_repr=name, **about)

    assert shown(staff_client) == ["Ada Lovelace changed the unknown flag FF_GONE: Looked into"]
    assert shown(clerk("view_logentry")) == []


def test_what_people_typed_stays_text(staff_client, ada, bob):
    audit.record("user.deactivated", actor=Actor("admin", ada), user=bob, reason="<b>{who}</b>")
    audit.record("group.saved", actor=Actor("admin", ada), name="{whom} <i>", permissions=[])

    page = staff_client.get(PAGE).content.decode()

    assert "because “&lt;b&gt;{who}&lt;/b&gt;”" in page
    assert "{whom} &lt;i&gt;" in page


# --- As a file --------------------------------------------------------------------------------------------------------


def read_csv(response):
    assert response.status_code == 200
    return list(csv.reader(io.StringIO(b"".join(response.streaming_content).decode("utf-8-sig"))))


def test_the_file_has_the_rows_of_the_list_and_its_making_is_on_record(staff_client, scene, superuser):
    rows = read_csv(staff_client.post(f"{CSV}?area=flags&thing=FF_A&person=ada@example.org"))

    assert rows[0][:2] == ["When", "Who"]
    assert [row[5:7] for row in rows[1:]] == [["Ada Lovelace switched FF_A on", "the launch"]]
    made = AuditEvent.objects.latest("pk")
    assert (made.event, made.actor, made.data) == ("list.exported", superuser.pk.hex, {"name": "activity"})
    assert staff_client.get(CSV).status_code == 405


@pytest.mark.parametrize("role", ["", "did", "about"])
@pytest.mark.parametrize("person", ["bob@example.org", "BOB@example.org", "no.one@example.org", "ross", "id"])
def test_who_may_not_see_accounts_cannot_ask_for_one(scene, bob, person, role):
    client = clerk("view_auditevent", "view_flagrevision")
    query = {"person": str(bob.pk) if person == "id" else person, "role": role, "by": "all"}

    page = client.get(PAGE, query)

    assert lines(page) == []
    assert page.context["people_note"] == ""


def test_who_may_not_see_accounts_asks_for_who_acted(scene):
    client = clerk("view_auditevent", "view_flagrevision")

    assert [line.split(" ", 2)[2] for line in shown(client, person="ada@example.org")] == [
        "sent an account the message (not shown to you)",
        "changed the group (not shown to you)",
        "paused (not shown to you), because “unpaid”",
        "deactivated the account of an account, because “asked by telephone”",
        "switched (not shown to you) on, because “the launch”",
    ]


@pytest.mark.parametrize("thing", ["FF_A", "Supp", "email", "FF_NONE"])
def test_no_search_finds_a_name_that_is_not_shown(scene, thing):
    assert lines(clerk("view_auditevent", "view_flagrevision").get(PAGE, {"thing": thing})) == []


def test_a_file_needs_a_fresh_proof_and_someone_who_may_see_something(scene):
    client = clerk("view_flagrevision", "export_list")
    UserSession.objects.update(auth_at=timezone.now() - timedelta(days=1))

    answer = client.post(f"{CSV}?area=flags")

    assert answer.status_code == 302
    assert "/admin/reauthenticate/" in answer.headers["Location"]
    for permission in ("view_flagrevision", "export_list"):
        assert clerk(permission).post(CSV).status_code == 403
    assert not AuditEvent.objects.filter(event="list.exported").exists()


def test_no_cell_of_the_file_is_a_formula(staff_client, ada, bob):
    audit.record("user.deactivated", actor=Actor("admin", ada), user=bob, reason="=1+1")

    rows = read_csv(staff_client.post(f"{CSV}?area=accounts"))

    assert rows[1][6] == "'=1+1"


# --- Words ------------------------------------------------------------------------------------------------------------


def test_staff_read_words_where_events_are_listed(staff_client, bob):
    audit.record("login.failed", actor=Actor("api"), user=bob, outcome="failed", why="wrong")

    for path in ("/admin/users/auditevent/", f"/admin/users/user/{bob.pk}/change/"):
        page = strip_tags(staff_client.get(path).content.decode())
        assert "Sign-in failed: wrong password" in page
        assert "login.failed" not in page


# --- The overview -----------------------------------------------------------------------------------------------------


def test_the_overview_shows_what_changed_last(staff_client, scene):
    page = staff_client.get("/admin/")

    assert "Ada Lovelace switched FF_A on, because “the launch”" in lines(page)
    assert 'href="/admin/activity/"' in page.content.decode()
    assert "latest-activity" not in clerk("view_user").get("/admin/").content.decode()


def test_head_and_sidebar_lead_there_who_may_see_something(staff_client):
    link, users = 'href="/admin/activity/"', "/admin/users/user/"

    assert staff_client.get(users).content.decode().count(link) == 2
    assert clerk("view_flagrevision", "view_user").get(users).content.decode().count(link) == 2
    assert link not in clerk("view_user").get(users).content.decode()


# --- At size ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def many(ada, bob):
    """Far more sign-ins than changes, as in a product with people in it."""
    people = [UserFactory.create(email=f"many{number}@example.org") for number in range(3)]
    AuditEvent.objects.bulk_create(
        audit.event("login.ok", actor=Actor("api"), user=people[number % 3]) for number in range(6000)
    )
    flag = editing.create("FF_MANY", actor=Actor.command("setup"))
    FlagRevision.objects.bulk_create(
        FlagRevision(flag=flag, codename="FF_MANY", action="edit", door="admin", actor=bob, diff={}, snapshot={})
        for _ in range(3000)
    )
    for _ in range(60):
        audit.record("user.updated", actor=Actor("admin", ada), user=bob, changed=["first_name"])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"by": "all"},
        {"area": "mail"},
        {"kind": "mfa.failed"},
        {"person": "ada@example.org"},
        {"person": "ada@example.org", "role": "did"},
        {"person": "lovelace", "since": "2020-01-01", "until": "2030-01-01"},
        {"thing": "FF_MANY"},
    ],
)
def test_no_page_reads_a_whole_table_or_asks_more_than_twelve_times(staff_client, many, query):
    staff_client.get(PAGE, query)
    with CaptureQueriesContext(connection) as captured:
        assert staff_client.get(PAGE, query).status_code == 200

    asked = [each["sql"] for each in captured.captured_queries if "SAVEPOINT" not in each["sql"]]
    assert len(asked) <= 12
    for table in ("users_auditevent", "feature_flags_flagrevision"):
        for sql in asked:
            if f'FROM "{table}"' in sql:
                assert is_by_index(sql, table), sql


def test_what_staff_did_is_found_by_its_index(staff_client, many):
    staff_client.get(PAGE)
    with CaptureQueriesContext(connection) as captured:
        staff_client.get(PAGE)

    asked = [each["sql"] for each in captured.captured_queries if 'FROM "users_auditevent"' in each["sql"]]
    assert [("audit_by_staff" in plan(sql)) for sql in asked] == [True]


def plan(sql):
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {'QUERY PLAN ' if connection.vendor == 'sqlite' else ''}{sql.replace('%', '%%')}", ())
        return "\n".join(str(row[-1]) for row in cursor.fetchall())


def is_by_index(sql, table):
    """Whether rows are found by an index, or read from the newest on until the page is full."""
    text = plan(sql)
    return f"Seq Scan on {table}" not in text and "USE TEMP B-TREE FOR ORDER BY" not in text or "USING INDEX" in text


def test_rows_cost_no_queries_of_their_own(staff_client, ada, bob, queries):
    staff_client.get(PAGE)
    counts = []
    for _ in range(2):
        for number in range(15):
            editing.create(f"FF_{len(counts)}_{number}", actor=Actor("admin", ada))
            staff.note(Actor("admin", ada), "suppression.added", email=UserFactory.create().email)
        with queries() as made:
            staff_client.get(PAGE)
        counts.append(made())

    assert counts[0] == counts[1] <= 12
    assert sources.PAGE == 50


def test_every_event_is_a_sentence_whatever_it_holds(ada):
    reader = entries.Reader(ada)
    for event in EVENTS:
        row = AuditEvent(pk=1, event=event, actor=ada.pk.hex, door="admin", user_id=ada.pk)

        assert entries.of_event(row, reader).html, event
        assert entries.of_event(row, reader).text, event
