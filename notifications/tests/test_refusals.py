"""What a refusal says of an address: each provider's own words, through its webhook, and the codes of mail servers."""

from itertools import product
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from notifications.models import DeliveryEvent, Refusal, Suppression
from notifications.reports import MEANINGS, by_status
from notifications.tests import offers
from notifications.tests.callers import PROVIDERS, RECIPIENT, report_of
from notifications.tests.factories import MessageFactory

# As the provider writes them = kind and refusal.
CASES = {
    "mailersend": """
        sent = sent; delivered = delivered; deferred = deferred; soft_bounced = bounced other;
        hard_bounced = bounced dead; suppressed = rejected listed; spam_complaint = complained complained;
        unsubscribed = unsubscribed unsubscribed
    """,
    "postmark": """
        Delivery = delivered; HardBounce = bounced dead; SoftBounce = bounced other; Transient = deferred;
        DnsError = deferred; OpenRelayTest = deferred; Unknown = bounced other; SpamNotification = bounced content;
        VirusNotification = bounced content; Blocked = bounced sender; DMARCPolicy = bounced sender;
        BadEmailAddress = rejected dead; ManuallyDeactivated = rejected listed; Unconfirmed = rejected sender;
        SMTPApiError = failed sender; TemplateRenderingFailed = failed sender;
        SpamComplaint = complained complained; Unsubscribe = unsubscribed unsubscribed;
        SubscriptionChange HardBounce = bounced dead; SubscriptionChange SpamComplaint = complained complained;
        SubscriptionChange ManualSuppression Recipient = unsubscribed unsubscribed
    """,
    "mailgun": """
        accepted = queued; delivered = delivered; rejected = rejected sender; temporary = deferred;
        permanent = bounced other; permanent bounce = bounced dead; permanent bounce soft = bounced other;
        permanent suppress-bounce = rejected listed; permanent suppress-complaint = rejected complained;
        permanent suppress-unsubscribe = rejected unsubscribed; permanent 605 = rejected listed;
        permanent 606 = rejected unsubscribed; permanent 607 = rejected complained;
        complained = complained complained; unsubscribed = unsubscribed unsubscribed
    """,
    "ses": """
        Send = sent; Delivery = delivered; DeliveryDelay General = deferred other;
        DeliveryDelay MailboxFull = deferred full; Bounce Permanent Later = bounced other;
        Bounce Permanent General = bounced dead; Bounce Permanent NoEmail = bounced dead;
        Bounce Permanent Suppressed = rejected dead; Bounce Permanent OnAccountSuppressionList = rejected listed;
        Bounce Permanent UnsubscribedRecipient = rejected unsubscribed; Bounce Transient General = bounced other;
        Bounce Transient MailboxFull = bounced full; Bounce Transient MessageTooLarge = bounced content;
        Bounce Transient ContentRejected = bounced content; Bounce Transient AttachmentRejected = bounced content;
        Bounce Undetermined Undetermined = bounced other; Reject = rejected content;
        Rendering Failure = failed sender; Complaint abuse = complained complained;
        Complaint OnAccountSuppressionList = rejected complained; Subscription = unsubscribed unsubscribed
    """,
    "sendgrid": """
        processed = queued; delivered = delivered; deferred = deferred; bounce = bounced other;
        bounce bounce = bounced dead; bounce blocked = bounced sender; bounce expired = bounced other;
        bounce Invalid Address = bounced dead; bounce Mailbox Unavailable = bounced other;
        bounce Content = bounced content; bounce Reputation = bounced sender;
        bounce Frequency or Volume Too High = bounced sender; bounce Technical Failure = bounced other;
        bounce Unclassified = bounced other; dropped = rejected other; dropped Bounced Address = rejected listed;
        dropped Invalid = rejected dead; dropped Invalid SMTPAPI header = rejected sender;
        dropped Recipient List over Package Quota = rejected sender; dropped Spam Content = rejected content;
        dropped Spam Reporting Address = rejected complained; dropped Unsubscribed Address = rejected unsubscribed;
        spamreport = complained complained; unsubscribe = unsubscribed unsubscribed;
        group_unsubscribe = unsubscribed unsubscribed
    """,
    "resend": """
        email.sent = sent; email.delivered = delivered; email.delivery_delayed = deferred;
        email.bounced Temporary New = bounced other; email.bounced Permanent New = bounced other;
        email.bounced Permanent General = bounced dead; email.bounced Permanent NoEmail = bounced dead;
        email.bounced Permanent Suppressed = rejected dead;
        email.bounced Permanent OnAccountSuppressionList = rejected listed;
        email.bounced Permanent MessageRejected = bounced content;
        email.bounced Transient MailboxFull = bounced full;
        email.bounced Transient MessageTooLarge = bounced content;
        email.bounced Transient ContentRejected = bounced content;
        email.bounced Transient AttachmentRejected = bounced content; email.suppressed = rejected listed;
        email.failed = failed sender; email.complained = complained complained
    """,
    "brevo": """
        request = queued; delivered = delivered; deferred = deferred; soft_bounce = bounced other;
        hard_bounce = bounced dead; invalid_email = rejected dead; blocked = rejected listed; error = failed sender;
        spam = complained complained; complaint = complained complained; unsubscribed = unsubscribed unsubscribed;
        unsubscribe = unsubscribed unsubscribed
    """,
}


