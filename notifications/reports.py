"""Reading what a provider reports, as far as it can be read: no shape of it raises.

django-anymail reads such reports too, but one at a time, not every kind, and not MailerSend's second version.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime

from lib.addresses import valid_email
from lib.text import clean_text
from notifications.models import Refusal
from notifications.refusals import meaning

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


def read(provider: str, entry: Any, headers: Mapping[str, str]) -> list[Report]:
    """The reports in one entry of a call's body: several where it names several recipients, none where it means
    nothing to us."""
    return list(_READERS[provider](_Entry(entry), headers))


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


def _mailersend(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    """Version 1 nests the message in `data.email`; in version 2 that is the recipient's address."""
    data = entry.at("data")
    if found := meaning("mailersend", [data.text("type")], status=data.text("morph", "reason", limit=500)):
        mail = data.at("email")
        message = mail.at("message") if isinstance(mail.value, Mapping) else data
        yield Report(
            *found,
            event_id=data.text("id"),
            message_ids=_ids(message.text("message_id"), "" if message is data else message.text("id")),
            uid=_uid(mail.at("tags"), data.at("tags")),
            recipient=_address(mail.at("recipient", "email")) or _address(mail) or _address(data.at("recipient")),
            at=_time(data.at("created_at")),
            detail=data.at("morph").first("readable_reason", "reason", limit=500),
        )


