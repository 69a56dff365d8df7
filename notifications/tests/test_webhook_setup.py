"""Setting a webhook up at each provider: the calls it makes before, and what it is told."""

import base64
import hashlib
import hmac
import json

import pytest

from lib import mail_providers
from lib.email_url import parse
from notifications import metrics
from notifications.models import DeliveryEvent
from notifications.tests.callers import (
    BASIC,
    PROVIDERS,
    SECRET,
    Brevo,
    MailerSend,
    Mailgun,
    Postmark,
    Resend,
    SendGrid,
    Ses,
    report_of,
)
from notifications.tests.esp import Esp

pytestmark = pytest.mark.django_db

PING = {
    "type": "webhook.test",
    "message": "This is a ping test message",
    "created_at": "2026-03-27T07:24:20.577080Z",
}
DELIVERED = {
    "mailersend": "delivered",
    "postmark": "Delivery",
    "mailgun": "delivered",
    "ses": "Delivery",
    "sendgrid": "delivered",
    "resend": "email.delivered",
    "brevo": "delivered",
}
OTHERS = b"another key, another password"


@pytest.fixture(autouse=True)
def _counted_from_zero():
    metrics.REPORTS.forget()


@pytest.mark.parametrize("secret", ["", SECRET])
def test_mailersend_asks_before_its_secret_exists(settings, secret):
    caller = MailerSend(settings)
    settings.NOTIFICATIONS_WEBHOOK_SECRET = secret
    body = json.dumps(PING).encode()

    answer = caller.post(body, **caller.proof(body, mail_providers.MAILERSEND_PING_SECRET))

    assert answer.status_code == 200
    assert metrics.REPORTS.values == {("mailersend", "ping"): 1}


@pytest.mark.parametrize(("secret", "status"), [("", 404), (SECRET, 400)])
def test_the_secret_that_everybody_knows_proves_nothing_else(settings, secret, status):
    caller = MailerSend(settings)
    settings.NOTIFICATIONS_WEBHOOK_SECRET = secret
    reports = [MailerSend.report("hard_bounced"), [PING], {**PING, "type": "activity.hard_bounced"}, "webhook.test"]

    for report in reports:
        body = json.dumps(report).encode()
        proof = caller.proof(body, mail_providers.MAILERSEND_PING_SECRET)
        assert caller.post(body, **proof).status_code == status, report

    assert caller.post(PING, signature="0" * 64).status_code == status
    assert not DeliveryEvent.objects.exists()


def test_only_mailersend_knows_that_secret(settings):
    caller = Postmark(settings)
    settings.NOTIFICATIONS_WEBHOOK_SECRET = ""
    body = json.dumps(PING).encode()
    mac = hmac.new(mail_providers.MAILERSEND_PING_SECRET.encode(), body, hashlib.sha256).hexdigest()

    assert caller.post(body, signature=mac).status_code == 404


def test_a_ping_with_the_real_secret_is_taken_too(settings):
    assert MailerSend(settings).post(PING).status_code == 200


@pytest.fixture
def sns(settings):
    """Amazon, as far as the confirmation of a subscription goes."""
    said = "<ConfirmSubscriptionResponse><ConfirmSubscriptionResult/></ConfirmSubscriptionResponse>"
    with Esp((200, {"Content-Type": "text/xml"}, said)) as esp:
        settings.ANYMAIL = parse("ses://AKIA:sec-ret@?region=us-east-1", timeout=1)["ANYMAIL"]
        settings.ANYMAIL["AMAZON_SES_CLIENT_PARAMS"]["endpoint_url"] = esp.url
        yield esp


def confirmation(**changes):
    token = "2336412f37fb687f5d51e6e2425f004ae"  # noqa: S105
    return Ses.notification(
        "You have chosen to subscribe to the topic.",
        "SubscriptionConfirmation",
        **{"Token": token, "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=…", **changes},
    )


