"""Announcements at /api/staff: by key and by person, from the draft to the last mail."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.core import mail

from notifications.models import Announcement, InAppNotification, Message
from notifications.services import announcements
from notifications.tests.staff import key, member
from users.models import AuditEvent
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PATH = "/staff/announcements"
MAY = ("view_announcement", "add_inappnotification", "add_message")
DRAFT = {
    "words": {"en": {"title": "News", "body": "There is something new."}},
    "channels": ["email", "in_app"],
    "audience": "everybody",
}


@pytest.fixture
def bearer(api):
    api.bearer = key("announcements:write")
    return api.bearer


def draft(api, **changes):
    answer = api.call("POST", PATH, DRAFT | changes)
    assert answer.status_code == 201, answer.content
    return answer.json()


def change(api, row, *, tag=None, **changes):
    tag = f'"{row["version"]}"' if tag is None else tag
    return api.call("PUT", f"{PATH}/{row['id']}", DRAFT | changes, **{"if-match": tag})


def press(api, row, verb, **body):
    return api.call("POST", f"{PATH}/{row['id']}/{verb}", body or None)


def refused(answer, field="code"):
    return answer.status_code, answer.json().get(field)


def test_a_draft_is_written_counted_and_sent_by_key(api, bearer):
    UserFactory.create_batch(2)

    row = draft(api)
    assert (row["state"], row["title"], row["is_counted"], row["people"]) == ("draft", "News", True, 3)
    stale = press(api, row, "send", version=row["version"] + 1)
    sent = press(api, row, "send", version=row["version"])
    list(announcements.work())

    assert refused(stale) == (409, "announcement_changed")
    assert sent.json()["changed"] is True
    after = api.call("GET", f"{PATH}/{row['id']}").json()
    assert (after["state"], after["expected"], after["people"], after["mails"]) == ("sending", 3, 3, 3)
    assert after["delivery"] == {"queued": 3}
    assert InAppNotification.objects.count() == 3
    assert AuditEvent.objects.get(event="announcement.sent").door == "staff"
    assert LogEntry.objects.filter(change_message="Draft saved.").get().is_addition()
    assert press(api, row, "pause").json()["changed"] is True
    assert press(api, row, "cancel").json()["changed"] is True


def test_people_send_with_a_fresh_proof(api):
    member(api, *MAY, proof=timedelta(hours=3))
    row = draft(api)

    assert refused(press(api, row, "send", version=row["version"])) == (403, "reauthentication_required")
    assert Announcement.objects.get().state == "draft"


def test_a_draft_is_changed_as_it_was_read(api, bearer):
    row = draft(api)

    done = change(api, row, channels=["email"], severity="warning", url="https://example.org/")
    lost = change(api, row, channels=["in_app"])
    bare = api.call("PUT", f"{PATH}/{row['id']}", DRAFT)

    assert done.status_code == 200, done.content
    after = done.json()
    assert (after["channels"], after["severity"], after["url"]) == (["email"], "warning", "https://example.org/")
    assert done["ETag"] == f'"{after["version"]}"'
    assert refused(lost) == (412, "announcement_changed")
    assert refused(bare) == (428, "if_match_missing")
    assert change(api, row, tag="*", channels=["in_app"]).json()["channels"] == ["in_app"]


def test_what_was_sent_is_not_written_anew(api, bearer):
    row = draft(api)
    press(api, row, "send", version=row["version"])

    assert refused(change(api, row, tag="*")) == (409, "announcement_state")


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"words": {}}, 422),
        ({"words": {"en": {"title": "", "body": "x"}}}, 422),
        ({"words": {"fr": {"title": "x", "body": "x"}}}, 400),
        ({"words": {"en": {"title": "x\ny", "body": "x"}}}, 400),
        ({"channels": []}, 422),
        ({"channels": ["fax"]}, 422),
        ({"audience": "nobody"}, 400),
        ({"audience": "group", "choice": "999999"}, 400),
        ({"url": "javascript:alert(1)"}, 400),
        ({"audience": "people"}, 400),
        ({"audience": "people", "people": ["nobody@example.org"]}, 400),
    ],
)
def test_what_the_form_would_not_take_is_refused_with_a_reason(api, bearer, wrong, status):
    answer = api.call("POST", PATH, DRAFT | wrong)

    assert answer.status_code == status, answer.content
    assert status == 422 or answer.json()["detail"]["reason"]
    assert not Announcement.objects.exists()


def test_people_named_stay_until_others_are_and_are_shown_to_those_who_may_see_people(api):
    one, other = UserFactory.create(), UserFactory.create()
    member(api, *MAY, "view_user")
    row = draft(api, audience="people", people=[one.email])
    assert row["named"] == [one.email]

    kept = change(api, row, audience="people").json()
    changed = change(api, kept, audience="people", people=[other.email]).json()
    member(api, *MAY)
    shown = api.call("GET", f"{PATH}/{row['id']}").json()

    assert kept["named"] == [one.email]
    assert changed["named"] == [other.email]
    assert (shown["named"], shown["people"]) == (None, 1)


def test_an_audience_is_for_those_who_may_see_it(api):
    group = Group.objects.create(name="Pilots")
    group.user_set.add(UserFactory.create())
    member(api, *MAY, "view_group")
    given = {"audience": "group", "choice": str(group.pk)}
    row = draft(api, **given)
    offered = {item["name"]: item["choices"] for item in api.call("GET", f"{PATH}/audiences").json()["items"]}
    member(api, *MAY)

    hidden = api.call("GET", f"{PATH}/{row['id']}").json()
    listed = api.call("GET", PATH).json()["items"][0]

    assert (row["choice"], row["audience_label"], row["people"]) == (str(group.pk), "Group Pilots", 1)
    assert {"value": str(group.pk), "label": "Pilots"} in offered["group"]
    assert "group" not in {item["name"] for item in api.call("GET", f"{PATH}/audiences").json()["items"]}
    for shown in (hidden, listed):
        assert (shown["choice"], shown["audience_label"]) == (None, "Group")
    assert api.call("POST", PATH, DRAFT | given).status_code == 400
    assert change(api, hidden).status_code == 403
    assert press(api, hidden, "send", version=row["version"]).status_code == 403


def test_reasons_that_tell_of_people_are_one_sum_for_those_who_may_not_see_them(api):
    UserFactory.create(inactive=True)
    UserFactory.create(unverified=True)
    member(api, *MAY)
    row = draft(api)
    member(api, *MAY, "view_user")

    assert row["left_out"] == {"hidden": 2}
    assert api.call("GET", f"{PATH}/{row['id']}").json()["left_out"] == {"unverified": 1, "inactive": 1}


def test_the_list_is_the_newest_first_by_state(api, bearer):
    rows = [draft(api)["id"] for _ in range(3)]
    press(api, {"id": rows[0]}, "delete")

    first = api.call("GET", f"{PATH}?limit=1&state=draft").json()
    rest = api.call("GET", f"{PATH}?limit=1&state=draft&cursor={first['next']}").json()

    assert [item["id"] for item in first["items"] + rest["items"]] == [rows[2], rows[1]]
    assert rest["next"] is None
    assert api.call("GET", f"{PATH}?state=done").json()["items"] == []


def test_a_test_goes_to_oneself(api):
    user = member(api, *MAY)
    row = draft(api)

    assert press(api, row, "test", language="en").status_code == 202
    assert press(api, row, "test", language="de").status_code == 404

    assert [message.to_address for message in Message.objects.all()] == [user.email]
    assert mail.outbox == []


DOORS = {
    ("GET", PATH): "view_announcement",
    ("GET", f"{PATH}/1"): "view_announcement",
    ("GET", f"{PATH}/audiences"): "add_inappnotification",
    ("POST", PATH): "add_inappnotification",
    ("PUT", f"{PATH}/1"): "add_inappnotification",
    ("POST", f"{PATH}/1/test"): "add_inappnotification",
}


def test_each_needs_its_permission_and_of_a_key_its_scope(api, subtests):
    wrong = key("messages:read", "messages:send")
    member(api, "add_message")

    for (method, path), permission in DOORS.items():
        with subtests.test(path, method=method):
            body = {"language": "en"} if path.endswith("test") else DRAFT if method != "GET" else None

            for bearer in (None, wrong):
                answer = api.call(method, path, body, bearer=bearer)
                assert refused(answer, "permission") == (403, f"notifications.{permission}")
            assert api.call(method, path, body, bearer="x").status_code == 401


def test_writing_takes_both_permissions(api):
    member(api, "view_announcement", "add_inappnotification")

    for method, path in ((method, path) for method, path in DOORS if method != "GET"):
        body = {"language": "en"} if path.endswith("test") else DRAFT

        assert refused(api.call(method, path, body), "permission") == (403, "notifications.add_message")
    assert not Announcement.objects.exists()