# What the recipient's server answered, as the provider reports it.
SERVER_ANSWERS = {
    "550 5.1.90 Your message can't be sent because you've reached your daily limit": "sender",
    "550 5.1.20 Multiple From addresses": "sender",
    "550 5.1.8 sender's domain 5.1.1 does not exist": "sender",
    "550 5.7.1 user unknown on our block list": "sender",
    "552 5.2.2 over quota": "full",
    "554 5.6.0 malformed": "content",
    "450 4.1.1 not yet": "other",
    "550 5.1.1 no such user": "dead",
    "550 no code, so the provider's own word counts: not 5.7.1": "dead",
}


def cases(provider):
    for words, _, meaning in (case.partition(" = ") for case in " ".join(CASES[provider].split()).split("; ")):
        kind, _, refusal = meaning.partition(" ")
        yield words, kind, refusal


def nothing_is_known():
    DeliveryEvent.objects.all().delete()
    Suppression.objects.all().delete()


@pytest.fixture(autouse=True)
def _offers():
    offers.declare()


@pytest.mark.django_db
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("provider", CASES)
def test_only_a_dead_mailbox_ends_all_mail(settings, subtests, provider):
    caller = PROVIDERS[provider](settings)
    for (words, kind, refusal), is_required in product(cases(provider), [False, True]):
        with subtests.test(words, is_required=is_required):
            nothing_is_known()
            types = {"type": "tests.hello"} if is_required else {"type": "tests.offer", "category": "announcement"}
            message = MessageFactory.create(finished=True, to_address=RECIPIENT, **types)

            answer = caller.post(report_of(provider, words, uid=str(message.uid)))

            assert answer.status_code == 200
            event = DeliveryEvent.objects.get()
            assert (event.kind, event.refusal, event.message, event.recipient) == (kind, refusal, message, RECIPIENT)
            category = "optional" if is_required else "announcement"
            listed = {
                "dead": [("all", "bounce")],
                "complained": [(category, "complaint")],
                "unsubscribed": [(category, "unsubscribe")],
            }
            assert list(Suppression.objects.values_list("scope", "reason")) == listed.get(refusal, [])