def test_sns_is_asked_for_the_password_and_then_confirmed(settings, sns):
    caller = Ses(settings)
    caller.proof, first = lambda body: {}, caller.post(confirmation(), authorization="")
    unasked = caller.post(confirmation())
    del caller.proof

    answer = caller.post(confirmation())

    assert (first.status_code, unasked.status_code, answer.status_code) == (400, 401, 200)
    assert unasked["WWW-Authenticate"] == 'Basic realm="Switchboard"'
    (request,) = sns.requests
    assert request.form["Action"] == "ConfirmSubscription"
    assert request.form["TopicArn"] == "arn:aws:sns:eu-west-1:123456789012:ses-events"
    assert request.form["Token"] == "2336412f37fb687f5d51e6e2425f004ae"  # noqa: S105
    assert "/eu-west-1/sns/" in request.headers["Authorization"]


@pytest.mark.parametrize(
    "changes",
    [
        {"TopicArn": "arn:aws:sns:collector.invalid/:123456789012:x"},
        {"TopicArn": None},
        {"TopicArn": "x"},
        {"Token": {}},
        {"Token": None},
    ],
)
def test_a_confirmation_that_names_no_topic_goes_nowhere(settings, sns, changes):
    assert Ses(settings).post(confirmation(**changes)).status_code == 400
    assert not sns.requests


def test_what_sns_says_besides_means_nothing(settings):
    caller = Ses(settings)

    for said in (
        Ses.notification("Successfully validated SNS topic for Amazon SES event publishing."),
        Ses.notification("You have chosen to deactivate the subscription.", "UnsubscribeConfirmation"),
        Ses.notification(None),
        Ses.notification('{"notificationType": "Received", "mail": {}}'),
    ):
        assert caller.post(said).status_code == 200

    assert metrics.REPORTS.values == {("ses", "ignored"): 4}


@pytest.mark.parametrize("header", ["x-amz-sns-message-type", "x-amz-sns-message-id"])
def test_a_message_of_sns_says_the_same_in_its_headers(settings, header):
    assert (
        Ses(settings).post(Ses.report("Bounce Permanent General"), **{header: "SubscriptionConfirmation"}).status_code
        == 400
    )
    assert not DeliveryEvent.objects.exists()


def test_a_topic_that_delivers_raw_messages_is_read(settings):
    event = json.loads(Ses.report("Bounce Permanent General")["Message"])

    Ses(settings).post(event, **{"x-amz-sns-message-id": "n1", "x-amz-sns-rawdelivery": "true"})

    assert DeliveryEvent.objects.get().event_id == "n1"


@pytest.mark.parametrize("name", PROVIDERS)
def test_each_provider_proves_itself_in_its_own_way(settings, name):
    caller = PROVIDERS[name](settings)

    assert caller.post(report_of(name, DELIVERED[name])).status_code == 200
    assert caller.client.head(caller.path).status_code == 200
    assert DeliveryEvent.objects.get().kind == "delivered"


@pytest.mark.parametrize("name", ["resend", "sendgrid"])
def test_a_provider_that_signs_may_be_given_a_password_instead(settings, name):
    caller = PROVIDERS[name](settings)
    settings.NOTIFICATIONS_WEBHOOK_SECRET = BASIC
    basic = {"authorization": f"Basic {base64.b64encode(BASIC.encode()).decode()}"}

    assert caller.post(report_of(name, DELIVERED[name])).status_code == 400
    assert caller.post(report_of(name, DELIVERED[name]), **basic).status_code == 200
    assert caller.post(report_of(name, DELIVERED[name]), authorization="Basic eDp5").status_code == 400


