"""The bar over every list of the admin: filters, views, columns, CSV, and moments in the reader's zone."""

import csv
import io
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.test import Client
from django.utils import timezone

from feature_flags.tests.factories import COMMAND
from lib import replica
from lib.admin import changelist
from notifications.tests.factories import MessageFactory
from users.models import AuditEvent, SavedView
from users.services import saved_views, staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PEOPLE, MESSAGES, VIEWS = "/admin/users/user/", "/admin/notifications/message/", "/admin/views/"


@pytest.fixture(autouse=True)
def a_password_is_enough(settings):
    settings.USERS_STAFF_MFA = "optional"


@pytest.fixture
def chief(superuser, staff_sessions):
    return staff_sessions(superuser)


@pytest.fixture
def clerk(staff_sessions):
    """A member of staff who may see people and nothing else."""
    user = UserFactory.create(staff=True, email="clerk@example.org")
    user.user_permissions.set(Permission.objects.filter(codename="view_user"))
    return staff_sessions(user)


@pytest.fixture
def staff_sessions():
    """A client of somebody who has just proved who they are."""

    def signed_in(user):
        client = Client()
        client.force_login(user)
        client.user = user
        return client

    return signed_in


def rows(response):
    assert response.status_code == 200, response.headers
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    return list(csv.reader(io.StringIO(response.getvalue().decode("utf-8-sig"))))


# --- Filters ----------------------------------------------------------------------------------------------------------


def test_an_active_filter_stands_on_its_button_and_can_be_dropped_alone(chief):
    page = chief.get(PEOPLE, {"is_active__exact": "1", "waiting": "sign-in", "q": "ada"}).content.decode()

    assert "Active: <strong>Yes</strong>" in page
    assert "Waiting for: <strong>The first sign-in</strong>" in page
    drop = page.split('aria-label="Drop the filter waiting for"')[0].rpartition('href="')[2].partition('"')[0]
    assert (drop.count("waiting"), drop.count("is_active__exact=1"), drop.count("q=ada")) == (0, 1, 1)


# --- Views ------------------------------------------------------------------------------------------------------------


def keep(client, name, query="is_active__exact=0", **more):
    return client.post(VIEWS, {"label": "users.user", "name": name, "query": query, **more})


def test_a_view_is_kept_and_shown_to_its_owner_alone_until_it_is_shared(chief, clerk):
    answer = keep(chief, "Who left", query="p=3&is_active__exact=0&q=ada")

    assert answer.headers["Location"] == f"{PEOPLE}?is_active__exact=0&q=ada"
    assert 'href="?is_active__exact=0&amp;q=ada" aria-current="true">Who left<' in chief.get(
        answer.headers["Location"]
    ).content.decode().replace("\n", "")
    assert "Who left" not in clerk.get(PEOPLE).content.decode()

    keep(chief, "Who left", query="is_active__exact=0", is_shared="on")

    page = clerk.get(PEOPLE).content.decode()
    assert "Who left" in page
    assert "shared by root@example.org" in page
    assert SavedView.objects.count() == 1


def test_a_view_of_another_is_removed_by_superusers_alone(chief, clerk):
    keep(clerk, "Mine", is_shared="on")
    keep(chief, "Theirs", is_shared="on")
    mine, theirs = (SavedView.objects.get(name=name).pk for name in ("Mine", "Theirs"))

    assert clerk.post(f"{VIEWS}{theirs}/remove/").status_code == 403
    assert clerk.get(f"{VIEWS}{mine}/remove/").status_code == 405
    assert chief.post(f"{VIEWS}{mine}/remove/").headers["Location"] == PEOPLE
    assert list(SavedView.objects.values_list("name", flat=True)) == ["Theirs"]


def test_what_all_staff_see_is_on_record(chief, clerk):
    keep(clerk, "Mine")
    keep(clerk, "Ours", is_shared="on")
    keep(clerk, "Ours")
    keep(clerk, "Theirs", is_shared="on")
    for view in SavedView.objects.order_by("name"):
        chief.post(f"{VIEWS}{view.pk}/remove/")

    found = AuditEvent.objects.filter(event__startswith="view.").order_by("pk")
    assert [(row.event, row.data["name"], row.data["scope"], row.actor) for row in found] == [
        ("view.shared", "Ours", "users.user", clerk.user.pk.hex),
        ("view.removed", "Ours", "users.user", clerk.user.pk.hex),
        ("view.shared", "Theirs", "users.user", clerk.user.pk.hex),
        ("view.removed", "Theirs", "users.user", chief.user.pk.hex),
    ]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"label": "notifications.message", "name": "x"}, 403),  # a list the clerk may not see
        ({"label": "users.nothing", "name": "x"}, 404),
        ({"label": "no label", "name": "x"}, 404),
        ({"label": "users.user", "name": " "}, 302),
        ({"label": "users.user", "name": "x" * 61}, 302),
        ({"label": "users.user", "name": "nul\x00"}, 302),
        ({"label": "users.user", "name": "\u200b"}, 302),
        ({"label": "users.user", "name": "\u202egnp"}, 302),
        ({"label": "users.user", "name": "x", "query": "q=" + "y" * 500}, 302),
    ],
)
def test_what_is_no_view_is_not_kept(clerk, given, status):
    assert clerk.post(VIEWS, given).status_code == status
    assert not SavedView.objects.exists()


