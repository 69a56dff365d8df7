"""What staff see of endpoints and deliveries, and what they press."""

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from standardwebhooks.webhooks import Webhook

from lib import events
from lib.actors import Actor
from notifications.models import WebhookAttempt, WebhookDelivery, WebhookEndpoint
from notifications.services import endpoints
from notifications.services.webhook_delivery import Dispatcher
from users.models import AuditEvent
from users.services import api_keys
from users.tests.factories import UserFactory

pytestmark = pytest.mark.django_db
ENDPOINTS, DELIVERIES = "/admin/notifications/webhookendpoint/", "/admin/notifications/webhookdelivery/"
ADD = f"{ENDPOINTS}add/"
GIVEN = {"name": "CRM", "url": "https://example.org/hooks", "events": ["user.deleted", "flag.switched"], "reason": ""}
SECRET = re.compile(r'value="(whsec_[^"]+)"')


@pytest.fixture
def endpoint(receiver):
    wanted = ["user.activated", "message.failed"]
    return endpoints.create(name="CRM", url=receiver.url, events=wanted, actor=Actor.command("example"))[0]


@pytest.fixture
def pressed(staff_client, endpoint, django_capture_on_commit_callbacks):
    """`pressed("pause", reason="x")`: the page that follows."""

    def press(verb, obj=None, **values):
        base = ENDPOINTS if obj is None else DELIVERIES
        with django_capture_on_commit_callbacks(execute=True):
            page = staff_client.post(f"{base}{(obj or endpoint).pk}/{verb}/", values, follow=True)
        return page.content.decode()

    return press


def clerk(*codenames):
    user = UserFactory.create(staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


def told(email="ada@example.org"):
    about = {"id": "1", "email": email, "actor": "", "reason": ""}
    events.publish("user.activated", subject="user:1", **about)
    return WebhookDelivery.objects.last()


def test_adding_shows_the_secret_once(staff_client):
    page = staff_client.post(ADD, GIVEN).content.decode()

    (secret,) = SECRET.findall(page)
    Webhook(secret)
    made = WebhookEndpoint.objects.get()
    assert (made.name, made.url, made.events) == ("CRM", GIVEN["url"], ["flag.switched", "user.deleted"])
    assert secret not in staff_client.get(f"{ENDPOINTS}{made.pk}/change/").content.decode()
    assert AuditEvent.objects.get(event="webhook.added").data == {"name": "CRM"}


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        ("url", "https://10.0.0.1/", "WEBHOOKS_ALLOWED_NETWORKS"),
        ("url", "http://example.org/", "begins with https"),
        ("url", "https://u:p@example.org/", "no password"),
        ("events", ["webhook.test"], "webhook.test"),
        ("name", "", "required"),
    ],
)
def test_what_is_no_endpoint_is_refused_at_its_field(staff_client, field, given, words):
    page = staff_client.post(ADD, {**GIVEN, field: given})

    assert words in str(page.context["form"].errors[field])
    assert not WebhookEndpoint.objects.exists()


def test_a_test_is_sent_and_its_page_tells_of_it(pressed, staff_client, endpoint, receiver):
    assert "the test is on its way" in pressed("test")

    sent = WebhookDelivery.objects.get()
    page = staff_client.get(f"{ENDPOINTS}{endpoint.pk}/change/").content.decode()
    assert f"{DELIVERIES}{sent.pk}/change/" in page
    page = staff_client.get(f"{DELIVERIES}{sent.pk}/change/").content.decode()
    assert sent.uid.hex in page
    assert "&quot;type&quot;: &quot;webhook.test&quot;" in page
    assert "<td>200</td>" in page
    assert f"A test that staff sent ({sent.uid.hex[:8]})" in page
    assert receiver.ids == [sent.uid.hex]
    assert len(staff_client.get(f"{DELIVERIES}?q={sent.uid.hex}").context["cl"].result_list) == 1
    assert len(staff_client.get(f"{DELIVERIES}?q=nothing").context["cl"].result_list) == 0
    assert len(staff_client.get(f"{DELIVERIES}?endpoint={endpoint.pk}").context["cl"].result_list) == 1
    assert len(staff_client.get(f"{DELIVERIES}?endpoint=0&state__exact=failed").context["cl"].result_list) == 0


def test_pausing_and_resuming_say_why(pressed, endpoint):
    assert "Say why" in pressed("pause", reason="")
    assert "paused until it is resumed" in pressed("pause", reason="they move")
    endpoint.refresh_from_db()
    assert endpoint.paused_reason == "they move"

    assert "resumed" in pressed("resume", reason="")
    endpoint.refresh_from_db()
    assert endpoint.paused_at is None
    noted = AuditEvent.objects.filter(event__startswith="webhook.").order_by("pk").values_list("event", flat=True)
    assert list(noted) == ["webhook.added", "webhook.paused", "webhook.resumed"]