def mutilated(name, caller, body):
    """Proofs that prove nothing: each header is missing, empty, odd, or of another body or key."""
    right = caller.proof(body)
    for header, value in right.items():
        yield {header: ""}
        yield {header: "ü"}
        yield {header: f"{value}x"}
        yield {header: value[:-4]}
    yield caller.proof(body + b" ") if name in {"mailersend", "resend", "sendgrid"} else {"authorization": "Basic Og=="}
    if name == "resend":
        yield caller.proof(body, stamp="1769860800")
        yield caller.proof(body, stamp="9" * 12)
        yield {"svix-signature": right["svix-signature"].replace("v1,", "v2,")}
        yield {"svix-id": "msg_other"}
    if name == "sendgrid":
        yield {"x-twilio-email-event-webhook-timestamp": "1"}


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "mailgun"])
def test_no_part_of_a_proof_can_be_left_out_or_changed(settings, name):
    caller = PROVIDERS[name](settings)
    body = json.dumps(report_of(name, DELIVERED[name])).encode()

    for headers in mutilated(name, caller, body):
        assert caller.post(body, **headers).status_code == (401 if headers == {} else 400), headers

    assert not DeliveryEvent.objects.exists()


@pytest.mark.parametrize(
    "signature",
    [
        None,
        [],
        {},
        {"timestamp": "1", "token": "x"},
        {"timestamp": "1", "token": "x", "signature": 7},
        {"timestamp": "1", "token": "x", "signature": "0" * 64},
        {"timestamp": "1", "token": "\ud800", "signature": "ü"},
    ],
)
def test_mailgun_signs_in_the_body(settings, signature):
    caller = Mailgun(settings)

    assert caller.post({**Mailgun.report("delivered"), "signature": signature}).status_code == 400
    assert caller.post([Mailgun.report("delivered")]).status_code == 400


@pytest.mark.parametrize(
    ("provider", "secret", "is_right"),
    [
        ("sendgrid", SendGrid.secret, True),
        ("sendgrid", BASIC, True),
        ("sendgrid", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE", False),
        ("sendgrid", "not base64 ü", False),
        ("sendgrid", "user:", False),
        ("resend", Resend.secret, True),
        ("resend", Resend.secret.removeprefix("whsec_"), True),
        ("resend", "whsec_", False),
        ("resend", "whsec_!!!", False),
        ("brevo", BASIC, True),
        ("brevo", "password", False),
        ("postmark", ":password", False),
        ("ses", "password", False),
        ("mailersend", "anything", True),
        ("mailgun", "anything", True),
    ],
)
def test_a_key_that_proves_nothing_is_found_out(settings, provider, secret, is_right):
    assert (not mail_providers.trouble(provider, secret)) == is_right
    if not is_right:
        caller = PROVIDERS[provider](settings)
        settings.NOTIFICATIONS_WEBHOOK_SECRET = secret
        assert caller.post(report_of(provider, DELIVERED[provider])).status_code in {400, 401}


@pytest.mark.parametrize("caller", [SendGrid, Brevo, Postmark, MailerSend, Resend, Ses])
def test_a_test_call_without_a_message_is_taken(settings, caller):
    """*Send test*: samples of the provider about nobody's mail, and kinds that mean nothing to us."""
    samples = {
        "sendgrid": [
            {"email": "example@test.com", "timestamp": 1, "event": "open", "sg_event_id": "x"},
            {"event": "new"},
        ],
        "brevo": {"event": "list_addition", "email": "example@example.com", "id": 1, "list_id": [1]},
        "postmark": {"RecordType": "Open", "MessageID": "00000000-0000-0000-0000-000000000000", "Recipient": "j@x.org"},
        "mailersend": {"type": "recipient.on_hold_added", "created_at": "2025-08-05 22:27:14", "data": {"email": "x"}},
        "resend": {"type": "domain.updated", "created_at": "x", "data": {"id": "d91cd9bd", "name": "example.com"}},
        "ses": Ses.notification("{}"),
    }

    assert caller(settings).post(samples[caller.name]).status_code == 200
    assert not DeliveryEvent.objects.exists()
    assert set(metrics.REPORTS.values) == {(caller.name, "ignored")}
