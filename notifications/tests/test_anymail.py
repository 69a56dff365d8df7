"""Every provider through anymail's own session, against a provider on loopback."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from lib import email_url
from notifications.models import Attempt, Message, ProviderState
from notifications.services import claims, delivery, health
from notifications.tests import kinds
from notifications.tests.esp import Esp
from notifications.tests.factories import MessageFactory
from notifications.tests.sink import free_port

pytestmark = pytest.mark.django_db

KEY = "key-4815162342"
# What each answers to a mail it takes, and the id in it.
USUAL = {
    "mailersend": (202, {"X-Message-Id": "id-1", "Content-Type": "text/html"}, ""),
    "mailgun": (200, {}, json.dumps({"id": "id-1", "message": "Queued. Thank you."})),
    "postmark": (200, {}, json.dumps({"ErrorCode": 0, "Message": "OK", "MessageID": "id-1", "To": "ada@example.org"})),
    "resend": (200, {}, json.dumps({"id": "id-1"})),
    "brevo": (201, {}, json.dumps({"messageId": "id-1"})),
    "sendgrid": (202, {}, ""),
    "mailjet": (
        200,
        {},
        json.dumps({"Messages": [{"Status": "success", "To": [{"Email": "ada@example.org", "MessageID": "id-1"}]}]}),
    ),
    "mailtrap": (200, {}, json.dumps({"success": True, "message_ids": ["id-1"]})),
    "mandrill": (200, {}, json.dumps([{"email": "ada@example.org", "status": "sent", "_id": "id-1"}])),
    "postal": (200, {}, json.dumps({"status": "success", "data": {"messages": {"ada@example.org": {"id": "id-1"}}}})),
    "scaleway": (
        200,
        {},
        json.dumps({"emails": [{"mail_rcpt": "ada@example.org", "id": "id-1", "status": "new"}]}),
    ),
    "sparkpost": (
        200,
        {},
        json.dumps({"results": {"total_accepted_recipients": 1, "total_rejected_recipients": 0, "id": "id-1"}}),
    ),
    "unisender-go": (200, {}, json.dumps({"status": "success", "job_id": "id-1", "emails": ["ada@example.org"]})),
}
INACTIVE = (
    "You tried to send to a recipient that has been marked as inactive. Found inactive addresses: ada@example.org. "
    "Inactive recipients are ones that have generated a hard bounce."
)
URLS = {name: f"{name}://{KEY}@" for name in USUAL} | {
    "mailgun": f"mailgun://{KEY}@mg.example.org",
    "mailjet": f"mailjet://key:{KEY}@",
    "postal": f"postal://{KEY}@postal.example.org",
    "scaleway": f"scaleway://{KEY}@?project=6f1a",
    "unisender-go": f"unisender-go://{KEY}@go1.unisender.ru",
}


@pytest.fixture
def use(settings):
    """`use("resend")` is that provider, answering."""
    running = []

    def start(name, **options):
        esp = Esp(USUAL[name]).__enter__()
        running.append(esp)
        settings.EMAIL_URL = URLS[name]
        for setting, value in email_url.parse(URLS[name], timeout=1).items():
            setattr(settings, setting, value)
        settings.ANYMAIL = {**settings.ANYMAIL, f"{name.upper().replace('-', '_')}_API_URL": esp.url, **options}
        return esp

    yield start
    for esp in running:
        esp.__exit__()


def deliver():
    queue_worker = delivery.QueueWorker()
    queue_worker.deliver_due()
    return queue_worker


def waits_are_over():
    Message.objects.filter(state="queued").update(due_at=timezone.now() - timedelta(seconds=1))


@pytest.mark.filterwarnings("ignore:django-anymail has dropped official support for SendGrid")
@pytest.mark.parametrize("name", USUAL)
def test_each_provider_takes_a_mail_and_gives_its_id(use, name):
    esp = use(name)
    message = MessageFactory.create(to_address="ada@example.org", to_name="Ada")

    deliver()

    message.refresh_from_db()
    attempt = message.tries.get()
    assert (message.state, message.reason, message.provider) == ("sent", "", name)
    if name not in {"sendgrid", "unisender-go"}:  # theirs are made by anymail
        assert message.provider_message_id == "id-1"
    assert message.provider_message_id
    assert (attempt.provider, attempt.outcome, attempt.code) == (name, "accepted", str(USUAL[name][0]))
    (request,) = esp.requests
    assert "ada@example.org" in request.body or "ada%40example.org" in request.body
    assert kinds.CODE in request.body
    # Postal takes neither metadata nor more than one tag.
    assert (str(message.uid) in request.body) == (name != "postal")


@pytest.mark.parametrize(
    ("code", "state", "is_paused"), [("InvalidServerAPIKey", "queued", True), ("ValidationError", "failed", False)]
)
def test_a_refusal_within_a_success_is_no_success(use, code, state, is_paused):
    esp = use("postal")
    esp.answers = [(200, {}, json.dumps({"status": "error", "data": {"code": code}}))]
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.last_code) == (state, code)
    assert ProviderState.objects.filter(paused=True).exists() == is_paused


def test_mailersend_is_asked_for_nothing_its_smaller_accounts_refuse(use):
    esp = use("mailersend")
    message = MessageFactory.create()

    deliver()

    asked = esp.requests[0].json
    assert "headers" not in asked
    assert asked["tags"] == [str(message.uid), "tests.hello"]
    assert esp.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_headers_travel_where_they_are_taken(use):
    esp = use("postmark")
    message = MessageFactory.create()

    deliver()

    asked = esp.requests[0].json
    headers = {header["Name"]: header["Value"] for header in asked["Headers"]}
    assert headers["Message-ID"] == message.message_id
    assert headers["Auto-Submitted"] == "auto-generated"
    assert "Date" not in headers
    assert asked["Metadata"] == {"uid": str(message.uid)}
    assert asked["Tag"] == "tests.hello"


def test_a_reply_address_reaches_the_provider(use, settings):
    settings.NOTIFICATIONS_REPLY_TO = "Help <help@example.org>"
    esp = use("mailersend")
    MessageFactory.create()

    deliver()

    assert esp.requests[0].json["reply_to"]["email"] == "help@example.org"


def test_the_uid_is_the_idempotency_key(use):
    resend, message = use("resend"), MessageFactory.create()
    deliver()
    brevo, second = use("brevo"), MessageFactory.create()
    deliver()

    assert resend.requests[0].headers["Idempotency-Key"] == str(message.uid)
    assert brevo.requests[0].json["headers"]["idempotencyKey"] == str(second.uid)


@pytest.mark.parametrize(("status", "counts"), [(408, 0), (421, 0), (425, 0), (429, 0), (500, 1), (503, 1)])
def test_an_overloaded_provider_is_tried_again(use, status, counts):
    esp = use("postmark")
    esp.answers = [(status, {}, "later")] * 2
    message = MessageFactory.create()

    deliver()
    message.refresh_from_db()
    assert (message.state, message.attempts, message.last_code) == ("queued", counts, str(status))
    for _ in range(2):
        waits_are_over()
        deliver()

    message.refresh_from_db()
    assert (message.state, message.attempts) == ("sent", 2 * counts + 1)


@pytest.mark.parametrize(("asked", "wanted"), [("120", 120), ("999999", 6 * 3600), ("0", 0)])
def test_retry_after_wins_over_the_backoff(use, asked, wanted):
    esp = use("postmark")
    esp.answers = [(429, {"Retry-After": asked}, "slow down")] * 8
    message = MessageFactory.create(max_attempts=2)
    queue_worker = delivery.QueueWorker()
    queue_worker.waiting += claims.claim("x", 1)

    queue_worker._deliver_waiting()
    queue_worker._clean_up()

    message.refresh_from_db()
    assert abs((message.due_at - timezone.now()).total_seconds() - wanted) < 5


def test_a_refused_key_waits_for_people_and_burns_no_attempt(use):
    esp = use("postmark")
    esp.answers = [(401, {}, f"the token {KEY} is unknown")]
    MessageFactory.create_batch(3)

    deliver()

    assert set(Message.objects.values_list("state", "attempts")) == {("queued", 0)}
    assert len(esp.requests) == 1
    state = ProviderState.objects.get()
    assert (state.paused, state.paused_until) == (True, None)
    assert KEY not in str([*ProviderState.objects.values(), *Message.objects.values(), *Attempt.objects.values()])


FIREWALL = "<html><title>403 Forbidden</title></html>"


def test_one_recipient_who_is_forbidden_holds_up_nobody(use):
    esp = use("mailgun")
    esp.answers = [(403, {}, FIREWALL), (403, {}, "Sandbox domains: add the address to authorized recipients.")]
    MessageFactory.create_batch(4)

    deliver()

    states = Message.objects.order_by("pk").values_list("state", "attempts", "last_code")
    assert list(states) == [("queued", 1, "403"), ("queued", 1, "403"), ("sent", 1, "200"), ("sent", 1, "200")]
    assert not ProviderState.objects.filter(paused=True).exists()


@pytest.mark.parametrize("answer", [(403, {}, FIREWALL), (429, {}, "slow down"), (500, {}, FIREWALL), None])
def test_what_several_recipients_meet_in_a_row_closes_the_channel_for_a_while(use, answer):
    esp = use("mailgun")
    esp.answers = [answer] * 9
    MessageFactory.create_batch(9)

    deliver()

    assert len(esp.requests) == 3
    assert ProviderState.objects.get().paused_until is not None
    assert health.check()["status"] == "degraded"


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_a_mail_the_provider_refuses_fails_at_once_and_alone(use, status):
    esp = use("mailersend")
    esp.answers = [(status, {}, json.dumps({"message": f"no {kinds.CODE}"}))]
    MessageFactory.create_batch(2)

    deliver()

    failed, sent = Message.objects.order_by("pk")
    assert (failed.state, failed.reason, failed.last_code) == ("failed", "refused", str(status))
    assert kinds.CODE not in failed.last_error
    assert sent.state == "sent"


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        (
            "postmark",
            (422, {}, json.dumps({"ErrorCode": 406, "Message": INACTIVE})),
        ),
        (
            "postmark",
            (422, {}, json.dumps({"ErrorCode": 406, "Message": "in words that anymail does not know"})),
        ),
        (
            "mailersend",
            (
                202,
                {},
                json.dumps({"warnings": [{"type": "ALL_SUPPRESSED", "recipients": [{"email": "ada@example.org"}]}]}),
            ),
        ),
    ],
)
def test_a_recipient_on_the_providers_own_list_fails(use, name, answer):
    use(name).answers = [answer]
    message = MessageFactory.create(to_address="ada@example.org")

    deliver()

    message.refresh_from_db()
    assert message.state == "failed"


@pytest.mark.parametrize("answer", [(202, {}, "[1"), (202, {}, '{"warnings": [{"type": "NEW"}]}'), (200, {}, "[]")])
def test_a_success_nobody_understands_is_accepted_and_never_repeated(use, answer):
    esp = use("mailersend")
    esp.answers = [answer]
    message = MessageFactory.create()

    deliver()
    waits_are_over()
    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("sent", "unverified")
    assert len(esp.requests) == 1


@pytest.mark.parametrize(
    ("name", "kind", "state"),
    [
        ("postmark", "tests.hello", "queued"),
        ("postmark", "tests.once", "unknown"),
        ("resend", "tests.once", "queued"),
        ("brevo", "tests.once", "queued"),
    ],
)
def test_a_cut_line_is_in_doubt_unless_the_provider_knows_the_message_again(use, name, kind, state):
    esp = use(name)
    esp.answers = [None]
    message = MessageFactory.create(type=kind)

    deliver()
    message.refresh_from_db()
    assert (message.state, message.tries.get().outcome) == (state, "ambiguous")
    waits_are_over()
    deliver()

    message.refresh_from_db()
    assert message.state == ("sent" if state == "queued" else "unknown")
    keys = {request.headers.get("Idempotency-Key") for request in esp.requests}
    assert keys == ({str(message.uid)} if name == "resend" else {None})


def test_a_doubt_older_than_the_providers_memory_is_left_to_staff(use):
    esp = use("brevo")
    esp.answers = [None]
    message = MessageFactory.create(type="tests.once")
    deliver()
    Attempt.objects.update(created_at=timezone.now() - timedelta(minutes=16))
    waits_are_over()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == ("unknown", "interrupted")
    assert len(esp.requests) == 1


@pytest.mark.parametrize(("by", "state"), [("resend", "sent"), ("smtp", "unknown")])
def test_a_worker_that_died_is_no_doubt_where_the_provider_remembers(use, by, state):
    use("resend")
    message = MessageFactory.create(type="tests.once", interrupted=True, provider=by)

    deliver()

    message.refresh_from_db()
    assert message.state == state


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        ('{"name": "invalid_idempotent_request"}', "sent", "unverified"),
        ('{"name": "concurrent_idempotent_requests"}', "queued", ""),
    ],
)
def test_a_key_the_provider_has_seen_is_no_failure(use, answer, state, reason):
    use("resend").answers = [(409, {}, answer)]
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.reason) == (state, reason)


def test_a_silent_provider_costs_one_timeout(use):
    esp = use("postmark", REQUESTS_TIMEOUT=0.2)
    esp.silent.clear()
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.attempts, message.tries.get().outcome) == ("queued", 1, "ambiguous")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/", "http://no-such-host.invalid/"])
def test_a_provider_that_cannot_be_reached_burns_no_attempt(use, url):
    use("postmark", POSTMARK_API_URL=url.format(port=free_port()))
    MessageFactory.create_batch(2)

    queue_worker = deliver()

    assert queue_worker.rest() > 0
    assert set(Message.objects.values_list("state", "attempts")) == {("queued", 0)}
    assert Attempt.objects.get().outcome == "transport_down"


def test_a_provider_without_tls_is_away(use):
    esp = use("postmark")
    use("postmark", POSTMARK_API_URL=esp.url.replace("http:", "https:"))
    MessageFactory.create()

    deliver()

    assert Attempt.objects.get().outcome == "transport_down"


@pytest.fixture
def ses(settings):
    """Needs boto3, which the development requirements do not bring."""
    pytest.importorskip("boto3")
    settings.EMAIL_URL = "ses://AKIA:sec-ret@?region=eu-west-1"
    for setting, value in email_url.parse(settings.EMAIL_URL, timeout=1).items():
        setattr(settings, setting, value)
    with Esp((200, {}, json.dumps({"MessageId": "id-1"}))) as esp:
        settings.ANYMAIL["AMAZON_SES_CLIENT_PARAMS"]["endpoint_url"] = esp.url
        yield esp


@pytest.mark.parametrize(
    ("answer", "state", "attempts", "code"),
    [
        ((200, {}, json.dumps({"MessageId": "id-1"})), "sent", 1, "200"),
        ((429, {"Retry-After": "60"}, json.dumps({"message": "slow down"})), "queued", 0, "429"),
        ((403, {}, json.dumps({"message": "the key sec-ret is unknown"})), "queued", 0, "403"),
        ((400, {}, json.dumps({"message": "Email address is not verified."})), "failed", 1, "400"),
        ((400, {"X-Amzn-ErrorType": "AccountSuspendedException"}, "{}"), "queued", 0, "400"),
        ((400, {"X-Amzn-ErrorType": "SendingPausedException"}, "{}"), "queued", 0, "400"),
        (None, "queued", 1, "ConnectionClosedError"),
    ],
)
def test_ses_answers_in_its_own_words(ses, answer, state, attempts, code):
    ses.answers = [answer]
    message = MessageFactory.create()

    deliver()

    message.refresh_from_db()
    assert (message.state, message.attempts, message.last_code) == (state, attempts, code)
    assert (message.provider, message.provider_message_id) == ("ses", "id-1" if state == "sent" else "")
    assert "sec-ret" not in str([*Message.objects.values(), *ProviderState.objects.values()])
    assert len(ses.requests) == 1


def test_ses_that_cannot_be_reached_burns_no_attempt(ses, settings):
    settings.ANYMAIL["AMAZON_SES_CLIENT_PARAMS"]["endpoint_url"] = f"http://127.0.0.1:{free_port()}/"
    MessageFactory.create()

    deliver()

    assert Attempt.objects.get().outcome == "transport_down"