def test_nobody_keeps_views_without_end(clerk, monkeypatch):
    monkeypatch.setattr(saved_views, "LIMIT", 2)
    for name in ("a", "b", "c"):
        keep(clerk, name)

    assert sorted(SavedView.objects.values_list("name", flat=True)) == ["a", "b"]
    assert keep(clerk, "b", query="q=z").status_code == 302
    assert SavedView.objects.get(name="b").query == "q=z"


def test_a_list_has_one_name_however_it_is_spelled(clerk, monkeypatch):
    monkeypatch.setattr(saved_views, "LIMIT", 2)
    for number, label in enumerate(("users.user", "users.USER", "users.uSeR")):
        clerk.post(VIEWS, {"label": label, "name": f"view {number}"})

    assert set(SavedView.objects.values_list("label", flat=True)) == {"users.user"}
    assert SavedView.objects.count() == 2


def test_shared_views_of_others_push_out_nobody_s_own(chief, clerk):
    keep(chief, "~ my own")
    for number in range(saved_views.LIMIT):
        keep(clerk, f"! {number}", is_shared="on")
    other = UserFactory.create(staff=True)
    for number in range(saved_views.LIMIT):
        saved_views.save(other, "users.user", name=f"! {number}", query="", is_shared=True, actor=COMMAND["actor"])

    found = [each["view"].name for each in chief.get(PEOPLE).context["saved_views"]]

    assert "~ my own" in found
    assert len(found) == 1 + saved_views.OFFERED + saved_views.LIMIT - 1


# --- Columns ----------------------------------------------------------------------------------------------------------


def test_columns_are_chosen_and_remembered_for_this_list_alone(chief):
    MessageFactory.create()
    chosen = ["language", "due_at", "password"] * 50
    answer = chief.get(MESSAGES, {"columns": chosen, "state__exact": "queued"})
    assert sum(len(cookie.value) for cookie in answer.cookies.values()) < 100

    assert answer.headers["Location"] == "?state__exact=queued"
    page = chief.get(MESSAGES).content.decode()
    assert "field-language" in page
    assert "field-due_at" in page
    assert "field-recipient" in page, "the first column stays"
    assert "field-kind" not in page
    assert "field-state" in chief.get(PEOPLE).content.decode()


# --- CSV --------------------------------------------------------------------------------------------------------------


def test_a_csv_holds_what_the_list_finds_in_its_order_and_columns(chief):
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    UserFactory.create(email="b@example.org", first_name="=HYPERLINK(1)", last_name="B", created_at=at)
    UserFactory.create(email="a@example.org", first_name="Ada", last_name="Ö", created_at=at + timedelta(days=1))
    UserFactory.create(email="gone@example.org", inactive=True)

    found = rows(chief.post(f"{PEOPLE}csv/?is_active__exact=1&q=example.org"))

    assert found[0] == ["e-mail address", "name", "state", "last sign-in", "created"]
    assert [row[0] for row in found[1:]] == ["root@example.org", "a@example.org", "b@example.org"]
    assert found[2][1:] == ["Ada Ö", "active", "never", "2026-03-02T12:30:00+00:00"]
    assert found[3][1] == "'=HYPERLINK(1) B"
    event = AuditEvent.objects.get(event="list.exported")
    assert event.data == {"name": "users.user", "count": 3}


def test_a_csv_needs_its_permission_the_list_s_and_a_fresh_proof(clerk, chief, settings):
    assert clerk.post(f"{PEOPLE}csv/").status_code == 403
    assert "csv/" not in clerk.get(PEOPLE).content.decode()

    clerk.user.user_permissions.add(Permission.objects.get(codename="export_list"))

    assert rows(clerk.post(f"{PEOPLE}csv/"))
    assert clerk.post(f"{MESSAGES}csv/").status_code == 403
    assert clerk.get(f"{PEOPLE}csv/").status_code == 405
    settings.USERS_REAUTH_SECONDS = -1
    answer = clerk.post(f"{PEOPLE}csv/?q=a")
    assert answer.status_code == 302
    assert "reauthenticate" in answer.headers["Location"]
    assert AuditEvent.objects.filter(event="list.exported").count() == 1


def test_a_csv_over_its_bound_is_refused(chief, monkeypatch):
    monkeypatch.setattr(changelist, "CSV_LIMIT", 2)
    UserFactory.create_batch(2)

    answer = chief.post(f"{PEOPLE}csv/", follow=True)

    assert "narrow the list" in answer.content.decode()
    assert not AuditEvent.objects.filter(event="list.exported").exists()


def test_a_csv_of_many_rows_takes_statements_by_the_hundred(chief, queries, monkeypatch):
    UserFactory.create_batch(9)
    with queries() as few:
        assert len(rows(chief.post(f"{PEOPLE}csv/"))) == 11
    monkeypatch.setattr(changelist, "CSV_CHUNK", 5)

    with queries() as more:
        rows(chief.post(f"{PEOPLE}csv/"))

    assert more() - few() == 2


