"""What the provider reports after it took a mail: kept once, matched to its message, and acted upon.

django-anymail reads the reports; it is an optional dependency and loaded with the first of them.
"""

from __future__ import annotations

import importlib
import logging
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.db import IntegrityError, transaction
from django.db.models import Exists, OuterRef, Q
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone

from lib.errors import ProductError
from lib.text import storable, valid_email
from notifications import registry
from notifications.models import Attempt, DeliveryEvent, Message, Suppression
from notifications.services import unsubscribing
from notifications.services.clock import moment
from notifications.services.suppressions import suppress

logger = logging.getLogger("switchboard.notifications")

State, Delivery = Message.State, Message.DeliveryState

BOUNCE_LASTS = timedelta(days=30)

# Module and class of django-anymail, by the name in EMAIL_URL.
_VIEWS = {
    "brevo": ("brevo", "BrevoTrackingWebhookView"),
    "mailersend": ("mailersend", "MailerSendTrackingWebhookView"),
    "mailgun": ("mailgun", "MailgunTrackingWebhookView"),
    "postmark": ("postmark", "PostmarkTrackingWebhookView"),
    "resend": ("resend", "ResendTrackingWebhookView"),
    "sendgrid": ("sendgrid", "SendGridTrackingWebhookView"),
    "ses": ("amazon_ses", "AmazonSESTrackingWebhookView"),
}
# Those that sign, and what anymail calls the key. The last two may be given `user:password` instead.
_SIGNING = {
    "mailersend": "signing_secret",
    "mailgun": "webhook_signing_key",
    "resend": "signing_secret",
    "sendgrid": "tracking_webhook_verification_key",
}
_MAY_USE_BASIC = {"resend", "sendgrid"}

# Where a provider says that a bounce is for good: the way into its report, and the words.
_HARD: dict[str, tuple[tuple[str, ...], frozenset[str]]] = {
    "brevo": (("event",), frozenset({"hard_bounce", "invalid_email"})),
    "mailersend": (("data", "type"), frozenset({"hard_bounced"})),
    "mailgun": (("event-data", "severity"), frozenset({"permanent"})),
    "postmark": (("Type",), frozenset({"HardBounce", "BadEmailAddress"})),
    "resend": (("data", "bounce", "type"), frozenset({"Permanent"})),
    "sendgrid": (("type",), frozenset({"bounce"})),
    "ses": (("bounce", "bounceType"), frozenset({"Permanent"})),
}
# No such mailbox or domain (RFC 3463, X.1.x), whatever else the provider calls it.
_BAD_ADDRESS = re.compile(r"\b5\.1\.\d{1,3}\b", re.ASCII)
_UID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)

#: Nobody is followed: what says that a mail was opened is not even kept.
_IGNORED = {"opened", "clicked", "inbound", "inbound_failed"}
_ACCEPTED = {"queued", "sent", "delivered"}
_REFUSED = {"bounced", "rejected", "failed"}
_DELIVERY = {
    "deferred": Delivery.DEFERRED,
    "delivered": Delivery.DELIVERED,
    "bounced": Delivery.BOUNCED,
    "rejected": Delivery.BOUNCED,
    "failed": Delivery.BOUNCED,
    "complained": Delivery.COMPLAINED,
}
_ORDER = ["", *Delivery]
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


def configured() -> str:
    """The provider whose reports are taken, as EMAIL_URL calls it; empty without NOTIFICATIONS_WEBHOOK_SECRET."""
    found = re.fullmatch(r"anymail\.backends\.(\w+)\.EmailBackend", settings.EMAIL_BACKEND)
    modules = {module: name for name, (module, _) in _VIEWS.items()}
    return modules.get(found[1], "") if found and settings.NOTIFICATIONS_WEBHOOK_SECRET else ""


def receive(request: HttpRequest, provider: str) -> HttpResponse:
    """Take one call of the provider, and answer it as it expects.

    Http404 for any other name, SuspiciousOperation for what is not from it, ProductError 400 `WEBHOOK_UNREADABLE`.
    What goes wrong on our side rises: the provider is to call again.
    """
    if not provider or provider != configured():
        raise Http404
    # Read before anything is decided: one that is too large is told so.
    _ = request.body
    view = _view(provider)
    reports = view.signal = _Reports()
    try:
        response: HttpResponse = view.dispatch(request)
    except SuspiciousOperation:
        raise
    except (*_UNREADABLE, _anymail_error()) as error:
        # It knows the secret, and yet what it says cannot be read.
        logger.warning("webhook unreadable", extra={"provider": provider, "error": type(error).__name__})
        raise ProductError("WEBHOOK_UNREADABLE", "This report cannot be read.") from None
    for event in reports.events:
        note(provider, event)
    return response


def note(provider: str, event: Any) -> bool:
    """Keep one report and do what follows from it, both or neither; False when it had come before."""
    kind = _plain(event.event_type, 32) or "unknown"
    if kind in _IGNORED:
        return False
    recipient = _address(event.recipient)
    at = _time(event.timestamp)
    with transaction.atomic():
        message = _message(event)
        try:
            with transaction.atomic():
                DeliveryEvent.objects.create(
                    provider=provider,
                    event_id=_event_id(event, kind),
                    message=message,
                    kind=kind,
                    recipient=recipient,
                    at=at or timezone.now(),
                    detail=_plain(event.description, 500) or _plain(event.mta_response, 500),
                )
        except IntegrityError:
            return False
        if message is not None:
            _move(message, kind, provider_id=_plain(event.message_id, 255))
        # A forwarded mail bounces from elsewhere: what we write to is what we know.
        if address := message.to_address if message else recipient:
            _heed(provider, event, kind, address, message)
    return True


