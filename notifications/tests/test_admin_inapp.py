import re
import uuid

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from pydantic import BaseModel, ConfigDict

import notifications
from notifications import registry
from notifications.models import InAppNotification, Message, Suppression
from notifications.services import outbox
from notifications.tests.staff import IN_APP, clerk, faults, person, rows, told

pytestmark = pytest.mark.django_db
ADD = f"{IN_APP}add/"
FORM = {
    "title": "News <b>now</b> & more",
    "body": "There is <i>something</i> new.",
    "url": "https://example.org/?a=1&b=2",
    "severity": "warning",
    "people": "",
    "group": "",
    "key": str(uuid.UUID(int=7)),
}


class Announcement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    body: str
    url: str = ""
    severity: str = "info"


@pytest.fixture(autouse=True)
def _announcement():
    """As the product declares it."""
    try:
        registry.get(outbox.ANNOUNCEMENT)
    except registry.UnknownType:
        notifications.declare(
            outbox.ANNOUNCEMENT,
            label="Announcement",
            context=Announcement,
            category="announcement",
            priority=notifications.BULK,
            channels=("in_app", "email"),
        )
        yield
        registry.forget(outbox.ANNOUNCEMENT)
    else:
        yield


@pytest.fixture
def client():
    return clerk("view_inappnotification", "add_inappnotification", "add_message")


@pytest.mark.parametrize("title", ["x" * 151, "one\u2028two", "a\u202eb"])
def test_a_title_that_no_mail_can_have_is_told_before_anybody_is_counted(client, title):
    person("ada@example.org")

    response = client.post(ADD, {**FORM, "people": "ada@example.org", "title": title})

    assert "title" in response.context["form"].errors
    assert not response.context["count"]


def test_an_announcement_is_confirmed_and_goes_to_chosen_people_and_a_group(client):
    ada, bob = person("a&b@example.org"), person("bob@example.org")
    person("off@example.org", is_active=False).groups.add(group := Group.objects.create(name="Beta"))
    bob.groups.add(group)
    form = {**FORM, "people": " A&B@example.org ,\nbob@example.org\n", "group": group.pk}
    assert faults(client.get(ADD)) == []

    asked = client.post(ADD, form)
    assert "This goes to 2 people" in asked.content.decode()
    assert 'name="confirmed" value="2"' in asked.content.decode()
    assert "&lt;b&gt;now" in asked.content.decode()
    assert faults(asked) == []
    assert not Message.objects.exists()
    done = client.post(ADD, {**form, "confirmed": "2"}, follow=True)

    assert told(done) == [f"“{FORM['title']}”: queued for 2 people."]
    assert {row.user_id for row in InAppNotification.objects.all()} == {ada.pk, bob.pk}
    row = InAppNotification.objects.get(user=ada)
    assert (row.title, row.url, row.severity) == (FORM["title"], FORM["url"], "warning")
    assert {m.to_address for m in Message.objects.all()} == {"a&b@example.org", "bob@example.org"}
    entry = LogEntry.objects.get()
    assert entry.user == client.user
    assert "queued for 2 people, group Beta." in entry.change_message


def test_pressing_twice_sends_once(client):
    person("ada@example.org")
    form = {**FORM, "people": "ada@example.org", "confirmed": "1"}

    client.post(ADD, form)
    client.post(ADD, form)

    assert Message.objects.count() == InAppNotification.objects.count() == 1


def test_a_group_that_grew_meanwhile_is_confirmed_anew(client):
    group = Group.objects.create(name="Beta")
    for n in range(2):
        person(f"{n}@example.org").groups.add(group)

    response = client.post(ADD, {**FORM, "group": group.pk, "confirmed": "1"})

    assert "This goes to 2 people" in response.content.decode()
    assert not Message.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"people": ""}, "Name people, or choose a group."),
        ({"people": "a&c@example.org"}, "There is no user a&amp;c@example.org."),
        ({"people": "off@example.org"}, "None of them is active."),
        ({"people": "\x00"}, "Null characters are not allowed."),
        ({"title": ""}, "This field is required."),
        ({"title": "x" * 151}, "at most 150"),
        ({"body": "x" * 2001}, "at most 2000"),
        ({"body": "\x00"}, "Null characters are not allowed."),
        ({"url": "javascript:alert(1)"}, "Enter a valid URL."),
        ({"severity": "loud"}, "Select a valid choice"),
        ({"group": "999"}, "Select a valid choice"),
        ({"group": "x"}, "Select a valid choice"),
        ({"key": "x"}, "Enter a valid UUID"),
    ],
)
def test_what_cannot_be_announced_is_told(client, wrong, says):
    person("off@example.org", is_active=False)
    person("ada@example.org")

    response = client.post(ADD, {**FORM, "people": "ada@example.org", **wrong, "confirmed": "1"})

    assert response.status_code == 200
    assert says in response.content.decode()
    assert not Message.objects.exists()
    assert not LogEntry.objects.exists()


def test_a_thousand_at_a_time(client, monkeypatch):
    monkeypatch.setattr("notifications.admin.inapp.ANNOUNCE_LIMIT", 2)
    group = Group.objects.create(name="Beta")
    for n in range(3):
        person(f"{n}@example.org").groups.add(group)
    named = "\n".join(f"{n}@example.org" for n in range(3))

    for wrong in ({"group": group.pk}, {"people": named}):
        assert "At most 2 people at a time." in client.post(ADD, {**FORM, **wrong}).content.decode()


def test_an_announcement_respects_lists_and_choices(client):
    person("ada@example.org")
    Suppression.objects.create(address="ada@example.org", scope="announcement", reason="unsubscribe")

    client.post(ADD, {**FORM, "people": "ada@example.org", "confirmed": "1"})

    assert Message.objects.get().state == "suppressed"
    assert InAppNotification.objects.count() == 1


@pytest.mark.parametrize("lacking", ["add_inappnotification", "add_message"])
def test_whoever_may_not_announce_cannot(lacking):
    person("ada@example.org")
    permissions = {"view_inappnotification", "add_inappnotification", "add_message"} - {lacking}
    client = clerk(*permissions)

    assert ADD not in client.get(IN_APP).content.decode()
    assert client.get(ADD).status_code == 403
    assert client.post(ADD, {**FORM, "people": "ada@example.org", "confirmed": "1"}).status_code == 403
    assert not Message.objects.exists()


def test_the_list_shows_finds_and_filters(client):
    ada = person("a&b@example.org")
    common = {"type": "tests.hello", "category": "security"}
    row = InAppNotification.objects.create(user=ada, title="<b>Hi</b>", severity="error", **common)
    InAppNotification.objects.create(user=person("other@example.org"), title="x", **common)

    shown = client.get(IN_APP)

    assert faults(shown) == []
    assert "&lt;b&gt;Hi" in shown.content.decode()
    assert re.search(r'<a class="addlink"|href="[^"]*add/"', shown.content.decode())
    for query in ({"q": "A&b@"}, {"severity__exact": "error"}):
        assert rows(client.get(IN_APP, query)) == [row.pk]
    assert len(rows(client.get(IN_APP, {"type": "tests.hello"}))) == 2
    one = client.get(f"{IN_APP}{row.pk}/change/")
    assert faults(one) == []
    assert "_save" not in one.content.decode()
    assert client.post(f"{IN_APP}{row.pk}/change/", {"title": "x"}).status_code == 403