@pytest.mark.parametrize("path", ["users/auditevent", "notifications/message", "feature_flags/featureflag"])
def test_other_lists_have_theirs(chief, path):
    MessageFactory.create()
    rows(chief.post(f"{PEOPLE}csv/"))

    assert rows(chief.post(f"/admin/{path}/csv/"))


def test_a_csv_is_in_the_zone_and_the_language_of_its_reader(chief):
    UserFactory.create(email="a@example.org", created_at=datetime(2026, 3, 1, 12, 30, tzinfo=UTC))
    chief.cookies["zone"] = "Asia/Tokyo"

    found = rows(chief.post(f"{PEOPLE}csv/?q=a@example.org", headers={"accept-language": "de"}))

    assert "angelegt" in found[0] or "erstellt" in found[0], found[0]
    assert found[1][4] == "2026-03-01T21:30:00+09:00"


def test_no_csv_is_made_of_a_search_that_is_cut(chief, monkeypatch):
    from users.admin import audit, users

    monkeypatch.setattr(users, "FOUND", 2)
    monkeypatch.setattr(audit, "PEOPLE_FOUND", 2)
    for user in UserFactory.create_batch(3, first_name="Ilva"):
        staff.deactivate(user, actor=COMMAND["actor"], reason="left")

    for path in (PEOPLE, "/admin/users/auditevent/"):
        answer = chief.post(f"{path}csv/?q=ilva", follow=True)
        assert "The search finds more than it shows" in answer.content.decode(), path
    assert len(rows(chief.post(f"{PEOPLE}csv/?q=root"))) == 2


@pytest.mark.parametrize("text", ["\n=1", "＝1", "-1", "\t=1"])
def test_what_a_spreadsheet_takes_for_a_formula_stands_behind_an_apostrophe(text):
    assert changelist.csv_text(text) == f"'{text}"


def test_a_cell_stays_one_whatever_parts_them():
    (piece,) = changelist.csv_pieces(iter([["x;=1+1", 3]]))

    assert piece.decode("utf-8-sig") == '"x;=1+1",3\r\n'


# --- Weight -----------------------------------------------------------------------------------------------------------


def test_a_row_links_to_its_page_from_where_the_list_stands(chief):
    user = UserFactory.create()

    page = chief.get(PEOPLE, {"q": user.email, "is_staff__exact": "0"}).content.decode()

    filters = urlencode({"_changelist_filters": urlencode({"q": user.email, "is_staff__exact": "0"})})
    assert f'<a href="{user.pk}/change/?{filters}">{user.email}</a>' in page


def test_a_list_of_fifty_is_light(chief):
    UserFactory.create_batch(50)

    page = chief.get(PEOPLE)

    assert page.content.count(b"<tr><td") == 50
    assert len(page.content) < 60_000


# --- Moments ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "zone", "shown", "whole"),
    [
        ("2026-11-30T09:05", "", "09:05", "30 November 2026, 09:05:00 UTC"),
        ("2026-11-29T23:30", "", "yesterday 23:30", "29 November 2026, 23:30:00 UTC"),
        ("2026-11-29T23:30", "Europe/Berlin", "00:30", "30 November 2026, 00:30:00 CET"),
        ("2026-03-01T12:00", "../../etc/passwd", "1 Mar 12:00", "1 March 2026, 12:00:00 UTC"),
        ("2025-03-01T12:00", "Europe/Nowhere", "1 Mar 2025", "1 March 2025, 12:00:00 UTC"),
    ],
)
def test_a_moment_is_short_in_the_reader_s_zone_and_whole_for_who_points_at_it(
    chief, monkeypatch, at, zone, shown, whole
):
    person = UserFactory.create(created_at=datetime.fromisoformat(f"{at}+00:00"))
    monkeypatch.setattr("lib.admin.changelist.timezone.localdate", lambda: datetime(2026, 11, 30).date())
    if zone:
        chief.cookies["zone"] = zone

    page = chief.get(PEOPLE, {"q": person.email}).content.decode()

    assert f'<abbr title="{whole}">{shown}</abbr>' in page


def test_a_moment_to_come_is_short_too():
    from lib.admin.changelist import time_cell

    assert ">tomorrow " in time_cell(timezone.now() + timedelta(days=1))
    assert time_cell(None) == ""


def test_a_list_is_not_read_from_the_replica_after_a_change_of_ones_own(chief, staff_sessions, monkeypatch):
    other, asked = staff_sessions(UserFactory.create(superuser=True)), []
    for client in (chief, other):
        client.get(PEOPLE)
    monkeypatch.setitem(connections.settings, replica.ALIAS, connections.settings["default"])
    monkeypatch.setattr(replica, "read", lambda rows, request: asked.append(replica.COOKIE in request.COOKIES) or rows)

    chief.post("/admin/language/", {"language": "en"})
    for client in (chief, other):
        client.get(PEOPLE)

    assert asked == [True, False]
