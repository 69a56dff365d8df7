"""Anything by its name: one finder over people, flags, segments, groups, messages, templates, pages and buttons."""

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client

from feature_flags.models import FeatureFlag
from feature_flags.services import editing, segments
from feature_flags.tests.factories import COMMAND
from notifications.models import Message
from notifications.tests.factories import MessageFactory
from project import finder
from users.models import User
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
FIND = "/admin/find/"


def clerk(*permissions):
    user = UserFactory.create(staff=True, first_name="", last_name="")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def scene():
    """One of each, called alike."""
    flag = editing.create("FF_ORANGE", label="Orange button", **COMMAND)
    editing.switch(flag, on=True, **COMMAND)
    segment = segments.create_segment("Orange county", constraints=[], **COMMAND)
    group = Group.objects.create(name="Orange team")
    person = UserFactory.create(email="orange@example.org", first_name="William", last_name="of Orange")
    message = MessageFactory.create(to_address="orange@example.org")
    return {"flag": flag, "segment": segment, "group": group, "user": person, "message": message}


def found(client, text):
    answer = client.get(FIND, {"q": text, "as": "json"})
    assert answer.status_code == 200
    return {kind["label"]: kind["results"] for kind in answer.json()["kinds"]}


def urls(client, text):
    return [result["url"] for results in found(client, text).values() for result in results]


def test_each_kind_is_found_by_part_of_its_name(staff_client, scene):
    kinds = found(staff_client, "orange")

    assert {label: results[0]["url"] for label, results in kinds.items()} == {
        "People": f"/admin/users/user/{scene['user'].pk}/change/",
        "Flags": f"/admin/feature_flags/featureflag/{scene['flag'].pk}/change/",
        "Segments": f"/admin/feature_flags/segment/{scene['segment'].pk}/change/",
        "Groups": f"/admin/auth/group/{scene['group'].pk}/change/",
        "Messages": f"/admin/notifications/message/{scene['message'].pk}/change/",
    }
    assert kinds["Flags"][0]["note"] == "Orange button, on"


@pytest.mark.parametrize(
    ("text", "kind", "first"),
    [
        ("silva", "People", "silvana@example.org"),
        ("MÜLLER", "People", "mueller@example.org"),
        ("orange but", "Flags", "FF_ORANGE"),
        ("ff orange", "Flags", "FF_ORANGE"),
        ("welcome", "Mail templates", "Welcome (en)"),
        ("activ", "Pages", "Activity"),
        ("feat fl", "Pages", "Feature flags"),
        ("add seg", "Buttons", "Add segment"),
        ("pause", "Buttons", "Pause mail"),
        ("switch FF_ORANGE off", "Buttons", "Switch off: FF_ORANGE"),
        ("archive orange", "Buttons", "Archive: FF_ORANGE"),
        ("deact silvana", "Buttons", "Deactivate: silvana@example.org"),
        ("remove second factors silvana", "People", "silvana@example.org"),
    ],
)
def test_what_is_typed_finds_what_is_meant(staff_client, scene, text, kind, first):
    UserFactory.create(email="silvana@example.org")
    UserFactory.create(email="mueller@example.org", last_name="Müller")

    assert found(staff_client, text)[kind][0]["text"] == first


def test_a_button_is_offered_where_it_makes_sense_and_pressed_elsewhere(staff_client, scene):
    buttons = found(staff_client, "switch orange")["Buttons"]

    assert [button["text"] for button in buttons] == ["Switch off: FF_ORANGE"]
    assert buttons[0]["url"] == f"/admin/feature_flags/featureflag/{scene['flag'].pk}/change/"
    assert staff_client.get(buttons[0]["url"]).status_code == 200
    assert FeatureFlag.objects.get(codename="FF_ORANGE").is_active
    # Without second factors there is nothing to remove.
    assert "Buttons" not in found(staff_client, "remove second orange")