def _postmark(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    record = entry.text("RecordType")
    keys = [entry.text("Type") or record]
    if record == "SubscriptionChange":
        reason = entry.text("SuppressionReason")
        keys = [f"{record} {reason} {entry.text('Origin')}", f"{record} {reason}"]
        if entry.at("SuppressSending").value is not True:
            return
    if found := meaning("postmark", keys, status=entry.text("Details", limit=500)):
        when = entry.first("DeliveredAt", "BouncedAt", "ReceivedAt", "ChangedAt")
        yield Report(
            *found,
            event_id=entry.text("ID"),
            message_ids=_ids(entry.text("Metadata", "anymail_id"), entry.text("MessageID")),
            uid=_uid(entry.at("Metadata", "uid"), entry.at("Tag")),
            recipient=_address(entry.at("Email")) or _address(entry.at("Recipient")),
            at=_time(_Entry(when)),
            detail=entry.first("Description", "Details", limit=500),
        )


def _mailgun(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    event, status = entry.at("event-data"), entry.at("event-data", "delivery-status")
    keys = [event.text("event")]
    if keys == ["failed"]:
        severity, reason = event.text("severity"), event.text("reason")
        codes = [f"{reason} {status.text('bounce-type')}", reason, status.text("code")]
        keys = [*[f"{severity} {code}" for code in codes], severity]
    answer = status.text("enhanced-code") or status.text("message", limit=500)
    if found := meaning("mailgun", keys, status=answer):
        headers_ = event.at("message", "headers")
        yield Report(
            *found,
            # The id of an event is only unique within a day.
            event_id=entry.text("signature", "token"),
            message_ids=_ids(headers_.text("message-id")),
            uid=_uid(event.at("user-variables", "uid"), event.at("tags")),
            recipient=_address(event.at("recipient")) or _address(headers_.at("to")),
            at=_time(event.at("timestamp")),
            detail=status.first("description", "message", limit=500) or event.text("reject", "reason", limit=500),
        )


def _ses(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    """An event in a notification of SNS, or bare where the topic delivers raw messages."""
    event = entry.inner("Message") if entry.text("Type") else entry
    name = event.first("eventType", "notificationType")
    about = event.at("failure" if name == "Rendering Failure" else f"{name[:1].lower()}{name[1:]}")
    keys, people = [name], _named(event.at("mail"), "destination")
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
    mail, given = event.at("mail"), entry.first("MessageId") or headers.get("x-amz-sns-message-id", "")
    tagged = [
        each.at("value") for each in mail.items("headers") if each.text("name").lower() in {"x-metadata", "x-tag"}
    ]
    for person in people or [_Entry(None)]:
        answer = person.first("status", "diagnosticCode", limit=500)
        if found := meaning("ses", keys, status=answer):
            recipient = _address(person.at("emailAddress"))
            yield Report(
                *found,
                # One notification may speak of several recipients.
                event_id=f"{given} {recipient}" if given and len(people) > 1 else given,
                message_ids=_ids(mail.text("messageId")),
                uid=_uid(*tagged),
                recipient=recipient,
                at=_time(about.at("timestamp")) or _time(entry.at("Timestamp")),
                detail=person.text("diagnosticCode", limit=500) or about.first("reason", "errorMessage", limit=500),
            )


def _sendgrid(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    event, kind = entry.text("event"), entry.text("type")
    keys = [f"{event} {entry.text('bounce_classification')}", f"{event} {kind}", event]
    if event == "dropped":
        keys = [f"{event} {entry.text('reason')}", event]
    if found := meaning("sendgrid", keys, status=entry.first("status", "reason", limit=500)):
        yield Report(
            *found,
            event_id=entry.text("sg_event_id"),
            message_ids=_ids(entry.text("anymail_id"), entry.text("smtp-id")),
            uid=_uid(entry.at("uid"), entry.at("category")),
            recipient=_address(entry.at("email")),
            at=_time(entry.at("timestamp")),
            detail=entry.first("reason", "response", limit=500),
        )


def _resend(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    data, bounce = entry.at("data"), entry.at("data", "bounce")
    people = data.items("to")
    event, kind = entry.text("type"), bounce.text("type")
    # A text, or a list of them.
    codes = bounce.items("diagnosticCode") or [bounce.at("diagnosticCode")]
    answer = codes[0].text(limit=500) or bounce.text("message", limit=500)
    keys = [f"{event} {kind} {bounce.text('subType')}", f"{event} {kind}", event]
    if found := meaning("resend", keys, status=answer):
        message = bounce.text("message", limit=500) or data.text("suppressed", "message", limit=500)
        tagged = [each.at("value") for each in data.items("headers") if each.text("name").lower().startswith("x-")]
        yield Report(
            *found,
            event_id=headers.get("svix-id", ""),
            message_ids=_ids(data.text("email_id"), data.text("message_id")),
            uid=_uid(*tagged),
            # All recipients of the mail; of several, as ours never has, it may be any.
            recipient=_address(people[0]) if len(people) == 1 else "",
            at=_time(entry.at("created_at")),
            detail=message or data.text("failed", "reason", limit=500),
        )


def _brevo(entry: _Entry, headers: Mapping[str, str]) -> Iterator[Report]:
    if found := meaning("brevo", [entry.text("event")], status=entry.text("reason", limit=500)):
        yield Report(
            *found,
            message_ids=_ids(entry.text("message-id")),
            uid=_uid(entry.inner("X-Mailin-custom").at("uid"), entry.at("tags"), entry.at("tag")),
            recipient=_address(entry.at("email")),
            at=_time(entry.at("ts_epoch"), per_second=1000),
            detail=entry.text("reason", limit=500),
        )


_READERS: dict[str, Callable[[_Entry, Mapping[str, str]], Iterator[Report]]] = {
    "brevo": _brevo,
    "mailersend": _mailersend,
    "mailgun": _mailgun,
    "postmark": _postmark,
    "resend": _resend,
    "sendgrid": _sendgrid,
    "ses": _ses,
}
PROVIDERS = frozenset(_READERS)


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


def _address(entry: _Entry) -> str:
    """Bare, or as in "Ada <ada@example.org>"."""
    if not isinstance(entry.value, str) or len(entry.value) > 1000:
        return ""
    try:
        return valid_email(entry.value.rpartition("<")[2].rstrip("> "))
    except ValueError:
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
