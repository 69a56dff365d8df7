"""Reports of the mail provider (bounces, complaints, deliveries): stored once, matched to a message, acted upon."""

from __future__ import annotations

import importlib
import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from lib import mail_providers
from lib.db import batches
from lib.errors import ProductError
from notifications import metrics, providers, registry, reports
from notifications.models import Attempt, DeliveryEvent, Message, Refusal, Suppression, moment
from notifications.reports import Report
from notifications.services import claims, preferences, recipients

logger = logging.getLogger("switchboard.notifications")

State, Delivery, Reason = Message.State, Message.DeliveryState, Suppression.Reason

NOT_SENT = "not_sent"

_ACCEPTED = {"queued", "sent", "delivered"}
_NEVER_LEFT = {"rejected", "failed"}
_DELIVERY = {
    "deferred": Delivery.DEFERRED,
    "delivered": Delivery.DELIVERED,
    "bounced": Delivery.BOUNCED,
    "rejected": Delivery.BOUNCED,
    "failed": Delivery.BOUNCED,
    "complained": Delivery.COMPLAINED,
}
#: Reports in one transaction: on SQLite no one else can write meanwhile.
_SLICE = 50
_ORDER = ["", *Delivery]
_TOPIC = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]{1,32}):\d{12}:[\w.-]{1,256}", re.ASCII)


def configured() -> str:
    """The provider whose reports can be read, as EMAIL_URL calls it; empty when there is none."""
    alias = providers.configured().alias
    row = mail_providers.PROVIDERS.get(alias)
    return alias if row and row.webhook else ""


def store(provider: str, report: Report) -> bool:
    """Store one report and apply it, both or neither; False when it is a repeat.

    Raises: MESSAGE_STATE (503) for one that is too early: the provider has to call again.
    """
    with transaction.atomic():
        message = _message(report)
        try:
            with transaction.atomic():
                what = {"kind": report.kind, "refusal": report.refusal or "", "detail": report.detail}
                when = {"recipient": report.recipient, "at": report.at or timezone.now()}
                event_id = _event_id(report)
                DeliveryEvent.objects.create(provider=provider, event_id=event_id, message=message, **what, **when)
        except IntegrityError:
            return False
        if message is not None:
            is_held = Message.objects.filter(pk=message.pk, state=State.SENDING, due_at__gt=moment())
            if report.kind in _NEVER_LEFT and is_held.exists():
                # The worker has yet to record that it was accepted, and would overwrite this.
                raise ProductError("MESSAGE_STATE", "This message is being sent.", status=503)
            _update(message, report)
        _suppress(provider, report, message)
    return True


def store_each(provider: str, entries: Sequence[Any], headers: Mapping[str, str]) -> None:
    """Store every report of a call, whatever the others are; the first error is raised at the end."""
    found: list[Report] = []
    for n, entry in enumerate(entries):
        reported = reports.parse(provider, entry, headers)
        if not reported:
            metrics.REPORTS.add(provider, "ignored")
        for report in reported:
            if len(entries) > 1 and provider == "resend":
                # The id is that of the call.
                report = replace(report, event_id=f"{report.event_id} {n}")
            found.append(report)
    failures = [failure for part in batches(found, _SLICE) for failure in _store_slice(provider, part)]
    if failures:
        raise failures[0]


def _store_slice(provider: str, part: Sequence[Report]) -> list[Exception]:
    """Store these in one transaction, which costs less than one each; what fails is undone alone."""
    counts: Counter[str] = Counter()
    failures: list[Exception] = []
    with transaction.atomic():
        events = DeliveryEvent.objects.filter(provider=provider, event_id__in=map(_event_id, part))
        known = set(events.values_list("event_id", flat=True)) if len(part) > 1 else set()
        for report in part:
            try:
                is_new = _event_id(report) not in known and store(provider, report)
                counts[report.kind if is_new else "repeated"] += 1
            except (OperationalError, InterfaceError):
                raise
            except Exception as error:
                failures.append(error)
    for kind in counts.elements():
        metrics.REPORTS.add(provider, kind)
    return failures


def confirm_subscription(content: dict[str, Any]) -> None:
    """Accept the subscription of an SNS topic: its call has proved that it knows the secret.

    Raises what boto3 does, and WEBHOOK_UNREADABLE (400) when it names no topic.
    """
    topic, token = content.get("TopicArn"), content.get("Token")
    found = _TOPIC.fullmatch(topic) if isinstance(topic, str) else None
    if not (found and isinstance(token, str)):
        raise ProductError("WEBHOOK_UNREADABLE", "This confirmation names no topic or token.")
    parameters: dict[str, Any] = getattr(settings, "ANYMAIL", {}).get("AMAZON_SES_CLIENT_PARAMS", {})
    config = importlib.import_module("botocore.config").Config(**parameters.get("config", {}))
    client = importlib.import_module("boto3").client("sns", **{**parameters, "region_name": found[1], "config": config})
    try:
        client.confirm_subscription(TopicArn=topic, Token=token, AuthenticateOnUnsubscribe="true")
    finally:
        client.close()


