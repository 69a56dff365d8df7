from datetime import timedelta

import pytest
from django.utils import timezone

from lib import email_url
from notifications.models import Attempt, DeliveryEvent, Message, Preference, Suppression
from notifications.services import recipients
from notifications.tests import offers
from notifications.tests.callers import AT, RECIPIENT, SECRET, MailerSend, Mailgun, Postmark
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _offers():
    offers.declare()


@pytest.fixture
def mailersend(settings):
    return MailerSend(settings)


@pytest.fixture
def postmark(settings):
    return Postmark(settings)


@pytest.fixture
def mailgun(settings):
    return Mailgun(settings)


def sent(**fields):
    fields = {"type": "tests.offer", "category": "announcement", "to_address": RECIPIENT, "finished": True} | fields
    return MessageFactory.create(**fields)


def in_doubt(state, **fields):
    """A message whose hand-over got no answer."""
    now = timezone.now()
    held = {
        "unknown": {"due_at": None, "finished_at": now, "handed_at": now},
        "queued": {"due_at": now + timedelta(minutes=1)},
        "sending": {"due_at": now + timedelta(minutes=1), "lease_token": "0" * 32},
    }[state]
    message = sent(finished=False, state=state, attempts=1, **held, **fields)
    Attempt.objects.create(message=message, n=1, worker="w", created_at=now, duration_ms=1, outcome="ambiguous")
    return message


def now_of(message):
    message.refresh_from_db()
    return message.state, message.delivery_state


def test_a_signed_report_is_kept_and_raises_the_state(mailersend):
    message = sent()

    answer = mailersend.post(mailersend.report("delivered", uid=str(message.uid)))

    assert (answer.status_code, answer.content) == (200, b"")
    event = DeliveryEvent.objects.get()
    assert (event.provider, event.event_id, event.kind, event.message) == ("mailersend", "ev1", "delivered", message)
    assert event.recipient == RECIPIENT
    assert event.at.isoformat() == "2026-01-31T12:00:00+00:00"
    assert now_of(message) == ("sent", "delivered")
    message.refresh_from_db()
    assert message.provider_message_id == "62fb66bef54a112e920b5493"


@pytest.mark.parametrize("headers", [{"signature": ""}, {"signature": "ü"}, {"signature": "0" * 64}])
def test_a_forged_report_changes_nothing(mailersend, headers):
    message = sent()

    answer = mailersend.post(mailersend.report("hard_bounced", uid=str(message.uid)), **headers)

    assert answer.status_code == 400
    assert now_of(message) == ("sent", "")
    assert not DeliveryEvent.objects.exists()
    assert not Suppression.objects.exists()


@pytest.mark.parametrize("value", ["", "Bearer x", "Basic !!!", "Basic", "Basic eDp5", "Basic /w=="])
def test_basic_auth_that_is_none_is_forged(postmark, value):
    assert postmark.post(postmark.report("Delivery"), authorization=value).status_code == 400
    assert not DeliveryEvent.objects.exists()


def test_a_report_signed_for_another_body_is_forged(mailgun):
    report = mailgun.report("delivered")
    report["signature"]["token"] = "tok2"

    assert mailgun.post(report).status_code == 400


def test_only_the_configured_provider_has_an_address(mailersend, settings):
    report = mailersend.report("delivered")
    paths = [mailersend.path.replace("mailersend", name) for name in ("postmark", "x", "%00", "read")]

    for path in paths:
        assert mailersend.client.post(path, report, content_type="application/json").status_code == 404, path
    assert mailersend.client.head(mailersend.path).status_code == 200
    assert mailersend.client.get(mailersend.path).status_code == 405
    settings.NOTIFICATIONS_WEBHOOK_SECRET = ""
    assert mailersend.post(report).status_code == 404
    assert mailersend.client.head(mailersend.path).status_code == 404
    settings.NOTIFICATIONS_WEBHOOK_SECRET = SECRET
    settings.MAILERS = email_url.parse("smtp://127.0.0.1")["MAILERS"]
    assert mailersend.post(report).status_code == 404


def test_a_body_over_a_megabyte_is_too_large(mailersend):
    assert mailersend.post(b"x" * (1024 * 1024 + 1)).status_code == 413


@pytest.mark.parametrize(
    "body", [b"", b"{", b"null", b"7", b'"x"', b"\xff", b"[" * 100_000, b'{"data": ' + b"[" * 100_000]
)
def test_what_is_no_json_is_told_so(mailersend, body):
    answer = mailersend.post(body)

    assert answer.status_code == 400
    assert answer.json()["code"] == "webhook_unreadable"


