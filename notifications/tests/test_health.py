import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from notifications.models import Message, ProviderState, Worker
from notifications.services import delivery, health
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db


def test_mail_that_flows_is_ok(django_assert_num_queries):
    MessageFactory.create()

    with django_assert_num_queries(2):
        assert health.check() == {"status": "ok"}


def test_mail_that_is_off_degrades(settings):
    settings.NOTIFICATIONS_ENGINE = "off"

    assert health.check()["status"] == "degraded"
    assert "EMAIL_URL" in health.check()["reason"]


def test_a_message_that_waits_too_long_degrades():
    MessageFactory.create(due_at=timezone.now() - timedelta(minutes=6))

    assert health.check()["status"] == "degraded"


def test_an_outage_is_seen_although_the_message_is_tried_again_and_again(mail_server):
    MessageFactory.create(created_at=timezone.now() - timedelta(minutes=6))

    delivery.QueueWorker().deliver_due()

    assert health.check()["status"] == "degraded"


def ago(**span):
    return timezone.now() - timedelta(**span)


def test_a_message_that_is_due_while_no_worker_lives_degrades():
    MessageFactory.create(due_at=ago(seconds=40))
    Worker.objects.create(host="a", pid=1, engine="worker", beat_at=ago(seconds=60))

    assert "sign of life" in health.check()["reason"]

    Worker.objects.create(host="b", pid=1, engine="worker")
    assert health.check() == {"status": "ok"}


def test_a_paused_provider_degrades_until_the_pause_ends():
    state = ProviderState.objects.create(alias="email", paused=True, paused_until=timezone.now() + timedelta(minutes=1))

    assert health.check()["reason"] == "The provider is paused: email."

    state.paused_until = ago(seconds=1)
    state.save()
    assert health.check() == {"status": "ok"}


def status(capsys, *arguments):
    try:
        call_command("notifications_status", *arguments)
    except CommandError as error:
        return error.returncode, capsys.readouterr().out
    return 0, capsys.readouterr().out


def test_status_is_one_json_object_that_names_every_state(capsys):
    MessageFactory.create(due_at=ago(seconds=30))
    MessageFactory.create(finished=True)
    Worker.objects.create(host="a", pid=7, engine="worker", sent=3)

    code, out = status(capsys, "--json")

    said = json.loads(out)
    assert code == 0
    assert out.count("\n") == 1
    assert said["states"] == dict.fromkeys(Message.State.values, 0) | {"queued": 1, "sent": 1}
    assert 29 < said["oldest_due_seconds"] < 60
    assert said["providers"] == []
    assert (said["workers"][0]["pid"], said["workers"][0]["sent"]) == (7, 3)


def test_status_exits_1_when_a_message_waits_too_long(capsys):
    MessageFactory.create(due_at=ago(seconds=30))

    assert status(capsys, "--max-age", "60")[0] == 0
    assert status(capsys, "--max-age", "10")[0] == 1
    assert status(capsys, "--max-age", "-1")[0] == 2


def test_status_exits_1_while_a_provider_is_paused(capsys):
    ProviderState.objects.create(alias="email", paused=True, reason="535 login refused")

    code, out = status(capsys)

    assert code == 1
    assert "email paused until staff resume: 535 login refused" in out


def test_what_is_due_tomorrow_waits_for_nothing(capsys):
    MessageFactory.create(due_at=timezone.now() + timedelta(days=1))

    assert json.loads(status(capsys, "--json")[1])["oldest_due_seconds"] == 0