def test_rotating_shows_the_new_secret_once_and_logs_none(pressed, staff_client, endpoint):
    (secret,) = SECRET.findall(pressed("rotate", reason="leaked"))

    endpoint.refresh_from_db()
    assert endpoint.old_secret_until > timezone.now() + timedelta(hours=23)
    history = staff_client.get(f"{ENDPOINTS}{endpoint.pk}/history/").content.decode()
    assert "secret rotated" in history
    assert "whsec" not in history + staff_client.get(ENDPOINTS).content.decode()
    assert "whsec" not in str(list(AuditEvent.objects.values_list("data", flat=True)))
    assert secret


def test_editing_begins_with_what_there_is(pressed, endpoint):
    asked = pressed("edit")
    assert f'value="{endpoint.url}"' in asked
    assert asked.count(" checked") == 2

    values = {"name": "CRM 2", "url": endpoint.url, "events": ["user.deleted"], "reason": "less"}
    assert "changed" in pressed("edit", **values)
    endpoint.refresh_from_db()
    assert (endpoint.name, endpoint.events) == ("CRM 2", ["user.deleted"])
    assert AuditEvent.objects.get(event="webhook.changed").data["changed"] == ["events", "name"]
    assert "nothing to do" in pressed("edit", **values)


def test_deleting_leads_to_the_list(pressed, endpoint):
    told()

    assert "deleted" in pressed("remove", reason="gone")

    assert not WebhookEndpoint.objects.exists()
    assert not WebhookDelivery.objects.exists()


def test_a_deleted_endpoint_is_gone_before_its_rows(staff_client, endpoint, receiver, monkeypatch):
    monkeypatch.setattr("lib.db.SLICE", 2)
    tried = [told() for _ in range(5)][0]
    WebhookAttempt.objects.create(delivery=tried, n=1, worker="w", created_at=timezone.now(), duration_ms=1)

    # Without what follows the commit.
    staff_client.post(f"{ENDPOINTS}{endpoint.pk}/remove/", {"reason": "gone"})

    assert WebhookDelivery.objects.count() == 5
    assert endpoint.url not in staff_client.get(ENDPOINTS).content.decode()
    assert tried.uid.hex[:8] not in staff_client.get(DELIVERIES).content.decode()
    for path in (f"{ENDPOINTS}{endpoint.pk}/change/", f"{DELIVERIES}{tried.pk}/change/"):
        assert staff_client.get(path).status_code == 302
    told()
    assert Dispatcher().deliver_due() == 0
    # What a process of the release before goes by.
    endpoint.refresh_from_db()
    assert (endpoint.events, endpoint.secret, endpoint.old_secret, bool(endpoint.paused_at)) == ([], "", "", True)

    first = endpoints.work()
    next(first)
    first.close()
    assert WebhookDelivery.objects.count() == 3
    list(endpoints.work())
    assert not WebhookDelivery.objects.exists()
    # One more, of a transaction that began before.
    WebhookDelivery.objects.create(endpoint=endpoint, due_at=timezone.now(), expires_at=timezone.now())
    WebhookEndpoint.everything.update(deleted_at=timezone.now() - timedelta(hours=2))
    list(endpoints.work())
    assert not WebhookEndpoint.everything.exists()


def test_what_waited_for_a_resume_is_made_due_in_slices_and_sent_in_order(
    staff_client, endpoint, receiver, monkeypatch
):
    monkeypatch.setattr(endpoints, "SLICE", 2)
    rows = [told() for _ in range(5)]
    later = {"due_at": timezone.now() + timedelta(hours=9), "expires_at": timezone.now(), "attempts": 7}
    WebhookDelivery.objects.filter(pk__in=[rows[0].pk, rows[3].pk]).update(**later)
    endpoints.pause(endpoint, actor=Actor.command("example"))

    # Without what follows the commit.
    staff_client.post(f"{ENDPOINTS}{endpoint.pk}/resume/", {"reason": ""})

    assert set(WebhookDelivery.objects.values_list("attempts", flat=True)) == {0, 7}
    first = endpoints.work()
    next(first)
    first.close()
    assert Dispatcher().deliver_due() == 0
    assert [count for _what, count in endpoints.work()] == [1, 2]
    assert set(WebhookDelivery.objects.values_list("attempts", flat=True)) == {0}
    assert Dispatcher().deliver_due() == 5
    assert receiver.ids == [row.uid.hex for row in rows]


def test_resending_keeps_the_id(pressed, endpoint, receiver):
    receiver.answers = [(500, {}, b"not today"), (200, {}, b"")]
    pressed("test")
    sent = WebhookDelivery.objects.get()

    assert "queued again" in pressed("resend", sent)

    assert receiver.ids == [sent.uid.hex] * 2
    sent.refresh_from_db()
    assert sent.state == "delivered"


