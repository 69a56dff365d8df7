"""Reports in lists, out of order, about what never left, and mangled: each counts once, and none harms another."""

import json
import random
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from lib.actors import Actor
from notifications import metrics
from notifications.models import DeliveryEvent, Message, Suppression
from notifications.services import preferences, recipients, staff_actions
from notifications.tests import offers
from notifications.tests.callers import (
    PROVIDERS,
    RECIPIENT,
    Brevo,
    MailerSend,
    Postmark,
    Resend,
    SendGrid,
    Ses,
    report_of,
)
from notifications.tests.factories import MessageFactory

COMMAND = Actor.command("tests")

pytestmark = pytest.mark.django_db

DEAD = {
    "mailersend": "hard_bounced",
    "postmark": "HardBounce",
    "mailgun": "permanent bounce",
    "ses": "Bounce Permanent General",
    "sendgrid": "bounce bounce",
    "resend": "email.bounced Permanent General",
    "brevo": "hard_bounce",
}
NEVER_LEFT = {
    "mailersend": "suppressed",
    "postmark": "SMTPApiError",
    "mailgun": "rejected",
    "ses": "Reject",
    "sendgrid": "dropped",
    "resend": "email.failed",
    "brevo": "blocked",
}


@pytest.fixture(autouse=True)
def _offers():
    offers.declare()
    metrics.REPORTS.forget()


def sent(**fields):
    return MessageFactory.create(**{"finished": True, "to_address": RECIPIENT, **fields})


def now_of(message):
    message.refresh_from_db()
    return message.state, message.delivery_state


@pytest.mark.parametrize("caller", [SendGrid, Brevo])
def test_a_batch_is_taken_entry_by_entry(settings, caller):
    messages = [sent(to_address=f"p{n}@example.org") for n in range(3)]
    found = [caller.report("delivered", uid=str(each.uid), to=each.to_address) for each in messages]
    batch = [entry for each in found for entry in (each if isinstance(each, list) else [each])]
    odd = [None, 7, "x", [], {}, {"event": {}}, {"event": "delivered", "email": ["x"], "uid": {}}]
    for n, entry in enumerate(odd):
        batch.insert(2 * n, entry)

    answers = [caller(settings).post(batch).status_code for _ in range(2)]

    assert answers == [200, 200]
    assert [now_of(message)[1] for message in messages] == ["delivered"] * 3
    assert DeliveryEvent.objects.count() == 4
    assert metrics.REPORTS.values[(caller.name, "ignored")] == 12
    assert metrics.REPORTS.values[(caller.name, "repeated")] == 4


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "mailgun"])
def test_every_provider_may_send_a_list(settings, name):
    found = [report_of(name, DEAD[name]) for _ in range(2)]
    if name == "mailersend":
        found[1]["data"]["id"] = "ev2"
    batch = [*found[0], *found[1]] if name == "sendgrid" else found

    assert PROVIDERS[name](settings).post(batch).status_code == 200

    assert DeliveryEvent.objects.count() == 2
    assert PROVIDERS[name](settings).post([]).status_code == 200


def test_an_entry_that_fails_on_our_side_is_asked_for_again_and_keeps_none_back(settings, monkeypatch):
    messages = [sent(to_address=f"p{n}@example.org") for n in range(3)]
    batch = [SendGrid.report("bounce bounce", uid=str(each.uid), to=each.to_address)[0] for each in messages]
    caller, suppress_dead = SendGrid(settings), recipients.suppress_dead

    def fails_for_the_first(address, **rest):
        if address == "p0@example.org":
            raise RuntimeError("of ours")
        return suppress_dead(address, **rest)

    with monkeypatch.context() as patched:
        patched.setattr(recipients, "suppress_dead", fails_for_the_first)
        assert caller.post(batch).status_code == 500
    assert Suppression.objects.count() == DeliveryEvent.objects.count() == 2

    assert caller.post(batch).status_code == 200
    assert Suppression.objects.count() == DeliveryEvent.objects.count() == 3


