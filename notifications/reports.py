"""What a provider reports, as far as it can be read: no shape of it raises. django-anymail reads them too, but one at
a time, not every kind, and not MailerSend's second version.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.utils.dateparse import parse_datetime

from lib.addresses import valid_email
from lib.text import clean_text
from notifications.models import Refusal

DEAD, FULL, CONTENT, SENDER, OTHER = Refusal.DEAD, Refusal.FULL, Refusal.CONTENT, Refusal.SENDER, Refusal.OTHER

# --- What a refusal means for an address ------------------------------------------------------------------------------

# Two things count: the enhanced status code of the server (RFC 3463; the registry of RFC 5248 at IANA), never the text
# behind it; else the provider's own class. Only `dead` keeps all mail from an address: what is in doubt is not `dead`.

# At the beginning, where RFC 2034 puts it: after the reply code, and after the type of a diagnostic (RFC 3464, 2.3.6).
_STATUS = re.compile(r"(?:smtp; ?)?(?:[45]\d\d[ -])?#?([45])\.(\d{1,3})\.(\d{1,3})(?![\d.])", re.ASCII | re.IGNORECASE)

# The details of RFC 3463 and its registry that are more exact than their subject.
_DETAILS: dict[tuple[int, int], Refusal | None] = {
    (1, 0): None,  # something about an address, not whose
    (1, 1): DEAD,  # no such mailbox
    (1, 2): DEAD,  # no such domain
    (1, 3): DEAD,  # no mailbox can have this address
    (1, 6): DEAD,  # moved, and not forwarded
    (1, 7): SENDER,  # the sender's address is malformed
    (1, 8): SENDER,  # the sender's domain
    (1, 10): DEAD,  # null MX (RFC 7505)
    (1, 20): SENDER,  # Exchange Online: several senders
    (1, 90): SENDER,  # Exchange Online: the sender's daily limit
    (2, 0): None,
    # Disabled; but Gmail answers 550 5.2.1 for a mailbox that gets too much mail just now, too.
    (2, 1): OTHER,
    (2, 2): FULL,
    (2, 3): CONTENT,  # too long for this mailbox
    (3, 1): FULL,  # the whole system is
    (3, 4): CONTENT,  # too big for the system
    (5, 0): None,
}
# 1 address, 2 mailbox, 3 mail system, 4 network, 5 protocol, 6 content, 7 security and policy; 0 means nothing.
_SUBJECTS = {1: OTHER, 2: OTHER, 3: OTHER, 4: OTHER, 5: SENDER, 6: CONTENT, 7: SENDER}


def by_status(text: str) -> Refusal | None:
    """The meaning of the enhanced status code at the beginning of a server's answer; None when there is none, or it is
    not specific. A temporary one is never `dead`."""
    if not (found := _STATUS.match(text)):
        return None
    subject, detail = int(found[2]), int(found[3])
    refusal = _DETAILS.get((subject, detail), _SUBJECTS.get(subject))
    return OTHER if refusal == DEAD and found[1] == "4" else refusal


# --- The provider's own classes ---------------------------------------------------------------------------------------


class Meaning(NamedTuple):
    """The kind of a report, and what the provider makes of the refusal."""

    kind: str
    refusal: Refusal | None = None


# Lines of `kind refusal: key, key`. `bounced`: the recipient's server refused it; `rejected`: the provider did not send
# it, and contacted no server. The keys are those that the readers build, in lower case; any other is ignored: opened, …
_TABLE = {
    # https://developers.mailersend.com/api/v1/account/webhooks.html
    "mailersend": """
        sent: sent
        delivered: delivered
        deferred: deferred
        bounced other: soft_bounced
        bounced dead: hard_bounced
        rejected listed: suppressed
        complained: spam_complaint
        unsubscribed: unsubscribed
    """,
    # https://postmarkapp.com/developer/api/bounce-api#bounce-types; the type of a bounce, else of the record
    "postmark": """
        delivered: delivery
        bounced dead: hardbounce, subscriptionchange hardbounce
        bounced other: softbounce, unknown
        deferred: transient, dnserror, openrelaytest
        bounced content: spamnotification, virusnotification
        bounced sender: blocked, dmarcpolicy
        rejected dead: bademailaddress
        rejected listed: manuallydeactivated
        rejected sender: unconfirmed
        failed sender: smtpapierror, templaterenderingfailed
        complained: spamcomplaint, subscriptionchange spamcomplaint
        unsubscribed: unsubscribe, subscriptionchange manualsuppression recipient
    """,
    # https://documentation.mailgun.com/docs/mailgun/user-manual/events/events; `reason` (and `bounce-type`) or the code
    "mailgun": """
        queued: accepted
        delivered: delivered
        rejected sender: rejected
        deferred: temporary
        bounced other: permanent, permanent bounce soft
        bounced dead: permanent bounce
        rejected listed: permanent suppress-bounce, permanent 605
        rejected complained: permanent suppress-complaint, permanent 607
        rejected unsubscribed: permanent suppress-unsubscribe, permanent 606
        complained: complained
        unsubscribed: unsubscribed
    """,
    # Ignored: a report of a server about our signatures (RFC 6591), and one who takes a complaint back (RFC 6430).
    # https://docs.aws.amazon.com/ses/latest/dg/notification-contents.html#bounce-types and #complaint-object
    "ses": """
        sent: send
        delivered: delivery
        deferred: deliverydelay
        deferred full: deliverydelay mailboxfull
        bounced other: bounce permanent, bounce transient, bounce undetermined
        bounced dead: bounce permanent general, bounce permanent noemail
        rejected dead: bounce permanent suppressed
        rejected listed: bounce permanent onaccountsuppressionlist
        rejected unsubscribed: bounce permanent unsubscribedrecipient
        bounced full: bounce transient mailboxfull
        bounced content: bounce transient messagetoolarge
        bounced content: bounce transient contentrejected, bounce transient attachmentrejected
        rejected content: reject
        failed sender: rendering failure
        complained: complaint
        ignored: complaint auth-failure, complaint not-spam
        rejected complained: complaint onaccountsuppressionlist
        unsubscribed: subscription
    """,
    # https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event; the classification, else the type
    "sendgrid": """
        queued: processed
        delivered: delivered
        deferred: deferred
        bounced other: bounce, bounce expired
        bounced other: bounce mailbox unavailable, bounce technical failure, bounce unclassified
        bounced dead: bounce bounce, bounce invalid address
        bounced sender: bounce blocked, bounce reputation, bounce frequency or volume too high
        bounced content: bounce content
        rejected other: dropped
        rejected listed: dropped bounced address
        rejected dead: dropped invalid
        rejected sender: dropped invalid smtpapi header, dropped recipient list over package quota
        rejected content: dropped spam content
        rejected complained: dropped spam reporting address
        rejected unsubscribed: dropped unsubscribed address
        complained: spamreport
        unsubscribed: unsubscribe, group_unsubscribe
    """,
    # https://resend.com/docs/webhooks/event-types; the types of a bounce are those of SES
    "resend": """
        sent: email.sent
        delivered: email.delivered
        deferred: email.delivery_delayed
        bounced other: email.bounced, email.bounced permanent
        bounced dead: email.bounced permanent general, email.bounced permanent noemail
        rejected dead: email.bounced permanent suppressed
        rejected listed: email.bounced permanent onaccountsuppressionlist, email.suppressed
        bounced content: email.bounced permanent messagerejected, email.bounced transient messagetoolarge
        bounced content: email.bounced transient contentrejected, email.bounced transient attachmentrejected
        bounced full: email.bounced transient mailboxfull
        failed sender: email.failed
        complained: email.complained
    """,
    # https://developers.brevo.com/docs/transactional-webhooks
    "brevo": """
        queued: request
        delivered: delivered
        deferred: deferred
        bounced other: soft_bounce
        bounced dead: hard_bounce
        rejected dead: invalid_email
        rejected listed: blocked
        failed sender: error
        complained: spam, complaint
        unsubscribed: unsubscribed, unsubscribe
    """,
}


def _meanings(rows: str) -> dict[str, Meaning]:
    found: dict[str, Meaning] = {}
    for row in rows.strip().splitlines():
        means, _, keys = row.strip().partition(": ")
        kind, _, refusal = means.partition(" ")
        # `complained` and `unsubscribed` are both.
        refusal = refusal or (kind if kind in Refusal.values else "")
        found |= dict.fromkeys(keys.split(", "), Meaning(kind, Refusal(refusal) if refusal else None))
    return found


MEANINGS = {provider: _meanings(rows) for provider, rows in _TABLE.items()}


def meaning(provider: str, keys: Iterable[str], *, status: str = "") -> Meaning | None:
    """The meaning of the first known key of a report, the most exact one first; None when none is known.

    `status` is the answer of the recipient's server, or its enhanced status code: it counts before the provider's
    class, but not where no server was contacted, and a mail that is still being tried makes no address `dead`.
    """
    known = MEANINGS[provider]
    kind, refusal = next((known[word.lower()] for word in keys if word.lower() in known), ("ignored", None))
    answered = by_status(status)
    if kind == "bounced" or (kind == "deferred" and answered != DEAD):
        refusal = answered or refusal
    return None if kind == "ignored" else Meaning(kind, refusal)


# --- Reading ----------------------------------------------------------------------------------------------------------

_UID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one message to one recipient."""

    #: queued, sent, delivered; deferred; bounced (a server refused it), rejected or failed (it never left);
    #: complained, unsubscribed.
    kind: str
    refusal: Refusal | None = None
    #: The provider's own, where it gives one.
    event_id: str = ""
    #: The provider's ids of the message, the one it gave when it took it first.
    message_ids: tuple[str, ...] = ()
    uid: uuid.UUID | None = None
    recipient: str = ""
    at: datetime | None = None
    detail: str = ""


