"""Two at once, on connections of their own."""

import threading

import pytest
from django.db import connection

from lib.actors import Actor
from lib.errors import ProductError
from notifications.models import DeliveryEvent, Message, Preference, Refusal, Suppression
from notifications.reports import Report
from notifications.services import preferences, staff_actions, webhooks
from notifications.tests import offers
from notifications.tests.factories import MessageFactory
from users.tests.factories import UserFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db(transaction=True)
CROWD = 4


@pytest.fixture(autouse=True)
def _offers():
    offers.declare()


def at_once(*calls):
    """What each came to, a refusal's code included."""
    ready, found = threading.Barrier(len(calls)), []

    def run(call):
        ready.wait()
        try:
            found.append(call())
        except ProductError as error:
            found.append(error.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(calls)
    return found


def test_one_key_for_two_bodies_sends_one():
    member = UserFactory.create(staff=True)

    def send(to):
        return lambda: (
            staff_actions.send_once("tests.offer", to=to, context={}, actor=Actor("api", member), key="a-1")[
                0
            ].to_address
        )

    found = at_once(*(send(f"{name}@example.org") for name in ("ada", "grace", "joan", "mary")))

    assert found.count("IDEMPOTENCY_KEY_REUSED") == CROWD - 1
    assert Message.objects.count() == 1


def test_one_report_from_several_calls_is_kept_once():
    message = MessageFactory.create(finished=True, type="tests.offer", category="announcement")
    report = Report("complained", Refusal.COMPLAINED, event_id="1", uid=message.uid, recipient=message.to_address)

    found = at_once(*[lambda: webhooks.store("mailersend", report)] * CROWD)

    assert sorted(found) == [False] * (CROWD - 1) + [True]
    assert DeliveryEvent.objects.count() == Suppression.objects.count() == 1


def test_one_unsubscribes_while_another_chooses():
    user = UserFactory.create()
    link = preferences.Link(user.email, "announcement")
    choice = {("announcement", "email"): False, ("announcement", "in_app"): False}

    at_once(
        *[lambda: preferences.unsubscribe(link, source="link")] * 2,
        *[lambda: preferences.choose(user, choice)] * 2,
    )

    assert set(Preference.objects.values_list("channel", "enabled")) == {("email", False), ("in_app", False)}
    assert Suppression.objects.count() == 1


def test_several_resend_at_once_each_copy_is_its_own_and_the_limit_holds():
    message = MessageFactory.create(finished=True, event_key="tests:1")

    found = at_once(*[lambda: staff_actions.resend(message, actor=COMMAND).event_key] * CROWD)

    # With the message itself, three a minute.
    assert sorted(found) == [*["TOO_MANY_REQUESTS"] * (CROWD - 2), "tests:1#resend-1", "tests:1#resend-2"]