def test_every_word_of_the_table_is_tried():
    tried = {provider: {words.lower() for words, *_ in cases(provider)} for provider in CASES}

    for provider, words in MEANINGS.items():
        missing = {
            word for word in words if not any(each == word or each.startswith(f"{word} ") for each in tried[provider])
        }
        assert missing <= {"complaint auth-failure", "complaint not-spam"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("mailersend", "hard_bounced"),
        ("postmark", "HardBounce"),
        ("mailgun", "permanent bounce"),
        ("ses", "Bounce Permanent General"),
        ("sendgrid", "bounce bounce"),
        ("resend", "email.bounced Permanent General"),
        ("brevo", "hard_bounce"),
    ],
)
def test_what_the_recipients_server_said_counts_before_the_providers_word(settings, subtests, provider, words):
    caller = PROVIDERS[provider](settings)
    for answer, refusal in SERVER_ANSWERS.items():
        with subtests.test(answer):
            nothing_is_known()

            said = "" if provider == "ses" and " no code" in answer else answer
            caller.post(report_of(provider, words, answer=said))

            assert DeliveryEvent.objects.get().refusal == refusal
            assert Suppression.objects.exists() == (refusal == "dead")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("provider", "words"),
    [
        ("mailersend", "soft_bounced"),
        ("postmark", "SoftBounce"),
        ("mailgun", "permanent"),
        ("ses", "Bounce Transient General"),
        ("sendgrid", "bounce blocked"),
        ("resend", "email.bounced Undetermined Undetermined"),
        ("brevo", "soft_bounce"),
    ],
)
def test_a_mailbox_the_server_does_not_know_is_dead_however_soft_the_provider_is(settings, provider, words):
    PROVIDERS[provider](settings).post(report_of(provider, words, answer="550 5.1.1 no such user"))

    assert list(Suppression.objects.values_list("address", "scope")) == [(RECIPIENT, "all")]


@pytest.mark.parametrize(
    ("refusal", "codes"),
    [
        ("dead", "5.1.1 5.1.2 5.1.3 5.1.6 5.1.10"),
        ("full", "5.2.2 4.2.2 5.3.1 4.3.1"),
        ("content", "5.2.3 5.3.4 5.6.0 5.6.1 5.6.7 5.6.10"),
        ("sender", "5.1.7 5.1.8 5.1.20 5.1.90 5.5.1 5.5.2 5.5.3 5.7.0 5.7.1 5.7.13 5.7.26 5.7.28 4.7.1 4.7.0"),
        ("other", "5.1.4 5.1.5 5.1.9 5.1.11 5.2.1 5.2.4 5.3.0 5.3.2 5.3.5 5.4.0 5.4.1 5.4.4 5.4.6 4.1.1 4.2.1 4.4.2"),
        (None, "5.0.0 5.1.0 5.2.0 5.5.0 5.9.1 5.0.1"),
    ],
)
def test_an_enhanced_status_code_says_whose_trouble_it_is(refusal, codes):
    for code in codes.split():
        for answer in (
            code,
            f"{code} in words",
            f"550 {code} x",
            f"550-{code} x",
            f"smtp; 550 {code} x",
            f"smtp;{code}",
        ):
            assert by_status(answer) == refusal, answer


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no 5.1.1",
        "550 no 5.1.1",
        "550 user 5.1.1 unknown",
        "5.1.1.1",
        "15.1.1",
        "5.1.1234",
        "2.1.5 ok",
        "5.1",
        "٥.1.1",
    ],
)
def test_a_code_in_the_text_is_none(answer):
    assert by_status(answer) is None


def test_the_guide_holds_the_table():
    guide = (Path(django_settings.BASE_DIR) / "docs/notifications.md").read_text()
    rows = []
    for provider, words in MEANINGS.items():
        for refusal in Refusal.values:
            of = {word: kind for word, (kind, said) in words.items() if said == refusal and kind != "deferred"}
            sent = ", ".join(f"`{word}`" for word, kind in of.items() if kind not in {"rejected", "failed"})
            unsent = ", ".join(f"`{word}`" for word, kind in of.items() if kind in {"rejected", "failed"})
            rows += [f"| {provider} | {refusal} | {sent} | {unsent} |".replace("  ", " ")] if of else []

    assert [row for row in guide.splitlines() if row in rows] == rows, "\n".join(rows)