#: Of one report: the keys of its meaning, the most exact one first; the answer of the recipient's server; the rest.
_Found = tuple[list[str], str, dict[str, Any]]


def parse(provider: str, entry: Any, headers: Mapping[str, str]) -> list[Report]:
    """The reports in one entry of a call's body: several where it names several recipients, none where it means
    nothing to us."""
    return [
        Report(*found, **fields)
        for keys, status, fields in _READERS[provider](_Entry(entry), headers)
        if (found := meaning(provider, keys, status=status))
    ]


class _Entry:
    """JSON of which nothing is certain."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def at(self, *path: str) -> _Entry:
        value = self.value
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        return _Entry(value)

    def text(self, *path: str, limit: int = 255) -> str:
        return plain(self.at(*path).value, limit)

    def first(self, *names: str, limit: int = 255) -> str:
        """The first of these that is not empty."""
        return next((found for name in names if (found := self.text(name, limit=limit))), "")

    def items(self, *path: str) -> list[_Entry]:
        value = self.at(*path).value
        return [_Entry(each) for each in value] if isinstance(value, list) else []

    def inner(self, *path: str) -> _Entry:
        """The JSON that a text holds."""
        value = self.at(*path).value
        try:
            return _Entry(json.loads(value)) if isinstance(value, str) else _Entry(None)
        except (ValueError, RecursionError):
            return _Entry(None)


def plain(value: Any, limit: int) -> str:
    """As a column can hold it."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    if isinstance(value, int) and value.bit_length() > 128:
        return ""
    return clean_text(str(value)[: 4 * limit])[:limit]