class _Reports:
    """Stands where anymail has a signal: signals are for strangers."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def send(self, *, event: Any, **_: Any) -> None:
        self.events.append(event)


def _view(provider: str) -> Any:
    module, name = _VIEWS[provider]
    view = getattr(importlib.import_module(f"anymail.webhooks.{module}"), name)
    secret = settings.NOTIFICATIONS_WEBHOOK_SECRET
    is_signed = provider in _SIGNING and not (provider in _MAY_USE_BASIC and ":" in secret)
    keys = {_SIGNING[provider]: secret, "webhook_secret": []} if is_signed else {"webhook_secret": secret}
    return view(**keys)


def _anymail_error() -> type[Exception]:
    found: type[Exception] = importlib.import_module("anymail.exceptions").AnymailAPIError
    return found


# --- Reading a report -------------------------------------------------------------------------------------------------


def _event_id(event: Any, kind: str) -> str:
    """Its own id where the provider gives one; else it is the same report when it says the same."""
    given = _plain(event.event_id, 256)
    if 0 < len(given) <= 255:
        return given
    said = [given, kind, _plain(event.message_id, 255), _address(event.recipient), str(event.timestamp)]
    return f"sha256:{sha256(repr(said).encode('utf-8', 'backslashreplace')).hexdigest()}"


def _message(event: Any) -> Message | None:
    """By the uid that travelled with it, else by the provider's id, else by its Message-ID."""
    rows = Message.objects.all()
    if (uid := _uid(event)) and (found := rows.filter(uid=uid).first()):
        return found
    if not (given := _plain(event.message_id, 255)):
        return None
    bare = given.strip("<>")
    return (
        rows.filter(provider_message_id__in={given, bare, f"<{bare}>"}).order_by("-pk").first()
        or rows.filter(message_id=f"<{bare}>").order_by("-pk").first()
    )


def _uid(event: Any) -> uuid.UUID | None:
    metadata = event.metadata if isinstance(event.metadata, Mapping) else {}
    tags = event.tags if isinstance(event.tags, (list, tuple)) else [event.tags]
    for value in (metadata.get("uid"), *tags):
        if isinstance(value, str) and (found := _UID.search(value)):
            return uuid.UUID(found[0])
    return None


def _plain(value: Any, limit: int) -> str:
    """As a column can hold it."""
    if not isinstance(value, (str, int)):
        return ""
    text = str(value)[: 4 * limit]
    return text.replace("\x00", "").encode("utf-8", "replace").decode()[:limit]


def _address(value: Any) -> str:
    try:
        return valid_email(storable(value)) if isinstance(value, str) else ""
    except ValueError:
        return ""


def _time(value: Any) -> datetime | None:
    if not isinstance(value, datetime):
        return None
    try:
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return None


# --- What follows -----------------------------------------------------------------------------------------------------


def _move(message: Message, kind: str, *, provider_id: str) -> None:
    """Bring the row up to what is known now. Each step is one conditional statement, so no order of reports harms."""
    row = Message.objects.filter(pk=message.pk)
    if (reached := _DELIVERY.get(kind)) is not None:
        row.filter(delivery_state__in=_ORDER[: _ORDER.index(reached)]).update(delivery_state=reached)
    if provider_id:
        row.filter(provider_message_id="").update(provider_message_id=provider_id)
    closed: dict[str, Any] = {"due_at": None, "lease_token": None, "lease_owner": "", "handed_at": None}
    if kind in _ACCEPTED:
        # It has arrived, whatever we were told: no second copy.
        row.filter(_in_doubt()).update(
            state=State.SENT,
            reason="reported",
            sent_at=Coalesce("sent_at", moment()),
            finished_at=moment(),
            **closed,
        )
    elif kind in _REFUSED:
        row.filter(state=State.UNKNOWN).update(state=State.FAILED, reason="refused", finished_at=moment(), **closed)


def _in_doubt() -> Q:
    """Handed over once, with no answer: by an attempt that says so, or by a worker that died over it."""
    unanswered = (Attempt.Outcome.AMBIGUOUS, Attempt.Outcome.INTERRUPTED)
    tried = Exists(Attempt.objects.filter(message=OuterRef("pk"), outcome__in=unanswered))
    abandoned = Q(state=State.SENDING, handed_at__isnull=False, due_at__lte=moment())
    return Q(state=State.UNKNOWN) | Q(tried, state__in=Message.OPEN) | abandoned


def _heed(provider: str, event: Any, kind: str, address: str, message: Message | None) -> None:
    """Put the address on the list where the report asks for it."""
    source = f"webhook:{provider}"
    scope = message.category if message and not _is_required(message) else Suppression.OPTIONAL
    if kind == "complained":
        suppress(address, scope=scope, reason=Suppression.Reason.COMPLAINT, source=source)
    elif kind == "unsubscribed":
        if scope == Suppression.OPTIONAL:
            suppress(address, scope=scope, reason=Suppression.Reason.UNSUBSCRIBE, source=source)
        else:
            unsubscribing.unsubscribe(unsubscribing.Link(address, scope), source=source)
    elif kind in {"bounced", "rejected"} and _is_hard(provider, event):
        suppress(
            address,
            scope=Suppression.ALL,
            reason=Suppression.Reason.BOUNCE,
            source=source,
            expires_at=timezone.now() + BOUNCE_LASTS,
        )


def _is_required(message: Message) -> bool:
    try:
        return registry.get(message.type).required
    except registry.UnknownType:
        return registry.category(message.category).is_fixed


def _is_hard(provider: str, event: Any) -> bool:
    if event.reject_reason == "invalid" or _BAD_ADDRESS.search(_plain(event.mta_response, 500)):
        return True
    path, words = _HARD[provider]
    value: Any = event.esp_event
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else None
    return isinstance(value, str) and value in words