@pytest.mark.parametrize(
    "odd",
    [
        {"tags": "x"},
        {"tags": [1, None, {}]},
        {"recipient": {"email": ["x"]}},
        {"recipient": {"email": "nobody"}},
        {"recipient": {"email": "a\x00@example.org"}},
        {"message": {"id": {"a": 1}}},
        {"message": {"id": "\ud800\x00" + "x" * 1000}},
    ],
)
def test_odd_values_are_kept_as_far_as_they_can_be(mailersend, odd):
    report = mailersend.report("soft_bounced", reason="\x00\ud800" + "x" * 1000)
    report["data"]["email"] |= odd
    report["data"]["id"] = "y" * 1000

    assert mailersend.post(report).status_code == 200
    assert DeliveryEvent.objects.get().kind == "bounced"


def test_a_report_that_comes_twice_counts_once(mailersend):
    message = sent()
    report = mailersend.report("hard_bounced", uid=str(message.uid))

    for _ in range(3):
        assert mailersend.post(report).status_code == 200

    assert DeliveryEvent.objects.count() == 1
    assert Suppression.objects.count() == 1


def test_reports_without_an_id_are_told_apart_by_what_they_say(postmark):
    message = sent()
    report = postmark.report("Delivery", uid=str(message.uid), Recipient=RECIPIENT, DeliveredAt=AT)

    for each in (report, report, {**report, "DeliveredAt": "2026-01-31T12:00:01Z"}):
        assert postmark.post(each).status_code == 200

    assert DeliveryEvent.objects.count() == 2


@pytest.mark.parametrize("order", [("deferred", "delivered", "spam"), ("spam", "delivered", "deferred")])
def test_the_state_only_ever_rises(mailgun, order):
    message = sent()
    events = {
        "deferred": {"event": "failed", "severity": "temporary"},
        "delivered": {"event": "delivered"},
        "spam": {"event": "complained"},
    }
    reached = []

    for n, name in enumerate(order):
        mailgun.post(mailgun.report(events[name].pop("event"), uid=str(message.uid), token=f"t{n}", **events[name]))
        reached.append(now_of(message)[1])

    ranks = ["", "deferred", "delivered", "bounced", "complained"]
    assert reached == sorted(reached, key=ranks.index)
    assert reached[-1] == "complained"
    assert DeliveryEvent.objects.filter(message=message).count() == 3


def test_a_message_is_found_by_uid_then_providers_id_then_message_id(mailgun):
    by_uid, by_provider, by_message_id = (
        sent(),
        sent(provider_message_id="<abc@mg.example.org>"),
        sent(message_id="<m@x>"),
    )

    mailgun.post(mailgun.report("delivered", token="1", uid=by_uid.uid.hex, message_id="abc@mg.example.org"))
    mailgun.post(mailgun.report("delivered", token="2", message_id="abc@mg.example.org"))
    mailgun.post(mailgun.report("delivered", token="3", message_id="m@x"))
    mailgun.post(mailgun.report("delivered", token="4", message_id="else@x"))

    found = list(DeliveryEvent.objects.order_by("event_id").values_list("message_id", flat=True))
    assert found == [by_uid.pk, by_provider.pk, by_message_id.pk, None]


@pytest.mark.parametrize("state", ["unknown", "queued", "sending"])
@pytest.mark.parametrize("kind", ["sent", "delivered"])
def test_a_mail_in_doubt_that_arrived_is_sent_and_not_sent_again(mailersend, state, kind):
    message = in_doubt(state)

    mailersend.post(mailersend.report(kind, uid=str(message.uid)))

    assert now_of(message)[0] == "sent"
    assert (message.due_at, message.lease_token, message.handed_at) == (None, None, None)
    assert message.sent_at is not None
    assert message.finished_at is not None


def test_a_mail_whose_worker_died_after_the_hand_over_is_sent_when_it_arrived(mailersend):
    dead = sent(finished=False, interrupted=True, due_at=timezone.now() - timedelta(seconds=1))
    alive = sent(finished=False, interrupted=True, due_at=timezone.now() + timedelta(seconds=20))

    for n, message in enumerate((dead, alive)):
        mailersend.post(mailersend.report("delivered", uid=str(message.uid), id=f"e{n}"))

    assert now_of(dead) == ("sent", "delivered")
    # Its worker will note the answer it waits for.
    assert now_of(alive) == ("sending", "delivered")


def test_a_mail_that_merely_waits_is_not_taken_for_sent(mailersend):
    message = sent(finished=False)

    mailersend.post(mailersend.report("delivered", uid=str(message.uid)))

    assert now_of(message)[0] == "queued"


