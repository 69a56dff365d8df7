"""Suppressions, preferences, reports and what sends, at /api/staff: by key and by person."""

from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from lib.actors import Actor
from notifications.models import DeliveryEvent, Preference, Suppression, Worker
from notifications.services import circuit_breaker
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import key, member
from users.models import AuditEvent
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PATH = "/staff/suppressions"
BODY = {"address": "A&B@Example.org", "scope": "all", "days": 30, "reason": "Asked by phone"}


def suppressed(address, **fields):
    return Suppression.objects.create(address=address, **{"scope": "all", "reason": "bounce", **fields})


def names(answer, field="address"):
    """This field of each item."""
    assert answer.status_code == 200, answer.content
    return [item[field] for item in answer.json()["items"]]


def test_suppressions_are_found_by_the_beginning_of_their_address_and_by_scope(api):
    for address in ("ada@example.org", "adam@example.org", "bob@example.org"):
        suppressed(address)
    suppressed("ada@example.org", scope="optional")
    bearer = key("messages:read")

    assert names(api.call("GET", f"{PATH}?search=ADA%40", bearer=bearer)) == ["ada@example.org", "ada@example.org"]
    assert names(api.call("GET", f"{PATH}?scope=optional", bearer=bearer)) == ["ada@example.org"]
    assert len(names(api.call("GET", f"{PATH}?reason=bounce", bearer=bearer))) == 4
    first = api.call("GET", f"{PATH}?limit=3", bearer=bearer)
    rest = api.call("GET", f"{PATH}?cursor={first.json()['next']}", bearer=bearer)
    assert names(first) + names(rest) == list(Suppression.objects.order_by("-pk").values_list("address", flat=True))
    assert rest.json()["next"] is None


def test_an_address_is_suppressed_by_key_and_that_is_on_record(api):
    bearer = key("messages:suppress")

    answer = api.call("POST", PATH, BODY, bearer=bearer)

    row = Suppression.objects.get()
    assert (answer.status_code, answer.json()["id"]) == (201, row.pk)
    assert (row.address, row.scope, row.reason, row.source) == ("a&b@example.org", "all", "staff", "Asked by phone")
    assert timedelta(days=29) < row.expires_at - timezone.now() <= timedelta(days=30)
    event = AuditEvent.objects.get(event="suppression.added")
    assert (event.door, event.data["reason"]) == ("staff", "Asked by phone")
    assert LogEntry.objects.get(object_id=row.pk).is_addition()


def test_one_that_is_suppressed_for_ever_stays_so(api):
    bearer = key("messages:suppress")
    api.call("POST", PATH, BODY | {"days": None}, bearer=bearer)

    assert api.call("POST", PATH, BODY, bearer=bearer).status_code == 200
    assert Suppression.objects.get().expires_at is None
    assert AuditEvent.objects.filter(event="suppression.added").count() == 1


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"scope": "security"}, 400), ({"days": 31}, 422), ({"reason": ""}, 422), ({"address": "nobody"}, 422)],
)
def test_what_the_admin_would_not_take_is_refused(api, wrong, status):
    answer = api.call("POST", PATH, BODY | wrong, bearer=key("messages:suppress"))

    assert answer.status_code == status
    assert not Suppression.objects.exists()


def test_people_suppress_with_a_fresh_proof_and_nobody_above_them(api):
    above = UserFactory.create(superuser=True)
    member(api, "add_suppression", proof=timedelta(hours=3))
    stale = api.call("POST", PATH, BODY)
    member(api, "add_suppression")

    done = api.call("POST", PATH, BODY)
    refused = api.call("POST", PATH, BODY | {"address": above.email})

    assert (stale.status_code, stale.json()["code"]) == (403, "reauthentication_required")
    assert done.status_code == 201
    assert (refused.status_code, refused.json()["code"]) == (403, "superusers_only")
    assert Suppression.objects.count() == 1


def test_a_suppression_is_lifted_by_its_id(api):
    row, bearer = suppressed("ada@example.org"), key("messages:suppress")

    answer = api.call("POST", f"{PATH}/{row.pk}/lift", {"reason": "A typo"}, bearer=bearer)

    assert answer.json()["changed"] is True
    assert not Suppression.objects.exists()


def test_preferences_are_found_by_user(api):
    ada, bob = UserFactory.create(), UserFactory.create()
    for user in (ada, bob):
        Preference.objects.create(user=user, category="announcement", channel="email", enabled=False)
    member(api, "view_preference")

    assert names(api.call("GET", f"/staff/preferences?search={ada.email}"), "user") == [ada.pk.hex]
    assert names(api.call("GET", f"/staff/preferences?search={bob.email}"), "user") == [bob.pk.hex]
    assert len(names(api.call("GET", "/staff/preferences"), "user")) == 2


def test_reports_are_found_by_message_and_by_recipient(api, django_assert_max_num_queries):
    message, now = MessageFactory.create(), timezone.now()
    common = {"provider": "ses", "at": now}
    DeliveryEvent.objects.create(
        event_id="1", kind="bounced", message=message, recipient="ada@example.org", detail="x", **common
    )
    DeliveryEvent.objects.create(event_id="2", kind="delivered", recipient="bob@example.org", **common)
    bearer = key("messages:read")

    (found,) = api.call("GET", f"/staff/delivery-events?search={message.uid}", bearer=bearer).json()["items"]
    with django_assert_max_num_queries(8):
        both = names(api.call("GET", "/staff/delivery-events?provider=ses", bearer=bearer), "event_id")

    assert (found["message"], found["kind"], found["detail"]) == (str(message.uid), "bounced", "x")
    assert both == ["2", "1"]
    assert names(api.call("GET", "/staff/delivery-events?search=BOB@example.org", bearer=bearer), "message") == [None]


def test_ways_out_and_workers_are_listed(api):
    actor = member(api, "view_providerstate", "view_worker")
    circuit_breaker.pause("email", actor=Actor("staff", actor), reason="Too slow")
    Worker.objects.create(host="a", pid=1, engine="worker")
    Worker.objects.create(host="b", pid=2, engine="worker", beat_at=timezone.now() - timedelta(hours=1))

    (way,) = api.call("GET", "/staff/providers").json()["items"]
    workers = api.call("GET", "/staff/workers").json()["items"]

    assert (way["alias"], way["paused"], way["reason"], way["paused_by"]) == ("email", True, "Too slow", actor.pk.hex)
    assert [(worker["host"], worker["alive"]) for worker in workers] == [("a", True), ("b", False)]


DOORS = {
    ("GET", PATH): "view_suppression",
    ("POST", PATH): "add_suppression",
    ("GET", "/staff/preferences"): "view_preference",
    ("GET", "/staff/delivery-events"): "view_deliveryevent",
    ("GET", "/staff/providers"): "view_providerstate",
    ("GET", "/staff/workers"): "view_worker",
}


def test_each_needs_its_permission_and_of_a_key_its_scope(api, subtests):
    wrong_key = key("account:read", "flags:read")
    member(api)

    for (method, path), permission in DOORS.items():
        with subtests.test(path, method=method):
            body = BODY if method == "POST" else None

            assert api.call(method, path, body).json()["permission"] == f"notifications.{permission}"
            assert api.call(method, path, body, bearer=wrong_key).status_code == 403
            assert api.call(method, path, body, bearer="x").status_code == 401
    assert not Suppression.objects.exists()
