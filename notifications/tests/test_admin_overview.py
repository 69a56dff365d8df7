from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from notifications.models import ProviderState, Worker
from notifications.tests.factories import MessageFactory
from notifications.tests.staff import PROVIDERS, WORKERS, clerk, faults, told

pytestmark = pytest.mark.django_db
INDEX = "/admin/"
PAUSE, RESUME = f"{PROVIDERS}email/pause/", f"{PROVIDERS}email/resume/"


def mail(client):
    return client.get(INDEX).context["mail"]


def counts(client):
    return {state["label"]: state["count"] for state in mail(client)["states"]}


def test_the_first_page_shows_how_mail_is_doing(settings):
    settings.NOTIFICATIONS_ENGINE = "worker"
    now = timezone.now()
    MessageFactory.create(due_at=now - timedelta(minutes=7))
    MessageFactory.create(due_at=now + timedelta(hours=1), priority=2)
    MessageFactory.create_batch(2, finished=True)
    MessageFactory.create(finished=True, finished_at=now - timedelta(hours=2))
    MessageFactory.create(state="failed", due_at=None, finished_at=now)
    Worker.objects.create(host="web1", pid=7, engine="worker", beat_at=now)
    Worker.objects.create(host="web2", pid=8, engine="worker", beat_at=now - timedelta(minutes=5))
    client = clerk("view_message", "view_worker")

    seen = mail(client)

    assert counts(client)["Queued"] == "2"
    assert counts(client)["Sent"] == "3"
    assert (seen["sent"], seen["failed"], seen["oldest_due"]) == ("2", "1", "7 min")
    shown = client.get(INDEX).content.decode()
    assert "web1:7" in shown
    assert "5 min ago" in shown
    assert '<span class="chip chip-off">silent</span>' in shown
    assert "errornote" not in shown
    assert faults(client.get(INDEX)) == []


def test_counts_stop_at_a_thousand(monkeypatch):
    monkeypatch.setattr("notifications.admin.overview.COUNT_LIMIT", 3)
    monkeypatch.setattr("lib.admin.lists.COUNT_LIMIT", 3)
    MessageFactory.create_batch(5)

    assert counts(clerk("view_message"))["Queued"] == "3+"


def test_nobody_else_sees_anything_of_it():
    client = clerk("view_worker")

    assert client.get(INDEX).context["mail"] is None
    assert "mail-overview" not in client.get(INDEX).content.decode()


@pytest.mark.parametrize(("url", "says"), [("", "set EMAIL_URL"), ("memorymail://", "NOTIFICATIONS_ENGINE is off")])
def test_an_engine_that_is_off_is_a_red_line(settings, url, says):
    settings.NOTIFICATIONS_ENGINE, settings.EMAIL_URL = "off", url
    shown = clerk("view_message").get(INDEX).content.decode()

    assert '<p class="errornote">' in shown
    assert says in shown


def test_the_address_of_the_mail_server_and_its_password_are_not_shown(settings):
    settings.EMAIL_URL = "smtp+tls://user:hunter2@mail.example.org:587"
    shown = clerk("view_message").get(INDEX).content.decode()

    assert "(smtp+tls)" in shown
    assert "hunter2" not in shown
    assert "mail.example.org" not in shown