def _mailersend(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    """Version 1 nests the message in `data.email`; in version 2 that is the recipient's address."""
    data = entry.at("data")
    mail = data.at("email")
    message = mail.at("message") if isinstance(mail.value, Mapping) else data
    fields = {
        "event_id": data.text("id"),
        "message_ids": _ids(message.text("message_id"), "" if message is data else message.text("id")),
        "uid": _uid(mail.at("tags"), data.at("tags")),
        "recipient": _address(mail.at("recipient", "email"), mail, data.at("recipient")),
        "at": _time(data.at("created_at")),
        "detail": data.at("morph").first("readable_reason", "reason", limit=500),
    }
    yield [data.text("type")], data.text("morph", "reason", limit=500), fields


def _postmark(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    record = entry.text("RecordType")
    keys = [entry.text("Type") or record]
    if record == "SubscriptionChange":
        reason = entry.text("SuppressionReason")
        keys = [f"{record} {reason} {entry.text('Origin')}", f"{record} {reason}"]
        if entry.at("SuppressSending").value is not True:
            return
    fields = {
        "event_id": entry.text("ID"),
        "message_ids": _ids(entry.text("Metadata", "anymail_id"), entry.text("MessageID")),
        "uid": _uid(entry.at("Metadata", "uid"), entry.at("Tag")),
        "recipient": _address(entry.at("Email"), entry.at("Recipient")),
        "at": _time(_Entry(entry.first("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt"))),
        "detail": entry.first("Description", "Details", limit=500),
    }
    yield keys, entry.text("Details", limit=500), fields


def _mailgun(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    event, status = entry.at("event-data"), entry.at("event-data", "delivery-status")
    keys = [event.text("event")]
    if keys == ["failed"]:
        severity, reason = event.text("severity"), event.text("reason")
        codes = [f"{reason} {status.text('bounce-type')}", reason, status.text("code")]
        keys = [*[f"{severity} {code}" for code in codes], severity]
    mail_headers = event.at("message", "headers")
    fields = {
        # The id of an event is only unique within a day.
        "event_id": entry.text("signature", "token"),
        "message_ids": _ids(mail_headers.text("message-id")),
        "uid": _uid(event.at("user-variables", "uid"), event.at("tags")),
        "recipient": _address(event.at("recipient"), mail_headers.at("to")),
        "at": _time(event.at("timestamp")),
        "detail": status.first("description", "message", limit=500) or event.text("reject", "reason", limit=500),
    }
    yield keys, status.text("enhanced-code") or status.text("message", limit=500), fields


def _ses(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    """An event in a notification of SNS, or bare where the topic delivers raw messages."""
    event = entry.inner("Message") if entry.text("Type") else entry
    name, mail = event.first("eventType", "notificationType"), event.at("mail")
    about = event.at("failure" if name == "Rendering Failure" else f"{name[:1].lower()}{name[1:]}")
    keys, people = [name], _named(mail, "destination")
    if name == "Bounce":
        kind = f"{name} {about.text('bounceType')}"
        keys, people = [f"{kind} {about.text('bounceSubType')}", kind], about.items("bouncedRecipients")
    elif name == "Complaint":
        kinds = about.text("complaintSubType"), about.text("complaintFeedbackType")
        keys, people = [*[f"{name} {kind}" for kind in kinds], name], about.items("complainedRecipients")
    elif name == "DeliveryDelay":
        keys, people = [f"{name} {about.text('delayType')}", name], about.items("delayedRecipients")
    elif name == "Delivery":
        people = _named(about, "recipients")
    elif name == "Subscription" and about.at("newTopicPreferences", "unsubscribeAll").value is not True:
        return
    given = entry.first("MessageId") or headers.get("x-amz-sns-message-id", "")
    named = {"x-metadata", "x-tag"}
    tagged = [each.at("value") for each in mail.items("headers") if each.text("name").lower() in named]
    for person in people or [_Entry(None)]:
        recipient = _address(person.at("emailAddress"))
        fields = {
            # One notification may speak of several recipients.
            "event_id": f"{given} {recipient}" if given and len(people) > 1 else given,
            "message_ids": _ids(mail.text("messageId")),
            "uid": _uid(*tagged),
            "recipient": recipient,
            "at": _time(about.at("timestamp")) or _time(entry.at("Timestamp")),
            "detail": person.text("diagnosticCode", limit=500) or about.first("reason", "errorMessage", limit=500),
        }
        yield keys, person.first("status", "diagnosticCode", limit=500), fields


def _sendgrid(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    event, kind = entry.text("event"), entry.text("type")
    keys = [f"{event} {entry.text('bounce_classification')}", f"{event} {kind}", event]
    if event == "dropped":
        keys = [f"{event} {entry.text('reason')}", event]
    fields = {
        "event_id": entry.text("sg_event_id"),
        "message_ids": _ids(entry.text("anymail_id"), entry.text("smtp-id")),
        "uid": _uid(entry.at("uid"), entry.at("category")),
        "recipient": _address(entry.at("email")),
        "at": _time(entry.at("timestamp")),
        "detail": entry.first("reason", "response", limit=500),
    }
    yield keys, entry.first("status", "reason", limit=500), fields


def _resend(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    data, bounce, event = entry.at("data"), entry.at("data", "bounce"), entry.text("type")
    people, kind = data.items("to"), f"{event} {bounce.text('type')}"
    tagged = [each.at("value") for each in data.items("headers") if each.text("name").lower().startswith("x-")]
    # A text, or a list of them.
    codes = bounce.items("diagnosticCode") or [bounce.at("diagnosticCode")]
    message = bounce.text("message", limit=500)
    fields = {
        "event_id": headers.get("svix-id", ""),
        "message_ids": _ids(data.text("email_id"), data.text("message_id")),
        "uid": _uid(*tagged),
        # All recipients of the mail; of several, as ours never has, it may be any.
        "recipient": _address(people[0]) if len(people) == 1 else "",
        "at": _time(entry.at("created_at")),
        "detail": message or data.text("suppressed", "message", limit=500) or data.text("failed", "reason", limit=500),
    }
    yield [f"{kind} {bounce.text('subType')}", kind, event], codes[0].text(limit=500) or message, fields


def _brevo(entry: _Entry, headers: Mapping[str, str]) -> Iterator[_Found]:
    reason = entry.text("reason", limit=500)
    fields = {
        "message_ids": _ids(entry.text("message-id")),
        "uid": _uid(entry.inner("X-Mailin-custom").at("uid"), entry.at("tags"), entry.at("tag")),
        "recipient": _address(entry.at("email")),
        "at": _time(entry.at("ts_epoch"), per_second=1000),
        "detail": reason,
    }
    yield [entry.text("event")], reason, fields


_READERS: dict[str, Callable[[_Entry, Mapping[str, str]], Iterator[_Found]]] = {
    "brevo": _brevo,
    "mailersend": _mailersend,
    "mailgun": _mailgun,
    "postmark": _postmark,
    "resend": _resend,
    "sendgrid": _sendgrid,
    "ses": _ses,
}


def _named(entry: _Entry, name: str) -> list[_Entry]:
    """Bare addresses in the form of those with more details."""
    return [_Entry({"emailAddress": each.value}) for each in entry.items(name)]


def _ids(*given: str) -> tuple[str, ...]:
    return tuple(each for each in given if each)


def _uid(*entries: _Entry) -> uuid.UUID | None:
    """The first that travelled with the message, in a text or a list of them."""
    for entry in entries:
        for each in [entry, *entry.items()]:
            if isinstance(each.value, str) and (found := _UID.search(each.value)):
                return uuid.UUID(found[0])
    return None


def _address(*entries: _Entry) -> str:
    """The first that is one, bare or as in "Ada <ada@example.org>"."""
    for value in (entry.value for entry in entries):
        if isinstance(value, str) and len(value) <= 1000:
            with suppress(ValueError):
                return valid_email(value.rpartition("<")[2].rstrip("> "))
    return ""


def _time(entry: _Entry, *, per_second: int = 1) -> datetime | None:
    """A text of ISO 8601, or a number since 1970; None outside 2000 to 2100."""
    value = entry.value
    try:
        if isinstance(value, str) and not value.replace(".", "", 1).isdigit():
            found = parse_datetime(value)
        elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
            found = datetime.fromtimestamp(float(value) / per_second, UTC)
        else:
            return None
        found = found and (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, ArithmeticError, OSError):
        return None
    return found if found and 2000 <= found.year < 2100 else None
