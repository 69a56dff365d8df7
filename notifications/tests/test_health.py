from datetime import timedelta

import pytest
from django.utils import timezone

from notifications import services
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db


def test_mail_that_flows_is_ok(django_assert_num_queries):
    MessageFactory.create()

    with django_assert_num_queries(2):
        assert services.health() == {"status": "ok"}


def test_mail_that_is_off_degrades(settings):
    settings.NOTIFICATIONS_ENGINE = "off"

    assert services.health()["status"] == "degraded"
    assert "EMAIL_URL" in services.health()["reason"]


def test_a_message_that_waits_too_long_degrades():
    MessageFactory.create(due_at=timezone.now() - timedelta(minutes=6))

    assert services.health()["status"] == "degraded"


def test_an_outage_is_seen_although_the_message_is_tried_again_and_again(mail_server):
    MessageFactory.create(created_at=timezone.now() - timedelta(minutes=6))

    services.Courier().deliver_due()

    assert services.health()["status"] == "degraded"
