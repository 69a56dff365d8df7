"""What happens is told to the endpoints that want it: signed, in order, again and again, and to no one else."""

import base64
import json
import re
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from feature_flags.services import editing
from feature_flags.tests.factories import COMMAND
from lib import encryption, events
from lib.actors import Actor
from lib.errors import ProductError
from lib.events import Event
from notifications.models import Message, WebhookAttempt, WebhookDelivery, WebhookEndpoint
from notifications.services import delivery, endpoints, periodic_jobs, recipients, webhook_claims
from notifications.services.webhook_delivery import Dispatcher
from notifications.tests.factories import MessageFactory
from users.models import AuditEvent
from users.services import staff
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
OPERATOR = Actor.command("example")
DELIVERIES = WebhookDelivery.objects


@pytest.fixture
def committed(django_capture_on_commit_callbacks):
    """`with committed():` does what follows a commit, where the engine is `inline`."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def endpoint(receiver):
    """It wants all there is; `endpoint.key` is its secret."""
    return make(receiver.url)


def make(url, *names, name="CRM"):
    wanted = names or [kind.name for kind in events.declared() if kind.name != endpoints.TEST]
    made, secret = endpoints.create(name=name, url=url, events=wanted, actor=OPERATOR)
    made.key = secret
    return made


def tell(number=1, subject="user:1"):
    """So many events about one subject, without what follows their commit."""
    for n in range(number):
        data = {"endpoint": f"number {n}", "actor": ""}
        endpoints._insert([(row, Event(endpoints.TEST, subject, data)) for row in WebhookEndpoint.objects.all()])


def due_now(**which):
    """As if the wait were over."""
    past = timezone.now() - timedelta(seconds=1)
    DELIVERIES.filter(due_at__isnull=False, **which).update(due_at=past)
    WebhookEndpoint.objects.update(rest_until=None)


# --- What is told -----------------------------------------------------------------------------------------------------


def test_a_deactivation_reaches_the_endpoint_signed(receiver, endpoint, committed, user):
    with committed():
        staff.deactivate(user, actor=OPERATOR, reason="left the company")

    (event,) = receiver.events(endpoint.key)
    assert event["type"] == "user.deactivated"
    about = {"actor": "command:example", "reason": "left the company"}
    assert event["data"] == {"id": user.pk.hex, "email": user.email, **about}
    assert abs(timezone.now() - timezone.datetime.fromisoformat(event["timestamp"])) < timedelta(minutes=1)
    sent = DELIVERIES.get()
    assert (sent.state, sent.attempts, receiver.ids) == ("delivered", 1, [sent.uid.hex])
    assert WebhookAttempt.objects.get().status == 200


def test_what_is_rolled_back_is_told_to_no_one(endpoint, user):
    with transaction.atomic():
        staff.deactivate(user, actor=OPERATOR, reason="left")
        assert DELIVERIES.exists()
        transaction.set_rollback(True)

    assert not DELIVERIES.exists()


def test_an_endpoint_gets_the_events_it_wants_alone(receiver, committed, user):
    wanted = make(receiver.url, "flag.switched")
    flag = editing.create("FF_A", **COMMAND)

    with committed():
        # At once, as an import of flags has them.
        editing.edit(flag, {"is_active": True, "label": "A"}, **COMMAND)
        staff.deactivate(user, actor=OPERATOR, reason="left")

    (event,) = receiver.events(wanted.key)
    assert event["type"] == "flag.switched"
    assert event["data"] == {"codename": "FF_A", "from": False, "to": True, "actor": "command:test", "reason": ""}


def test_one_query_is_all_it_costs_where_no_one_listens(queries, user):
    with queries() as made:
        events.publish("user.activated", subject="user:1", id="", email="", actor="", reason="")

    assert made() == 1


def test_an_undeclared_event_is_refused(db):
    with pytest.raises(ValueError, match="not to be published"):
        events.publish("user.sneezed", subject="user:1")
    with pytest.raises(ValueError, match="password"):
        events.publish("user.activated", subject="user:1", password="x")


def live_events(api):
    """One of each event, by the verbs that cause it."""
    register = {"email": "new@example.org", "password": "Correct-Horse-7", "first_name": "N", "last_name": "N"}
    assert api.call("POST", "/register", register).status_code == 201
    assert api.call("POST", "/register", register).status_code == 201
    person = staff.create(email="grace@example.org", actor=OPERATOR)
    staff.mark_verified(person, actor=OPERATOR, reason="known")
    staff.edit(person, first_name="Grace", actor=OPERATOR)
    staff.deactivate(person, actor=OPERATOR, reason="left")
    staff.activate(person, actor=OPERATOR)
    flag = editing.create("FF_A", **COMMAND)
    editing.edit(flag, {"rollout_percent": 10}, **COMMAND)
    editing.rename(flag, "FF_B", **COMMAND)
    editing.switch(flag, on=True, **COMMAND)
    editing.archive(flag, **COMMAND)
    editing.unarchive(flag, **COMMAND)
    editing.delete(flag, **COMMAND)
    recipients.suppress("gone@example.org", scope="all", reason="bounce", source="x")
    MessageFactory.create(max_attempts=0)
    delivery.QueueWorker().deliver_due()


def test_each_event_carries_what_its_example_shows(api, endpoint):
    live_events(api)

    told = Counter(DELIVERIES.order_by("pk").values_list("event", flat=True))
    assert told == {
        **dict.fromkeys(("user.registered", "user.created", "user.verified", "user.updated", "user.activated"), 1),
        **dict.fromkeys(("user.deactivated", "flag.created", "flag.switched", "flag.archived", "flag.unarchived"), 1),
        **dict.fromkeys(("flag.deleted", "address.suppressed", "message.failed"), 1),
        "flag.changed": 2,
    }
    renamed = json.loads(DELIVERIES.filter(event="flag.changed").last().body)["data"]
    assert (renamed["codename"], renamed["renamed_from"], renamed["changed"]) == ("FF_B", "FF_A", ["codename"])
    assert Message.objects.filter(state="failed").count() == 1


def test_the_document_shows_every_event_with_its_example():
    text = (Path(django_settings.BASE_DIR) / "docs" / "webhooks.md").read_text()
    shown = dict(re.findall(r"^\| `([\w.]+)` \| .+? \| `(.+)` \|$", text, re.MULTILINE))

    assert {name: json.loads(data) for name, data in shown.items()} == {
        kind.name: kind.example for kind in events.declared()
    }


# --- Secrets ----------------------------------------------------------------------------------------------------------


def test_both_secrets_sign_for_a_day_after_a_rotation(receiver, endpoint, committed):
    fresh = endpoints.rotate_secret(endpoint, actor=OPERATOR)

    with committed():
        tell()
    WebhookEndpoint.objects.update(old_secret_until=timezone.now())
    with committed():
        tell()

    (_, first, body), (_, second, after) = receiver.requests
    assert Webhook(endpoint.key).verify(body, first) == Webhook(fresh).verify(body, first)
    assert Webhook(fresh).verify(after, second)
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.key).verify(after, second)


def test_secrets_are_stored_encrypted_and_follow_the_keys(receiver, settings):
    old, new = "old-key-0123456789-abcdefghijklmnopqr", "new-key-0123456789-abcdefghijklmnopqr"
    settings.USERS_ENCRYPTION_KEYS = [old]
    made = make(receiver.url)
    second = endpoints.rotate_secret(made, actor=OPERATOR)
    assert made.key not in made.secret + made.old_secret
    assert len(base64.b64decode(made.key.removeprefix("whsec_"))) == 32

    settings.USERS_ENCRYPTION_KEYS = [new, old]
    call_command("rotate_token_keys")
    settings.USERS_ENCRYPTION_KEYS = [new]

    row = WebhookEndpoint.objects.get()
    assert (encryption.decrypt(row.secret), encryption.decrypt(row.old_secret)) == (second, made.key)


def test_keys_that_are_gone_fail_the_try_and_not_the_worker(receiver, endpoint, committed, settings):
    settings.USERS_ENCRYPTION_KEYS = ["another-key-0123456789-abcdefghijklmnop"]

    with committed():
        tell()

    assert not receiver.requests
    assert WebhookAttempt.objects.get().error == "secret"


def test_an_old_secret_is_forgotten_by_the_purge(endpoint):
    endpoints.rotate_secret(endpoint, actor=OPERATOR)
    WebhookEndpoint.objects.update(old_secret_until=timezone.now() - timedelta(seconds=1))

    list(periodic_jobs.purge())

    assert WebhookEndpoint.objects.get().old_secret == ""


# --- Tries ------------------------------------------------------------------------------------------------------------


def test_a_refused_webhook_is_tried_again_with_the_same_id(receiver, endpoint, committed):
    receiver.answers = [(500, {}, b"try later"), (204, {}, b"")]

    with committed():
        tell()
    failed = WebhookAttempt.objects.get()
    waits = DELIVERIES.get().due_at - timezone.now()
    due_now()
    Dispatcher().deliver_due()

    assert (failed.status, failed.response) == (500, "try later")
    assert timedelta(seconds=3) < waits < timedelta(seconds=7)
    assert len(set(receiver.ids)) == 1
    assert [event["type"] for event in receiver.events(endpoint.key)] == ["webhook.test"] * 2
    assert (DELIVERIES.get().state, DELIVERIES.get().attempts) == ("delivered", 2)


def test_after_three_days_it_has_failed_with_a_last_try_at_the_end(receiver, endpoint, committed):
    receiver.answers = [(400, {}, b"")]
    with committed():
        tell()

    for wait in webhook_claims.WAITS[1:]:
        DELIVERIES.update(due_at=timezone.now())
        Dispatcher().deliver_due()
        assert 0.7 * wait < DELIVERIES.get().due_at - timezone.now() < 1.2 * wait
    DELIVERIES.update(due_at=timezone.now(), expires_at=timezone.now())
    Dispatcher().deliver_due()

    assert DELIVERIES.get().state == "failed"
    assert WebhookAttempt.objects.count() == 10


def test_retry_after_is_obeyed_by_all_that_waits_for_the_endpoint(receiver, endpoint, committed):
    receiver.answers = [(429, {"Retry-After": "3600"}, b"")]

    with committed():
        tell()
    tell(subject="user:2")
    Dispatcher().deliver_due()

    assert len(receiver.requests) == 1
    endpoint.refresh_from_db()
    assert endpoint.rest_until - timezone.now() > timedelta(minutes=55)
    assert DELIVERIES.first().due_at - timezone.now() > timedelta(minutes=55)


def test_gone_pauses_at_once_and_what_waits_stays(receiver, endpoint, committed):
    receiver.answers = [(410, {}, b"")]
    with committed():
        tell()
    tell()
    Dispatcher().deliver_due()
    endpoint.refresh_from_db()

    assert (endpoint.paused_by, endpoint.paused_reason) == ("schedule:webhooks", "410 Gone")
    assert len(receiver.requests) == 1
    assert set(DELIVERIES.values_list("state", flat=True)) == {"queued"}
    noted = AuditEvent.objects.get(event="webhook.paused")
    assert (noted.door, noted.data) == ("schedule", {"name": "CRM", "why": "410 Gone"})

    receiver.answers = [(200, {}, b"")]
    with committed():
        assert endpoints.resume(endpoint, actor=OPERATOR)
    Dispatcher().deliver_due()
    assert [event["data"]["endpoint"] for event in receiver.events(endpoint.key)[1:]] == ["number 0", "number 0"]


def test_a_day_without_success_pauses(receiver, endpoint, committed):
    receiver.answers = [(500, {}, b"")]
    with committed():
        tell()
    since = timezone.now() - timedelta(hours=25)
    WebhookEndpoint.objects.update(failures=18, failing_since=since)

    due_now()
    Dispatcher().deliver_due()
    assert WebhookEndpoint.objects.get().paused_at is None
    WebhookEndpoint.objects.update(failures=19)
    due_now()
    Dispatcher().deliver_due()

    assert WebhookEndpoint.objects.get().paused_reason == "no success for 24 hours"


def test_one_success_forgives_what_failed(receiver, endpoint, committed):
    WebhookEndpoint.objects.update(failures=19, failing_since=timezone.now() - timedelta(hours=25))

    with committed():
        tell()

    endpoint.refresh_from_db()
    assert (endpoint.failures, endpoint.failing_since, endpoint.rest_until) == (0, None, None)
    assert endpoint.last_success_at


def test_an_endpoint_that_is_away_is_asked_now_and_then_whatever_waits(receiver, endpoint):
    receiver.answers = [(503, {}, b"")]
    for n in range(20):
        tell(subject=f"user:{n}")

    Dispatcher().deliver_due()

    assert 1 <= len(receiver.requests) <= 4
    assert WebhookEndpoint.objects.get().rest_until > timezone.now()


# --- Order ------------------------------------------------------------------------------------------------------------


def test_events_of_one_subject_come_in_order(receiver, endpoint):
    tell(6)

    Dispatcher().deliver_due()

    assert [body["data"]["endpoint"] for body in receiver.bodies()] == [f"number {n}" for n in range(6)]


def test_a_later_event_waits_for_an_earlier_one_that_is_soon_tried_again(receiver, endpoint):
    receiver.answers = [(400, {}, b""), (200, {}, b"")]
    tell(2)

    Dispatcher().deliver_due()
    tell(subject="user:2")
    Dispatcher().deliver_due()
    assert Counter(DELIVERIES.values_list("subject", "state")) == {
        ("user:1", "queued"): 2,
        ("user:2", "delivered"): 1,
    }
    due_now()
    Dispatcher().deliver_due()

    of_one = DELIVERIES.filter(subject="user:1").order_by("finished_at")
    assert list(of_one) == list(of_one.order_by("pk"))
    assert {row.state for row in of_one} == {"delivered"}


def test_many_of_one_subject_hide_neither_their_first_nor_others(receiver, endpoint, monkeypatch):
    monkeypatch.setattr(webhook_claims, "WINDOW", 2)
    tell(4)
    tell(subject="user:2")
    # A try of the first has failed since: it is due after the others.
    past = timezone.now() - timedelta(seconds=1)
    DELIVERIES.filter(pk=DELIVERIES.first().pk).update(due_at=past)
    DELIVERIES.exclude(pk=DELIVERIES.first().pk).update(due_at=past - timedelta(minutes=1))

    (first, other) = webhook_claims.claim("here", endpoint, 4)

    assert [first.delivery.subject, other.delivery.subject] == ["user:2", "user:1"]
    assert other.delivery == DELIVERIES.first()


def test_one_that_fails_on_is_overtaken(receiver, endpoint):
    tell(2)
    DELIVERIES.filter(pk=DELIVERIES.first().pk).update(due_at=timezone.now() + timedelta(minutes=5))

    Dispatcher().deliver_due()

    assert [row.state for row in DELIVERIES.order_by("pk")] == ["queued", "delivered"]


# --- What staff do ----------------------------------------------------------------------------------------------------


def test_resending_keeps_the_id(receiver, endpoint, committed):
    with committed():
        sent = endpoints.send_test(endpoint, actor=OPERATOR)

    with committed():
        endpoints.resend(sent, actor=OPERATOR)

    assert receiver.ids == [sent.uid.hex] * 2
    assert list(AuditEvent.objects.order_by("pk").values_list("event", flat=True)) == [
        *("webhook.added", "webhook.tested", "webhook.resent"),
    ]


def test_a_paused_endpoint_loses_nothing(receiver, endpoint, committed, user):
    assert endpoints.pause(endpoint, actor=OPERATOR, reason="they move")
    assert not endpoints.pause(endpoint, actor=OPERATOR)

    with committed():
        staff.deactivate(user, actor=OPERATOR, reason="left")
    DELIVERIES.update(expires_at=timezone.now() - timedelta(days=9))
    Dispatcher().deliver_due()
    assert not receiver.requests
    with pytest.raises(ProductError, match="resume it first"):
        endpoints.send_test(endpoint, actor=OPERATOR)
    receiver.answers = [(400, {}, b""), (200, {}, b"")]
    with committed():
        assert endpoints.resume(endpoint, actor=OPERATOR)
    Dispatcher().deliver_due()
    due_now()
    Dispatcher().deliver_due()

    assert [event["type"] for event in receiver.events(endpoint.key)] == ["user.deactivated"] * 2
    assert not endpoints.resume(endpoint, actor=OPERATOR)


def test_deleting_takes_what_waits_along(receiver, endpoint, committed):
    tell()

    with committed():
        endpoints.delete(endpoint, actor=OPERATOR)
    Dispatcher().deliver_due()

    assert not DELIVERIES.exists()
    assert not receiver.requests


def test_an_endpoint_deleted_while_it_answers_is_no_trouble(receiver, endpoint):
    tell()
    (claim,) = webhook_claims.claim("here", endpoint, 1)
    endpoints.delete(endpoint, actor=OPERATOR)

    about = {"worker": "here", "began": timezone.now(), "duration_ms": 1}
    assert webhook_claims.record(claim, webhook_claims.Answer(200), **about) is None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": " "}, "ENDPOINT_INVALID"),
        ({"events": []}, "ENDPOINT_INVALID"),
        ({"events": ["user.sneezed"]}, "ENDPOINT_INVALID"),
        ({"events": ["webhook.test"]}, "ENDPOINT_INVALID"),
        ({"url": "ftp://example.org"}, "ENDPOINT_INVALID"),
        ({"url": "https://user:pw@example.org"}, "ENDPOINT_INVALID"),
    ],
)
def test_what_is_no_endpoint_is_refused(db, change, code):
    good = {"name": "CRM", "url": "https://example.org/hooks", "events": ["flag.switched"]}

    with pytest.raises(ProductError) as refused:
        endpoints.create(**good | change, actor=OPERATOR)

    assert refused.value.code == code


def test_staff_choose_only_what_they_may_see(db):
    clerk = Actor("admin", UserFactory.create(staff=True))

    with pytest.raises(ProductError) as refused:
        endpoints.create(name="CRM", url="https://example.org", events=["user.deleted"], actor=clerk)

    assert (refused.value.code, refused.value.status) == ("ENDPOINT_FORBIDDEN", 403)


def test_the_purge_keeps_what_is_still_to_be_sent(endpoint, settings):
    tell(3)
    old = timezone.now() - timedelta(days=settings.WEBHOOKS_RETENTION_DAYS, seconds=1)
    done, waits, _ = DELIVERIES.order_by("pk")
    DELIVERIES.filter(pk=done.pk).update(state="delivered", due_at=None, created_at=old)
    DELIVERIES.filter(pk=waits.pk).update(created_at=old)

    list(periodic_jobs.purge())
    assert DELIVERIES.count() == 2
    endpoints.pause(endpoint, actor=OPERATOR)
    list(periodic_jobs.purge())

    assert DELIVERIES.count() == 1