def test_a_notification_about_several_recipients_is_one_report_for_each(settings):
    people = ["ada@example.org", "grace@example.org"]
    caller, report = Ses(settings), Ses.report("Bounce Permanent General", to=people)

    for _ in range(2):
        caller.post(report)

    assert set(DeliveryEvent.objects.values_list("recipient", flat=True)) == set(people)
    assert Suppression.objects.count() == 2


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_message_that_never_left_has_failed_and_can_be_retried(settings, name):
    message = sent()

    PROVIDERS[name](settings).post(report_of(name, NEVER_LEFT[name], uid=str(message.uid)))

    assert now_of(message) == ("failed", "bounced")
    assert message.reason == "not_sent"
    staff_actions.retry(message, actor=COMMAND)
    assert now_of(message) == ("queued", "")
    assert message.provider_message_id == ""


def test_what_never_left_is_told_to_staff(settings, admin_client):
    message = sent()
    Resend(settings).post(Resend.report("email.failed", uid=str(message.uid)))

    page = admin_client.get(f"/admin/notifications/message/{message.pk}/change/").content.decode()

    assert "the provider took it and reports that it did not send it" in page
    assert "failed: sender refused" in page
    assert "reached_daily_quota" in page


@pytest.mark.parametrize("order", [("email.failed", "email.delivered"), ("email.delivered", "email.failed")])
def test_what_arrived_was_sent_whatever_else_is_said(settings, order):
    message = sent()

    for words in order:
        Resend(settings).post(Resend.report(words, uid=str(message.uid)))

    assert now_of(message)[0] == "sent"


def test_a_late_word_that_it_was_taken_does_not_undo_that_it_never_left(settings):
    message = sent()

    for words in ("email.failed", "email.sent", "email.delivery_delayed"):
        Resend(settings).post(Resend.report(words, uid=str(message.uid)))

    assert now_of(message) == ("failed", "bounced")


def test_a_report_about_an_earlier_hand_over_fails_no_later_one(settings):
    message = sent(provider_message_id="a-second-one")

    Resend(settings).post(Resend.report("email.failed", uid=str(message.uid)))

    assert now_of(message)[0] == "sent"


def test_a_report_that_overtakes_the_workers_note_is_asked_for_again(settings):
    soon = timezone.now() + timedelta(seconds=20)
    message = sent(finished=False, interrupted=True, due_at=soon)
    other = sent(to_address="grace@example.org")
    batch = [SendGrid.report("dropped", uid=str(each.uid), to=each.to_address)[0] for each in (message, other)]

    assert SendGrid(settings).post(batch).status_code == 503
    Message.objects.filter(pk=message.pk).update(state="sent", due_at=None, lease_token=None, handed_at=None)

    assert (now_of(message)[0], now_of(other)[0]) == ("sent", "failed")
    assert SendGrid(settings).post(batch).status_code == 200
    assert now_of(message)[0] == "failed"


@pytest.mark.parametrize("state", ["queued", "sending", "cancelled", "suppressed", "expired"])
def test_only_what_was_sent_can_turn_out_not_to_be(settings, state):
    open_ = {"finished": False, "lease_token": "0" * 32}
    message = sent(**({"finished": True} if state not in {"queued", "sending"} else open_), state=state)

    Resend(settings).post(Resend.report("email.failed", uid=str(message.uid)))

    assert now_of(message)[0] == state


@pytest.mark.parametrize("type", ["hard_bounced", "delivered", "spam_complaint", "deferred"])
def test_mailersends_second_version_is_read(settings, type):
    message = sent()

    MailerSend(settings).post(MailerSend.second_version(type, uid=str(message.uid)))

    event = DeliveryEvent.objects.get()
    assert (event.message, event.recipient) == (message, RECIPIENT)
    message.refresh_from_db()
    assert message.provider_message_id == "6892766ae78995a317577aa1"


def test_a_mail_that_was_forwarded_kills_the_mailbox_it_came_to_and_no_other(settings):
    message = sent()

    Postmark(settings).post(Postmark.refusal("HardBounce", uid=str(message.uid), to="elsewhere@example.net"))

    assert list(Suppression.objects.values_list("address", flat=True)) == ["elsewhere@example.net"]
    assert now_of(message)[1] == "bounced"


