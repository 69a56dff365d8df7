from itertools import product

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from notifications.models import DeliveryEvent, Preference, Suppression
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import EVENTS, PREFERENCES, SUPPRESSIONS, clerk, faults, page, person, rows, told

pytestmark = pytest.mark.django_db
ADD = f"{SUPPRESSIONS}add/"
FORM = {"address": "A&B@Example.org", "scope": "all", "days": "", "reason": "Asked by phone"}


def suppressed(address="a&b@example.org", **fields):
    return Suppression.objects.create(address=address, **{"scope": "all", "reason": "bounce", **fields})


def test_staff_put_an_address_on_the_list():
    client = clerk("view_suppression", "add_suppression")
    assert faults(client.get(ADD)) == []

    response = client.post(ADD, FORM, follow=True)

    assert told(response) == ["“a&b@example.org”: suppressed."]
    row = Suppression.objects.get()
    assert (row.address, row.scope, row.reason, row.source, row.expires_at) == (
        "a&b@example.org",
        "all",
        "staff",
        "Asked by phone",
        None,
    )
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.user) == (str(row.pk), client.user)
    assert "Asked by phone" in entry.change_message
    assert "on the list already" in told(client.post(ADD, FORM, follow=True))[0]
    assert Suppression.objects.count() == 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"address": "nobody"}, "Enter a valid email address."),
        ({"address": ""}, "This field is required."),
        ({"address": "a\x00@example.org"}, "Null characters are not allowed."),
        ({"address": "a" * 300 + "@example.org"}, "at most 254"),
        ({"scope": "security"}, "Select a valid choice"),
        ({"days": "31"}, "Select a valid choice"),
        ({"reason": ""}, "Say why."),
        ({"reason": "x" * 201}, "at most 200"),
    ],
)
def test_what_cannot_be_put_on_the_list_is_told_at_the_field(staff_client, wrong, says):
    response = staff_client.post(ADD, {**FORM, **wrong})

    assert response.status_code == 200
    assert says in response.content.decode()
    assert not Suppression.objects.exists()


def test_an_address_is_lifted_with_a_reason():
    row = suppressed()
    client = clerk("view_suppression", "delete_suppression")
    lift = f"{SUPPRESSIONS}{row.pk}/lift/"
    assert f'formaction="{row.pk}/lift/"' in client.get(SUPPRESSIONS).content.decode()

    assert "Say why." in client.post(lift, {"reason": ""}).content.decode()
    response = client.post(lift, {"reason": "A typo of ours"}, follow=True)

    assert told(response) == ["“a&b@example.org: all”: lifted."]
    assert not Suppression.objects.exists()
    assert "A typo of ours" in LogEntry.objects.get().change_message