@pytest.mark.parametrize("kind", ["soft_bounced", "hard_bounced"])
def test_a_mail_in_doubt_that_came_back_has_failed(mailersend, kind):
    unknown, waiting = in_doubt("unknown"), in_doubt("queued")

    for n, message in enumerate((unknown, waiting)):
        mailersend.post(mailersend.report(kind, uid=str(message.uid), id=f"e{n}"))

    assert now_of(unknown) == ("failed", "bounced")
    assert now_of(waiting) == ("queued", "bounced")


@pytest.mark.parametrize(
    ("provider", "report"),
    [
        (MailerSend, lambda uid: MailerSend.report("hard_bounced", uid=uid)),
        (Mailgun, lambda uid: Mailgun.report("failed", uid=uid, severity="permanent", reason="bounce")),
        (
            Postmark,
            lambda uid: Postmark.report(
                "Bounce", uid=uid, ID=4323372036854775807, Type="HardBounce", TypeCode=1, Email=RECIPIENT, BouncedAt=AT
            ),
        ),
    ],
)
def test_an_address_that_does_not_exist_is_not_written_to_for_30_days(settings, provider, report):
    message, hooks = sent(), provider(settings)

    assert hooks.post(report(str(message.uid))).status_code == 200

    row = Suppression.objects.get()
    assert (row.address, row.scope, row.reason) == (RECIPIENT, "all", "bounce")
    assert timedelta(days=29) < row.expires_at - timezone.now() < timedelta(days=31)
    assert now_of(message)[1] == "bounced"


@pytest.mark.parametrize(
    ("provider", "report"),
    [
        (MailerSend, lambda uid: MailerSend.report("soft_bounced", uid=uid)),
        (Mailgun, lambda uid: Mailgun.report("failed", uid=uid, severity="temporary")),
        (Postmark, lambda uid: Postmark.report("Bounce", uid=uid, ID=1, Type="SoftBounce", Email=RECIPIENT)),
    ],
)
def test_a_full_mailbox_is_written_to_again(settings, provider, report):
    assert provider(settings).post(report(str(sent().uid))).status_code == 200

    assert DeliveryEvent.objects.count() == 1
    assert not Suppression.objects.exists()


def test_a_complaint_ends_the_category_or_all_that_is_optional(mailersend):
    offer, code = sent(), sent(type="tests.hello", category="security", to_address="grace@example.org")

    for n, message in enumerate((offer, code)):
        mailersend.post(mailersend.report("spam_complaint", uid=str(message.uid), id=f"e{n}"))

    assert set(Suppression.objects.values_list("address", "scope", "reason", "expires_at")) == {
        (RECIPIENT, "announcement", "complaint", None),
        ("grace@example.org", "optional", "complaint", None),
    }


def test_an_unsubscription_at_the_provider_is_one_here(postmark, user):
    message = sent(to_address=user.email)

    postmark.post(
        postmark.report(
            "SubscriptionChange",
            uid=str(message.uid),
            Recipient=user.email,
            ChangedAt=AT,
            Origin="Recipient",
            SuppressSending=True,
            SuppressionReason="ManualSuppression",
        )
    )

    assert Suppression.objects.get().reason == "unsubscribe"
    assert Preference.objects.get(user=user, category="announcement").enabled is False


def test_nobody_is_followed(mailersend):
    message = sent()

    for kind in ("opened", "clicked"):
        assert mailersend.post(mailersend.report(kind, uid=str(message.uid))).status_code == 200

    assert not DeliveryEvent.objects.exists()


def test_our_own_error_answers_500_and_the_repeat_is_taken(mailersend, monkeypatch):
    message = sent()
    report = mailersend.report("hard_bounced", uid=str(message.uid))

    def broken(*args, **kwargs):
        raise RuntimeError("of ours")

    with monkeypatch.context() as patched:
        patched.setattr(recipients, "suppress_dead", broken)
        assert mailersend.post(report).status_code == 500
    assert not DeliveryEvent.objects.exists()
    assert now_of(message) == ("sent", "")

    assert mailersend.post(report).status_code == 200
    assert Suppression.objects.get().scope == "all"


def test_no_report_writes_an_address_into_the_log(mailersend, caplog):
    caplog.set_level("INFO")

    mailersend.post(mailersend.report("hard_bounced", uid=str(sent().uid)))
    mailersend.post(b"{")

    assert RECIPIENT not in " ".join(str(vars(record)) for record in caplog.records)
    assert SECRET not in " ".join(str(vars(record)) for record in caplog.records)
    assert Message.objects.count() == 1