# --- Matching ---------------------------------------------------------------------------------------------------------


def _event_id(report: Report) -> str:
    """The id that the provider gives, else a hash of the content."""
    given = reports.plain(report.event_id, 256)
    if 0 < len(given) <= 255:
        return given
    content = [given, report.kind, report.message_ids, report.recipient, str(report.at)]
    return f"sha256:{sha256(repr(content).encode('utf-8', 'backslashreplace')).hexdigest()}"


def _message(report: Report) -> Message | None:
    """By the uid that travelled with it, else by the provider's id, else by its Message-ID."""
    rows = Message.objects.order_by("-pk")
    if report.uid and (found := rows.filter(uid=report.uid).first()):
        return found
    if not (spellings := _spellings(*report.message_ids)):
        return None
    return rows.filter(provider_message_id__in=spellings).first() or rows.filter(message_id__in=spellings).first()


def _spellings(*ids: str) -> set[str]:
    """With its angle brackets and without."""
    return {spelling for each in ids for spelling in (each, each.strip("<>"), f"<{each.strip('<>')}>")}


# --- What follows -----------------------------------------------------------------------------------------------------


def _update(message: Message, report: Report) -> None:
    """Update the row. Each step is one conditional statement, so reports may come in any order."""
    row, kind = Message.objects.filter(pk=message.pk), report.kind
    ids = _spellings(*report.message_ids)
    if kind in _NEVER_LEFT:
        # Not one that arrived, nor an earlier hand-over of one that was handed over again since.
        ours = row.filter(provider_message_id__in={"", *ids}) if ids else row
        ours = ours.filter(state__in=(State.SENT, State.UNKNOWN), delivery_state__in=("", Delivery.DEFERRED))
        failed = {"state": State.FAILED, "reason": NOT_SENT, "last_error": report.detail, **Message.CLOSED}
        if ours.update(**failed, finished_at=moment()):
            claims.publish_failure(message, NOT_SENT, kind)
    if (reached := _DELIVERY.get(kind)) is not None:
        row.filter(delivery_state__in=_ORDER[: _ORDER.index(reached)]).update(delivery_state=reached)
    if report.message_ids:
        row.filter(provider_message_id="").update(provider_message_id=report.message_ids[0])
    if kind in _ACCEPTED:
        # It has arrived, whatever the answer was: no second copy.
        sent = {"state": State.SENT, "sent_at": Coalesce("sent_at", moment()), **Message.CLOSED}
        row.filter(_in_doubt()).update(**sent, reason="reported", finished_at=moment())
    elif kind == "bounced":
        failed = {"state": State.FAILED, "reason": "refused", **Message.CLOSED}
        if row.filter(state=State.UNKNOWN).update(**failed, finished_at=moment()):
            claims.publish_failure(message, "refused", kind)
    if kind == "delivered":
        row.filter(state=State.FAILED, reason=NOT_SENT).update(
            state=State.SENT, reason="reported", delivery_state=reached, finished_at=moment()
        )


def _in_doubt() -> Q:
    """Handed over once, with no answer: recorded by an attempt, or left by a worker that died."""
    unanswered = (Attempt.Outcome.AMBIGUOUS, Attempt.Outcome.INTERRUPTED)
    tried = Exists(Attempt.objects.filter(message=OuterRef("pk"), outcome__in=unanswered))
    abandoned = Q(state=State.SENDING, handed_at__isnull=False, due_at__lte=moment())
    return Q(state=State.UNKNOWN) | Q(tried, state__in=Message.OPEN) | abandoned


def _suppress(provider: str, report: Report, message: Message | None) -> None:
    """Put an address on the suppression list where the report calls for it.

    All mail ends only for a dead mailbox, and for the reported address: a forwarded mail may bounce from elsewhere.
    Complaints and unsubscriptions end optional mail only, at the address we write to.
    """
    source, ours = f"webhook:{provider}", message.to_address if message else ""
    if report.refusal == Refusal.DEAD:
        if address := report.recipient or ours:
            recipients.suppress_dead(address, source=source)
    elif report.refusal in {Refusal.COMPLAINED, Refusal.UNSUBSCRIBED} and (address := ours or report.recipient):
        scope = Suppression.OPTIONAL
        if message is not None:
            kind = registry.find(message.type)
            is_required = kind.required if kind else registry.category(message.category).is_fixed
            scope = scope if is_required else message.category
        reason = Reason.COMPLAINT if report.refusal == Refusal.COMPLAINED else Reason.UNSUBSCRIBE
        if reason == Reason.UNSUBSCRIBE and scope != Suppression.OPTIONAL:
            preferences.unsubscribe(preferences.Link(address, scope), source=source)
        else:
            recipients.suppress(address, scope=scope, reason=reason, source=source)