def test_whoever_may_only_look_changes_no_list():
    row = suppressed()
    client = clerk("view_suppression")

    assert "/lift/" not in client.get(SUPPRESSIONS).content.decode()
    assert client.post(f"{SUPPRESSIONS}{row.pk}/lift/", {"reason": "x"}).status_code == 403
    assert client.get(ADD).status_code == client.post(ADD, FORM).status_code == 403
    assert client.post(f"{SUPPRESSIONS}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"{SUPPRESSIONS}{row.pk}/change/", {"address": "x"}).status_code == 403
    assert Suppression.objects.get().address == "a&b@example.org"


def test_the_list_of_suppressions_shows_finds_and_filters(staff_client):
    row = suppressed(source="<i>5.1.1</i>")
    suppressed("other@example.org", scope="optional", reason="complaint", expires_at=timezone.now())

    shown = staff_client.get(SUPPRESSIONS)
    assert faults(shown) == []
    assert "&lt;i&gt;5.1.1" in shown.content.decode()
    assert '<span class="chip chip-waiting">over</span>' in shown.content.decode()
    for query in ({"q": "a&B@"}, {"q": "a&b@example.org"}, {"scope": "all"}, {"reason__exact": "bounce"}):
        assert rows(staff_client.get(SUPPRESSIONS, query)) == [row.pk]
    assert faults(staff_client.get(f"{SUPPRESSIONS}{row.pk}/change/")) == []


def test_preferences_are_to_be_looked_at(staff_client):
    ada = person("a&b@example.org")
    chosen = Preference.objects.create(user=ada, category="announcement", channel="email", enabled=False)
    Preference.objects.create(user=person("other@example.org"), category="announcement", channel="email", enabled=True)

    shown = staff_client.get(PREFERENCES)

    assert faults(shown) == []
    assert "a&amp;b@example.org" in shown.content.decode()
    assert "Announcements" in shown.content.decode()
    assert rows(staff_client.get(PREFERENCES, {"q": "A&b@"})) == [chosen.pk]
    assert staff_client.get(f"{PREFERENCES}add/").status_code == 403
    change = f"{PREFERENCES}{chosen.pk}/change/"
    assert staff_client.get(change).status_code == 200
    assert staff_client.post(change, {"enabled": "on"}).status_code == 403


def test_delivery_events_are_to_be_looked_at(staff_client):
    message = MessageFactory.create()
    now = timezone.now()
    known = DeliveryEvent.objects.create(
        provider="smtp", event_id="1", message=message, kind="bounced", recipient="a&b@example.org", at=now
    )
    stray = DeliveryEvent.objects.create(provider="smtp", event_id="2", kind="delivered", at=now, detail="<b>")

    shown = staff_client.get(EVENTS)

    assert faults(shown) == []
    assert page(message) in shown.content.decode()
    assert "&lt;b&gt;" in shown.content.decode()
    for query in ({"q": "A&B@example.org"}, {"q": str(message.uid)}, {"kind": "bounced"}, {"message__isempty": "0"}):
        assert rows(staff_client.get(EVENTS, query)) == [known.pk], query
    assert rows(staff_client.get(EVENTS, {"message__isempty": "1"})) == [stray.pk]
    assert staff_client.get(f"{EVENTS}{stray.pk}/change/").status_code == 200
    assert staff_client.post(f"{EVENTS}{stray.pk}/delete/", {"post": "yes"}).status_code == 403


def test_odd_searches_break_nothing(staff_client):
    for address, term in product([SUPPRESSIONS, PREFERENCES, EVENTS], ["'", "%", "9" * 3000, "\x00"]):
        assert staff_client.get(address, {"q": term}).status_code == 200, (address, term)


@pytest.mark.parametrize("count", [1, 8])
@pytest.mark.parametrize(("address", "expected"), [(SUPPRESSIONS, 6), (PREFERENCES, 6), (EVENTS, 6)])
def test_lists_take_a_fixed_number_of_queries(staff_client, queries, address, expected, count):
    message = MessageFactory.create()
    for n in range(count):
        suppressed(f"{n}@example.org")
        user = person(f"{n}@example.org")
        Preference.objects.create(user=user, category="announcement", channel="email", enabled=False)
        DeliveryEvent.objects.create(
            provider="smtp", event_id=str(n), kind="sent", at=timezone.now(), message=message if n % 2 else None
        )
    staff_client.get(address)

    with queries() as made:
        staff_client.get(address)

    assert made() == expected


def test_the_page_of_a_user_shows_the_last_20_messages_and_what_was_chosen(staff_client):
    ada = person("ada@example.org")
    made = MessageFactory.create_batch(21, user=ada, to_address="a&b@example.org")
    Preference.objects.create(user=ada, category="announcement", channel="email", enabled=False)

    shown = staff_client.get(f"/admin/users/user/{ada.pk}/change/")

    text = shown.content.decode()
    assert faults(shown) == []
    assert text.count("a&amp;b@example.org") == 20
    assert page(made[20]) in text
    assert page(made[0]) not in text
    assert "<td>Announcements</td><td>email</td><td>no</td>" in text


def test_the_page_of_a_user_shows_messages_only_to_those_who_may_see_them():
    from django.contrib.auth.models import Permission

    ada = person("ada@example.org")
    MessageFactory.create(user=ada)
    client = clerk()
    client.user.user_permissions.set(Permission.objects.filter(codename="view_user"))

    shown = client.get(f"/admin/users/user/{ada.pk}/change/").content.decode()

    assert "Last messages" not in shown
    assert "Chosen for notifications" not in shown