def test_a_message_is_found_by_its_ids(staff_client, scene):
    message = Message.objects.get()
    page = f"/admin/notifications/message/{message.pk}/change/"

    for text in (str(message.uid), message.uid.hex, message.message_id, "orange@", "oran", "Orange@Example.org"):
        assert page in urls(staff_client, text), text


def test_of_one_address_the_newest_messages_come_first(staff_client):
    made = [MessageFactory.create(to_address="often@example.org").pk for _ in range(finder.EACH + 2)]

    results = found(staff_client, "often@example.org")["Messages"]

    wanted = [f"/admin/notifications/message/{pk}/change/" for pk in reversed(made[2:])]
    assert [result["url"] for result in results] == wanted


@pytest.mark.parametrize(
    ("permission", "kinds"),
    [
        ("view_user", {"People"}),
        ("view_featureflag", {"Flags"}),
        ("view_segment", {"Segments"}),
        ("view_group", {"Groups"}),
        ("view_message", {"Messages"}),
        ("view_auditevent", set()),
    ],
)
def test_a_kind_is_found_by_those_who_may_see_it(scene, permission, kinds):
    assert set(found(clerk(permission), "orange")) == kinds


def test_pages_and_buttons_are_those_one_may_open_and_press(scene):
    client = clerk("view_featureflag")

    assert found(client, "switch orange") == {}
    assert "Buttons" not in found(client, "add")
    assert [result["text"] for result in found(client, "")["Pages"]] == [
        *("Overview", "Second factor", "Change password", "Feature flags")
    ]


def test_the_page_works_without_script(staff_client, scene):
    page = staff_client.get(FIND, {"q": "orange <b>"}).content.decode()

    assert "orange &lt;b&gt;" in page
    assert "Nothing here is called" in page
    assert (
        f'href="/admin/users/user/{scene["user"].pk}/change/"'
        in staff_client.get(FIND, {"q": "orange"}).content.decode()
    )


def test_what_cannot_be_a_name_gets_a_clear_answer(staff_client):
    long = staff_client.get(FIND, {"q": "x" * 101, "as": "json"}).json()
    nul = staff_client.get(FIND, {"q": "a\x00b", "as": "json"}).json()

    assert long == {"note": "Look for at most 100 characters.", "kinds": []}
    assert nul == {"note": "A name cannot hold NUL or half characters.", "kinds": []}
    assert staff_client.get(FIND, {"q": "a\x00b"}).status_code == 200


def test_strangers_find_nothing(client, user):
    assert client.get(FIND, {"q": "a"}).status_code == 302
    client.force_login(user)
    assert client.get(FIND, {"q": "a"}).status_code == 302


def test_every_page_leads_to_the_finder(staff_client):
    for path in ("/admin/", "/admin/users/user/", "/admin/activity/"):
        page = staff_client.get(path).content.decode()
        assert 'href="/admin/find/" id="finder-open"' in page
        assert "admin/finder.js" in page
    assert "finder.js" not in Client().get("/admin/login/").content.decode()


def test_what_is_looked_for_is_in_no_log(staff_client, caplog):
    with caplog.at_level("DEBUG", logger="switchboard"):
        found(staff_client, "a-secret-name")

    assert "a-secret-name" not in caplog.text + str([vars(record) for record in caplog.records])


def test_however_much_there_is_a_few_of_each_and_few_queries(staff_client, queries):
    User.objects.bulk_create(
        User(email=f"orange{number}@example.org", password="!", first_name="Orange") for number in range(30)
    )
    for number in range(12):
        editing.create(f"FF_ORANGE_{number}", **COMMAND)
        segments.create_segment(f"Orange {number}", constraints=[], **COMMAND)
        MessageFactory.create(to_address="orange@example.org")
    for text in ("orange", "deactivate orange", "archive orange", "delete orange", "orange@example.org"):
        with queries() as made:
            kinds = found(staff_client, text)
        assert made() <= 12, text
        assert all(len(results) <= finder.EACH for results in kinds.values())