@pytest.mark.parametrize("count", [0, 8])
def test_it_takes_a_fixed_number_of_queries(queries, count):
    client = clerk("view_message", "view_worker", "change_providerstate")
    MessageFactory.create_batch(count, priority=count // 8)
    for pid in range(count):
        Worker.objects.create(host="web", pid=pid, engine="worker")
    client.get(INDEX)

    with queries() as made:
        client.get(INDEX)

    assert made() == 10


# --- Pause and resume -------------------------------------------------------------------------------------------------


def test_the_way_out_is_paused_and_resumed_from_the_first_page():
    client = clerk("view_message", "change_providerstate")
    assert f'action="{PAUSE}"' in client.get(INDEX).content.decode()

    asked = client.post(PAUSE, {"_from": "overview"})
    assert 'name="_from" value="overview"' in asked.content.decode()
    assert 'href="/admin/"' in asked.content.decode()
    assert not ProviderState.objects.exists()
    done = client.post(PAUSE, {"_from": "overview", "reason": "a&b are away"}, follow=True)

    assert done.redirect_chain == [("/admin/", 302)]
    assert told(done) == ["“email”: paused until it is resumed."]
    shown = done.content.decode()
    assert "a&amp;b are away" in shown
    assert "clerk@example.org" in shown
    assert f'action="{RESUME}"' in shown
    state = ProviderState.objects.get()
    assert (state.paused, state.paused_until, state.paused_by) == (True, None, client.user.pk.hex)
    assert LogEntry.objects.get().object_id == str(state.pk)

    client.post(RESUME, {"_from": "overview", "reason": ""})
    assert not ProviderState.objects.get().paused
    assert LogEntry.objects.count() == 2


def test_pausing_needs_a_reason():
    client = clerk("view_message", "change_providerstate")

    assert "Say why." in client.post(PAUSE, {"reason": " "}).content.decode()
    assert not ProviderState.objects.exists()


def test_resuming_what_never_was_paused_does_nothing():
    client = clerk("view_message", "change_providerstate")

    assert told(client.post(RESUME, {"reason": "x"}, follow=True)) == ["“email”: not paused."]
    assert not ProviderState.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("address", [PAUSE, RESUME])
def test_whoever_may_not_sees_no_button_and_cannot_press(address):
    client = clerk("view_message", "view_providerstate")

    assert address not in client.get(INDEX).content.decode()
    assert client.post(address, {"reason": "x"}).status_code == 403
    assert client.get(address).status_code == 405
    assert not ProviderState.objects.exists()


def test_an_unknown_way_out_cannot_be_paused():
    client = clerk("view_message", "change_providerstate")

    for alias in ("pigeon", "email%00", "9" * 400):
        assert client.post(f"{PROVIDERS}{alias}/pause/", {"reason": "x"}).status_code in (302, 404)
    assert not ProviderState.objects.exists()


def test_workers_and_ways_out_are_listed_and_nothing_more(staff_client):
    worker = Worker.objects.create(host="web1", pid=7, engine="worker")
    state = ProviderState.objects.create(alias="email", paused=True, reason="<b>")

    for address in (WORKERS, f"{WORKERS}{worker.pk}/change/", PROVIDERS, f"{PROVIDERS}{state.pk}/change/"):
        response = staff_client.get(address)
        assert response.status_code == 200
        assert faults(response) == []
        assert "_save" not in response.content.decode()
    assert "web1:7" in staff_client.get(WORKERS).content.decode()
    assert "&lt;b&gt;" in staff_client.get(PROVIDERS).content.decode()
    assert staff_client.post(f"{WORKERS}{worker.pk}/delete/", {"post": "yes"}).status_code == 403
    back = staff_client.post(f"{PROVIDERS}{state.pk}/resume/", {"_from": "list", "reason": ""})
    assert back["Location"] == PROVIDERS


# --- What the connection lost -----------------------------------------------------------------------------------------

LOST = "/admin/notifications/message/retry-lost/"
FAILED = {"state": "failed", "due_at": None, "reason": "refused", "attempts": 1}


def test_what_failed_because_of_the_connection_is_queued_again_by_one_press():
    lost = [MessageFactory.create(**FAILED, finished_at=timezone.now(), last_code=code) for code in ("503", "421")]
    refused = MessageFactory.create(**FAILED, finished_at=timezone.now(), last_code="550")
    client = clerk("view_message", "retry_message")
    assert mail(client)["lost"] == "2"

    answer = client.post(LOST, follow=True)

    assert told(answer) == ["2 messages: queued again."]
    assert LogEntry.objects.count() == 2
    for message in (*lost, refused):
        message.refresh_from_db()
    assert [(message.state, message.attempts) for message in lost] == [("queued", 0)] * 2
    assert refused.state == "failed"
    assert "Retry what the connection lost" not in client.get(INDEX).content.decode()


def test_that_press_is_for_those_who_may_retry():
    MessageFactory.create(**FAILED, finished_at=timezone.now(), last_code="503")
    reader = clerk("view_message")

    assert "Retry what the connection lost" not in reader.get(INDEX).content.decode()
    assert reader.post(LOST).status_code == 403
    assert clerk("view_message", "retry_message", email="other@example.org").get(LOST).status_code == 405