def test_of_several_recipients_none_is_taken_for_the_one_that_bounced(settings):
    report = Resend.report("email.bounced Permanent General")
    report["data"]["to"].append("grace@example.org")

    assert Resend(settings).post(report).status_code == 200
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("order", [("unsubscribed", "spam"), ("spam", "unsubscribed")])
def test_who_complains_and_unsubscribes_comes_back_by_neither(settings, order):
    message = sent(type="tests.offer", category="announcement")

    for words in order:
        Brevo(settings).post(Brevo.report(words, uid=str(message.uid)))
    came_back = preferences.resubscribe(preferences.Link(RECIPIENT, "announcement"))

    assert not came_back
    assert Suppression.objects.get().reason == "complaint"


@pytest.mark.parametrize("type", ["not-spam", "auth-failure"])
def test_a_feedback_report_that_is_no_complaint_is_none(settings, type):
    Ses(settings).post(Ses.report(f"Complaint {type}", uid=str(sent().uid)))

    assert not DeliveryEvent.objects.exists()
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("changes", [{"SuppressSending": False}, {"Origin": "Customer"}, {"Origin": "Admin"}])
def test_what_staff_do_at_postmark_is_no_word_of_the_recipient(settings, changes):
    report = Postmark.refusal("SubscriptionChange ManualSuppression Recipient") | changes

    assert Postmark(settings).post(report).status_code == 200
    assert not Suppression.objects.exists()


def test_a_report_costs_few_queries(settings, django_assert_max_num_queries):
    messages = [sent(to_address=f"p{n}@example.org") for n in range(20)]
    batch = [SendGrid.report("delivered", uid=str(each.uid), to=each.to_address)[0] for each in messages]

    with django_assert_max_num_queries(20 * 11, connection=connection):
        SendGrid(settings).post(batch)
    # A provider that gave up waiting sends all of it again.
    with django_assert_max_num_queries(4, connection=connection):
        SendGrid(settings).post(batch)


ODD = [
    None,
    True,
    0,
    -1,
    1e400,
    10**400,
    "",
    "x",
    "\x00",
    "\ud800",
    "ü" * 300,
    [],
    {},
    [[]],
    {"a": {}},
    ["x", None, {}],
]


def mangled(value, chance):
    """The same JSON with one or a few of its parts replaced, left out, doubled or nested."""
    if chance.random() < 0.08:
        return chance.choice([*ODD, [value], {"data": value}])
    if isinstance(value, dict):
        kept = {key: mangled(each, chance) for key, each in value.items() if chance.random() > 0.04}
        return kept | ({chance.choice([*kept, "x"]): chance.choice(ODD)} if chance.random() < 0.05 else {})
    if isinstance(value, list):
        return [mangled(each, chance) for each in value for _ in range(chance.choice([1, 1, 1, 2]))]
    return value


@pytest.mark.parametrize("name", PROVIDERS)
def test_no_mangled_report_is_an_error_of_ours(settings, name):
    chance, caller = random.Random(name), PROVIDERS[name](settings)  # noqa: S311
    kinds = [DEAD[name], NEVER_LEFT[name], *(["Complaint abuse", "Subscription"] if name == "ses" else [])]
    uid = str(sent().uid)

    for n in range(40):
        report = report_of(name, kinds[n % len(kinds)], uid=uid)
        if name == "ses" and n % 3:
            event = mangled(json.loads(report["Message"]), chance)
            report = Ses.notification(json.dumps(event) if n % 2 else event)
        elif name == "mailgun":
            report["event-data"] = mangled(report["event-data"], chance)
        else:
            report = mangled(report, chance)
        assert caller.post(report).status_code in {200, 400}, report

    assert Message.objects.count() == 1
    assert DeliveryEvent.objects.exists()
    assert not DeliveryEvent.objects.exclude(at__year__range=(2000, 2100)).exists()