def test_what_may_not_be_seen_is_on_no_page_of_a_delivery(endpoint):
    sent = told(email="only-here@example.org")
    sees, sees_not = clerk("view_webhookdelivery", "view_user"), clerk("view_webhookdelivery", "view_message")

    assert "only-here@example.org" in sees.get(f"{DELIVERIES}{sent.pk}/change/").content.decode()
    page = sees_not.get(f"{DELIVERIES}{sent.pk}/change/")
    assert page.status_code == 200
    assert "only-here@example.org" not in page.content.decode()


def test_buttons_need_their_permission(endpoint, receiver):
    looker = clerk("view_webhookendpoint", "view_webhookdelivery")

    for verb in ("test", "edit", "pause", "resume", "rotate", "remove"):
        assert looker.post(f"{ENDPOINTS}{endpoint.pk}/{verb}/", {"reason": "x"}).status_code == 403
    assert looker.get(ADD).status_code == 403
    assert looker.post(f"{DELIVERIES}{told().pk}/resend/").status_code == 403
    assert "verb-" not in looker.get(f"{ENDPOINTS}{endpoint.pk}/change/").content.decode().split("<main")[-1]
    changer = clerk("view_webhookendpoint", "change_webhookendpoint")
    values = {"name": "CRM", "url": endpoint.url, "events": ["user.deleted"], "reason": ""}
    page = changer.post(f"{ENDPOINTS}{endpoint.pk}/edit/", values, follow=True).content.decode()
    assert "You may not see what an event" in page
    endpoint.refresh_from_db()
    assert endpoint.events == ["message.failed", "user.activated"]


def test_the_first_page_names_what_is_paused_or_fails(staff_client, endpoint):
    words = "Webhook endpoints that are paused, or fail since an hour"
    assert words not in staff_client.get("/admin/").content.decode()

    WebhookEndpoint.objects.update(failures=3, failing_since=timezone.now() - timedelta(hours=2))
    assert words in staff_client.get("/admin/").content.decode()
    assert "failing" in staff_client.get(ENDPOINTS).content.decode()


def test_operators_list_and_resend(endpoint, receiver, capsys, django_capture_on_commit_callbacks):
    sent = told()
    WebhookDelivery.objects.update(state="failed", due_at=None, finished_at=timezone.now())

    call_command("webhooks_list")
    call_command("webhooks_resend", "--dry-run")
    call_command("webhooks_resend", "--endpoint", str(endpoint.pk + 1))
    with django_capture_on_commit_callbacks(execute=True):
        call_command("webhooks_resend", "--since", "1h")

    listed, *said = capsys.readouterr().out.splitlines()
    assert listed.startswith(f"{endpoint.pk}  open, 0 wait, 1 failed  CRM  {receiver.url}")
    assert said == ["1 delivery would be sent again.", "0 deliveries queued again.", "1 delivery queued again."]
    assert receiver.ids == [sent.uid.hex]


def test_programs_of_staff_do_the_same_by_key(api, receiver, superuser, django_capture_on_commit_callbacks):
    scopes = ["webhooks:write", "people:read", "flags:read"]
    _, key = api_keys.create(superuser, actor=Actor.command("example"), name="job", scopes=scopes)
    given = {"name": "CRM", "url": receiver.url, "events": ["user.activated"]}

    made = api.call("POST", "/staff/webhook-endpoints", given, bearer=key)
    unseen = api.call("POST", "/staff/webhook-endpoints", {**given, "events": ["message.failed"]}, bearer=key)
    path = f"/staff/webhook-endpoints/{made.json()['id']}"
    edited = api.call("POST", f"{path}/edit", {**given, "events": ["user.activated", "flag.switched"]}, bearer=key)
    rotated = api.call("POST", f"{path}/rotate", bearer=key)
    with django_capture_on_commit_callbacks(execute=True):
        tested = api.call("POST", f"{path}/test", bearer=key)

    assert (made.status_code, unseen.status_code, unseen.json()["code"]) == (201, 403, "endpoint_forbidden")
    assert edited.json() == {"changed": True, "message": "changed."}
    assert tested.status_code == 200
    assert receiver.events(made.json()["secret"]) == receiver.events(rotated.json()["secret"])
    (row,) = api.call("GET", "/staff/webhook-endpoints", bearer=key).json()["items"]
    assert row["events"] == ["flag.switched", "user.activated"]
    (sent,) = api.call("GET", f"/staff/webhook-deliveries?endpoint={row['id']}", bearer=key).json()["items"]
    assert (sent["webhook_id"], sent["state"], sent["last_code"]) == (receiver.ids[0], "delivered", "200")
    assert api.call("POST", "/staff/webhook-endpoints/999/rotate", bearer=key).status_code == 404
    noted = AuditEvent.objects.filter(event__startswith="webhook.").values_list("door", flat=True)
    assert set(noted) == {"staff"}
