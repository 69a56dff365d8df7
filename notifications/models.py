"""The outbox, what is known of recipients, templates of staff, and what runs. Nothing here holds a secret."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.db import connection, models
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def moment(after: timedelta = timedelta(0)) -> Any:
    """Now, plus `after`, as a value to write or to compare with: the clock of PostgreSQL, because hosts disagree."""
    if connection.vendor == "postgresql":
        return Now() + after if after else Now()
    return timezone.now() + after


def database_time() -> datetime:
    """The time on the clock of `moment`, read now."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT statement_timestamp()")
            found: datetime = cursor.fetchone()[0]
            return found
    return timezone.now()


class Severity(models.TextChoices):
    """How much what people read in the product matters."""

    INFO = "info", _("Info")
    SUCCESS = "success", _("Success")
    WARNING = "warning", _("Warning")
    ERROR = "error", _("Error")


class Announcement(models.Model):
    """One text to many people at once: a draft, counted slice by slice, then sent the same way.

    Only `services.announcements` writes here. `cursor` is the key of the last person looked at: a slice is written in
    one transaction with the cursor that it moves.
    """

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        SENDING = "sending", _("Sending")
        PAUSED = "paused", _("Paused")
        DONE = "done", _("Done")
        CANCELLED = "cancelled", _("Cancelled")

    # By language: {"title", "body"}. Readers of a language that is missing get the first one.
    words = models.JSONField(_("words"), default=dict)
    url = models.CharField(_("link"), max_length=2000, blank=True)
    severity = models.CharField(_("severity"), max_length=8, choices=Severity.choices, default=Severity.INFO)
    channels = models.JSONField(_("channels"), default=list)

    # The name of one of `notifications.audiences`, which of its choices, and both in words.
    audience = models.CharField(_("audience"), max_length=32)
    choice = models.CharField(max_length=300, blank=True)
    audience_label = models.CharField(_("audience"), max_length=300)
    people = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="+", blank=True)

    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.DRAFT)
    #: Raised by every change that staff make: what is sent is what was looked at.
    version = models.PositiveIntegerField(default=1)
    cursor = models.CharField(max_length=64, blank=True)
    # How many were looked at, get it or are left out, so far: those of a draft, then those written to.
    counts = models.JSONField(default=dict)
    counted_at = models.DateTimeField(_("counted"), null=True)
    #: The counts of the draft as it was sent.
    expected = models.JSONField(default=dict)
    #: How many of its messages are in each state, as last looked at.
    delivery = models.JSONField(default=dict)
    #: Whether the messages that wait have followed the state: held back, let go or cancelled.
    is_settled = models.BooleanField(default=True)
    note = models.CharField(_("why"), max_length=200, blank=True)

    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.CharField(max_length=64, blank=True)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)
    updated_by = models.CharField(max_length=64, blank=True)
    started_at = models.DateTimeField(_("sent"), null=True)
    started_by = models.CharField(max_length=64, blank=True)
    written_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)

    class Meta:
        verbose_name = _("announcement")
        verbose_name_plural = _("announcements")
        default_permissions = ("view",)
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=Q(state="draft") | Q(started_at__isnull=False), name="announcement_sent_has_time"
            ),
        )

    def __str__(self) -> str:
        return self.read_in(settings.NOTIFICATIONS_LANGUAGES[0])[1]["title"] if self.words else ""

    def read_in(self, language: str) -> tuple[str, dict[str, str]]:
        """The language and the words for readers of this one: their own, or the first that there are."""
        known = [code for code in settings.NOTIFICATIONS_LANGUAGES if code in self.words] or sorted(self.words)
        code = language if language in self.words else known[0]
        return code, self.words[code]


class Message(models.Model):
    """One message to one address, over one channel. Only `services` writes here."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        SENDING = "sending", _("Sending")
        SENT = "sent", _("Sent")
        FAILED = "failed", _("Failed")
        UNKNOWN = "unknown", _("Unknown")
        CANCELLED = "cancelled", _("Cancelled")
        SUPPRESSED = "suppressed", _("Suppressed")
        EXPIRED = "expired", _("Expired")

    class Channel(models.TextChoices):
        EMAIL = "email", _("E-mail")

    class DeliveryState(models.TextChoices):
        """What the provider reported afterwards, in the order it may rise."""

        DEFERRED = "deferred", _("Deferred")
        DELIVERED = "delivered", _("Delivered")
        BOUNCED = "bounced", _("Bounced")
        COMPLAINED = "complained", _("Complained about")

    OPEN = (State.QUEUED, State.SENDING)
    #: What goes when it is open no more.
    CLOSED: ClassVar[dict[str, Any]] = {"due_at": None, "lease_token": None, "lease_owner": "", "handed_at": None}

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="copies", verbose_name=_("resend of")
    )
    # Its indexes are (announcement, state, id) and (announcement, id).
    announcement = models.ForeignKey(
        Announcement,
        on_delete=models.SET_NULL,
        null=True,
        related_name="messages",
        db_index=False,
        verbose_name=_("announcement"),
    )
    event_key = models.CharField(_("event"), max_length=200, null=True, blank=True)
    message_id = models.CharField("Message-ID", max_length=255)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    type = models.CharField(_("type"), max_length=100)
    category = models.CharField(_("category"), max_length=50)
    channel = models.CharField(_("channel"), max_length=16, choices=Channel.choices, default=Channel.EMAIL)
    language = models.CharField(_("language"), max_length=16)
    context = models.JSONField(default=dict)

    # Its index is (user, created_at).
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", db_index=False
    )
    to_address = models.EmailField(_("recipient"), max_length=254)
    to_name = models.CharField(_("recipient's name"), max_length=120, blank=True)

    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    priority = models.SmallIntegerField(_("priority"))
    due_at = models.DateTimeField(
        _("next try"), null=True, help_text=_("Queued: not before this time. Sending: another worker may take it then.")
    )
    expires_at = models.DateTimeField(_("expires"))
    attempts = models.SmallIntegerField(_("attempts"), default=0)
    max_attempts = models.SmallIntegerField(_("at most"))

    lease_token = models.UUIDField(null=True)
    lease_owner = models.CharField(_("worker"), max_length=120, blank=True)
    handed_at = models.DateTimeField(
        _("handed over"), null=True, help_text=_("Given to the mail server, and its answer not noted.")
    )

    provider = models.CharField(_("provider"), max_length=32, blank=True)
    provider_message_id = models.CharField(_("provider's id"), max_length=255, blank=True)
    delivery_state = models.CharField(_("delivery"), max_length=12, choices=DeliveryState.choices, blank=True)
    subject = models.CharField(
        _("subject"), max_length=200, blank=True, help_text=_("As sent; codes and links are hidden.")
    )
    template_source = models.CharField(_("template"), max_length=100, blank=True)

    reason = models.CharField(_("reason"), max_length=40, blank=True)
    last_code = models.CharField(_("last code"), max_length=64, blank=True)
    last_error = models.CharField(_("last error"), max_length=500, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    #: The trace of that request (W3C), where there was one.
    traceparent = models.CharField(max_length=55, null=True, editable=False)

    class Meta:
        verbose_name = _("message")
        verbose_name_plural = _("messages")
        constraints = (
            models.UniqueConstraint(
                fields=["event_key", "channel", "to_address"],
                condition=Q(event_key__isnull=False),
                name="message_once_per_event",
            ),
            models.CheckConstraint(
                condition=Q(due_at__isnull=False, state__in=["queued", "sending"])
                | (Q(due_at__isnull=True) & ~Q(state__in=["queued", "sending"])),
                name="message_due_exactly_while_open",
            ),
            models.CheckConstraint(
                condition=~Q(state="sending") | Q(lease_token__isnull=False), name="message_sending_has_lease"
            ),
        )
        indexes = (
            # Not conditioned on the state: with bound parameters neither database would use it for the claim.
            models.Index(fields=["priority", "due_at"], condition=Q(due_at__isnull=False), name="message_due"),
            # With the id, so that a page of the admin's list of one state is a range of it.
            models.Index(fields=["state", "finished_at", "id"], name="message_state_finished"),
            # Equal addresses and, on PostgreSQL by these classes, addresses that begin alike.
            models.Index(
                fields=["to_address", "created_at"],
                opclasses=["varchar_pattern_ops", "timestamptz_ops"],
                name="message_address_created",
            ),
            models.Index(fields=["user", "created_at"], name="message_user_created"),
            models.Index(fields=["message_id"], name="message_message_id"),
            models.Index(
                fields=["announcement", "state", "id"],
                condition=Q(announcement__isnull=False),
                name="message_announcement_state",
            ),
            # All of one, newest first.
            models.Index(
                fields=["announcement", "id"], condition=Q(announcement__isnull=False), name="message_announcement"
            ),
            models.Index(
                fields=["provider_message_id"], condition=~Q(provider_message_id=""), name="message_provider_id"
            ),
        )
        permissions = (
            ("retry_message", "Can send a message again"),
            ("cancel_message", "Can cancel a message"),
            ("resend_message", "Can send a copy of a message"),
            ("view_message_body", "Can read what a message says"),
        )

    def __str__(self) -> str:
        return str(self.uid)


class Attempt(models.Model):
    """One try to deliver a message; only ever added."""

    class Outcome(models.TextChoices):
        ACCEPTED = "accepted", _("Accepted")
        TEMPORARY = "temporary", _("Refused for now")
        PERMANENT = "permanent", _("Refused")
        AMBIGUOUS = "ambiguous", _("No answer")
        TRANSPORT_DOWN = "transport_down", _("Mail server away")
        RENDER_ERROR = "render_error", _("Cannot be rendered")
        INTERRUPTED = "interrupted", _("Worker died while sending")
        WORKER_KILLER = "worker_killer", _("Workers died of it")
        WITHDRAWN = "withdrawn", _("Withdrawn")
        SUPPRESSED = "suppressed", _("Suppressed")
        EXPIRED = "expired", _("Expired")
        LOST_LEASE = "lost_lease", _("Taken by another worker")

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="tries")
    n = models.SmallIntegerField(_("attempt"))
    worker = models.CharField(_("worker"), max_length=120)
    provider = models.CharField(_("provider"), max_length=32, blank=True)
    created_at = models.DateTimeField(_("started"))
    duration_ms = models.IntegerField(_("milliseconds"))
    outcome = models.CharField(_("outcome"), max_length=16, choices=Outcome.choices)
    code = models.CharField(_("code"), max_length=64, blank=True)
    response = models.CharField(_("answer"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.n}: {self.get_outcome_display()}"


class Refusal(models.TextChoices):
    """Whose trouble it is that a message was refused; `notifications.reports` decides. Only `dead` ends all mail."""

    DEAD = "dead", _("no such mailbox")
    FULL = "full", _("mailbox full")
    CONTENT = "content", _("content refused")
    SENDER = "sender", _("sender refused")
    LISTED = "listed", _("on the provider's list")
    COMPLAINED = "complained", _("marked as spam")
    UNSUBSCRIBED = "unsubscribed", _("unsubscribed")
    OTHER = "other", _("unspecified")


#: The events django-anymail knows.
REPORTS: dict[str, Any] = {
    "queued": _("queued"),
    "sent": _("sent"),
    "delivered": _("delivered"),
    "deferred": _("deferred"),
    "bounced": _("bounced"),
    "rejected": _("rejected"),
    "failed": _("failed"),
    "complained": _("complained"),
    "unsubscribed": _("unsubscribed"),
}


class DeliveryEvent(models.Model):
    """One report of a provider about one recipient, kept once however often it comes; only ever added."""

    provider = models.CharField(_("provider"), max_length=32)
    event_id = models.CharField(_("event's id"), max_length=255)
    message = models.ForeignKey(
        Message, on_delete=models.SET_NULL, null=True, related_name="events", verbose_name=_("message")
    )
    # A kind of `notifications.reports`: delivered, deferred, bounced, rejected, complained, unsubscribed, …
    kind = models.CharField(_("event"), max_length=32)
    refusal = models.CharField(
        _("refusal"), max_length=12, choices=Refusal.choices, blank=True, default="", db_default=""
    )
    recipient = models.EmailField(_("recipient"), max_length=254, blank=True)
    at = models.DateTimeField(_("happened"))
    received_at = models.DateTimeField(_("received"), default=timezone.now)
    detail = models.CharField(_("detail"), max_length=500, blank=True)

    class Meta:
        verbose_name = _("delivery event")
        verbose_name_plural = _("delivery events")
        ordering = ("pk",)
        constraints = (models.UniqueConstraint(fields=["provider", "event_id"], name="delivery_event_once"),)
        indexes = (
            models.Index(fields=["received_at"], name="delivery_event_received"),
            models.Index(fields=["recipient"], name="delivery_event_recipient"),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.recipient}"

    @property
    def summary(self) -> str:
        """`bounced`, or with its reason: `bounced: mailbox full`."""
        adds_nothing = self.refusal in {"", self.kind, Refusal.OTHER}
        kind = str(REPORTS.get(self.kind, self.kind))
        return kind if adds_nothing else f"{kind}: {self.get_refusal_display()}"


class Suppression(models.Model):
    """An address that is not written to: at all, with nothing optional, or with nothing of one category."""

    ALL, OPTIONAL = "all", "optional"

    class Reason(models.TextChoices):
        BOUNCE = "bounce", _("The address does not exist")
        COMPLAINT = "complaint", _("Marked as spam")
        UNSUBSCRIBE = "unsubscribe", _("Unsubscribed")
        STAFF = "staff", _("By staff")

    created_at = models.DateTimeField(_("created"), default=timezone.now)
    channel = models.CharField(
        _("channel"), max_length=16, choices=Message.Channel.choices, default=Message.Channel.EMAIL
    )
    address = models.CharField(_("address"), max_length=254)  # in lower case
    scope = models.CharField(_("what"), max_length=50, help_text=_("`all`, `optional` or a category."))
    reason = models.CharField(_("reason"), max_length=16, choices=Reason.choices)
    source = models.CharField(_("source"), max_length=200, blank=True, help_text=_("Who or what reported it."))
    expires_at = models.DateTimeField(_("until"), null=True, blank=True, help_text=_("Empty: for ever."))

    class Meta:
        verbose_name = _("suppression")
        verbose_name_plural = _("suppressions")
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(fields=["address", "channel", "scope"], name="suppression_once_per_scope"),
        )
        indexes = (models.Index(fields=["expires_at"], name="suppression_expires"),)

    def __str__(self) -> str:
        return f"{self.address}: {self.scope}"


class Preference(models.Model):
    """What a user has chosen for a category and channel; without a row the category's own default holds."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    category = models.CharField(_("category"), max_length=50)
    channel = models.CharField(_("channel"), max_length=16)
    enabled = models.BooleanField(_("wanted"))
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("preference")
        verbose_name_plural = _("preferences")
        ordering = ("category", "channel")
        constraints = (
            models.UniqueConstraint(fields=["user", "category", "channel"], name="preference_once_per_channel"),
        )

    def __str__(self) -> str:
        return f"{self.category}, {self.channel}"


class InAppNotification(models.Model):
    """What a person finds inside the product. Its title and body are written when it is made."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+", db_index=False)
    type = models.CharField(_("type"), max_length=100)
    category = models.CharField(_("category"), max_length=50)
    title = models.CharField(_("title"), max_length=200)
    body = models.TextField(_("text"), blank=True)
    url = models.CharField(_("link"), max_length=2000, blank=True)
    data = models.JSONField(default=dict, blank=True)
    severity = models.CharField(_("severity"), max_length=8, choices=Severity.choices, default=Severity.INFO)
    key = models.CharField(_("event"), max_length=200, null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    seen_at = models.DateTimeField(_("seen"), null=True, blank=True)
    read_at = models.DateTimeField(_("read"), null=True, blank=True)
    archived_at = models.DateTimeField(_("archived"), null=True, blank=True)

    class Meta:
        verbose_name = _("in-app notification")
        verbose_name_plural = _("in-app notifications")
        ordering = ("-pk",)
        constraints = (
            models.UniqueConstraint(
                fields=["user", "key"], condition=Q(key__isnull=False), name="inapp_once_per_event"
            ),
        )
        indexes = (
            models.Index(fields=["user", "-id"], name="inapp_user_newest"),
            models.Index(
                fields=["user"], condition=Q(read_at__isnull=True, archived_at__isnull=True), name="inapp_unread"
            ),
            models.Index(fields=["read_at"], condition=Q(read_at__isnull=False), name="inapp_read"),
        )

    def __str__(self) -> str:
        return self.title


class TemplateOverride(models.Model):
    """One version of what staff wrote in place of a template file; at most one version of a part is active."""

    class Part(models.TextChoices):
        SUBJECT = "subject", _("Subject")
        TEXT = "text", _("Text")
        HTML = "html", _("HTML")

    type = models.CharField(_("type"), max_length=100)
    language = models.CharField(_("language"), max_length=16)
    part = models.CharField(_("part"), max_length=8, choices=Part.choices)
    body = models.TextField(_("template"))
    version = models.PositiveIntegerField(_("version"))
    active = models.BooleanField(_("in use"), default=False)
    edited_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    edited_by_label = models.CharField(_("by"), max_length=64)
    note = models.CharField(_("note"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("template")
        verbose_name_plural = _("templates")
        ordering = ("type", "language", "part", "-version")
        constraints = (
            models.UniqueConstraint(fields=["type", "language", "part", "version"], name="override_version_once"),
            models.UniqueConstraint(
                fields=["type", "language", "part"], condition=Q(active=True), name="override_one_active"
            ),
        )

    def __str__(self) -> str:
        return f"{self.type} {self.language} {self.part} v{self.version}"


class ProviderState(models.Model):
    """Whether the provider is tried at the moment. `config_fingerprint` shows a change of EMAIL_URL, not its value."""

    #: Nothing is known against it.
    OPEN: ClassVar[dict[str, Any]] = {
        "paused": False,
        "paused_until": None,
        "paused_by": "",
        "reason": "",
        "failures": 0,
        "config_fingerprint": "",
    }

    alias = models.CharField(_("channel"), max_length=32, unique=True)
    paused = models.BooleanField(_("paused"), default=False)
    # A pause without an end lasts until staff resume, or EMAIL_URL changes.
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    paused_by = models.CharField(_("paused by"), max_length=64, blank=True)
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    config_fingerprint = models.CharField(max_length=64, blank=True)
    last_ok_at = models.DateTimeField(_("last success"), null=True, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("provider")
        verbose_name_plural = _("providers")

    def __str__(self) -> str:
        return self.alias

    def is_paused(self, now: datetime) -> bool:
        """Whether nothing leaves this way; a pause without an end lasts until staff resume."""
        return self.paused if self.paused_until is None else self.paused_until > now


class EndpointManager(models.Manager["WebhookEndpoint"]):
    """Endpoints but for the deleted ones."""

    def get_queryset(self) -> models.QuerySet[WebhookEndpoint]:
        return super().get_queryset().filter(deleted_at=None)


class WebhookEndpoint(models.Model):
    """An address outside that is sent events. Only `services.endpoints` and `services.webhook_claims` write here."""

    name = models.CharField(_("name"), max_length=100)
    url = models.CharField(_("address"), max_length=2000)
    events = models.JSONField(_("events"), default=list)  # names of `lib.events`
    # Encrypted (lib/encryption.py). While both are good both sign.
    secret = models.CharField(max_length=255)
    old_secret = models.CharField(max_length=255, blank=True)
    old_secret_until = models.DateTimeField(_("old secret until"), null=True)

    paused_at = models.DateTimeField(_("paused"), null=True)
    paused_by = models.CharField(_("paused by"), max_length=64, blank=True)
    paused_reason = models.CharField(_("reason"), max_length=200, blank=True)
    #: Tries since the last success that had none, and since when; nothing is tried before `rest_until`.
    failures = models.PositiveIntegerField(_("failures in a row"), default=0)
    failing_since = models.DateTimeField(_("failing since"), null=True)
    rest_until = models.DateTimeField(_("next try"), null=True)
    last_success_at = models.DateTimeField(_("last success"), null=True)
    #: While a periodic job makes due again what waited for this resume; nothing is sent meanwhile.
    resumed_at = models.DateTimeField(null=True)
    #: A periodic job deletes its deliveries, then the row.
    deleted_at = models.DateTimeField(null=True)

    created_at = models.DateTimeField(_("created"), default=timezone.now)
    created_by = models.CharField(max_length=64, blank=True)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now)
    updated_by = models.CharField(max_length=64, blank=True)

    objects = EndpointManager()
    everything = models.Manager["WebhookEndpoint"]()

    class Meta:
        verbose_name = _("webhook endpoint")
        verbose_name_plural = _("webhook endpoints")
        ordering = ("name", "pk")

    def __str__(self) -> str:
        return self.name


class WebhookDelivery(models.Model):
    """One event for one endpoint; `uid` is the `webhook-id` of every try. `due_at` is as in `Message`."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        SENDING = "sending", _("Sending")
        DELIVERED = "delivered", _("Delivered")
        FAILED = "failed", _("Failed")

    #: What goes when it is open no more.
    CLOSED: ClassVar[dict[str, Any]] = {"due_at": None, "lease_token": None, "lease_owner": ""}

    uid = models.UUIDField("webhook-id", default=uuid.uuid4, unique=True, editable=False)
    # Its indexes are those below.
    endpoint = models.ForeignKey(
        WebhookEndpoint,
        on_delete=models.CASCADE,
        related_name="deliveries",
        db_index=False,
        verbose_name=_("webhook endpoint"),
    )
    event = models.CharField(_("event"), max_length=64)
    subject = models.CharField(_("subject"), max_length=200)
    body = models.TextField(_("payload"))  # as it is signed and sent
    created_at = models.DateTimeField(_("created"), default=timezone.now)
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    due_at = models.DateTimeField(_("next try"), null=True)
    expires_at = models.DateTimeField(_("tried until"))
    attempts = models.SmallIntegerField(_("attempts"), default=0)
    lease_token = models.UUIDField(null=True)
    lease_owner = models.CharField(_("worker"), max_length=120, blank=True)
    last_code = models.CharField(_("last answer"), max_length=16, blank=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    traceparent = models.CharField(max_length=55, null=True, editable=False)

    class Meta:
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        default_permissions = ("view",)
        permissions = (("resend_webhookdelivery", "Can send a webhook delivery again"),)
        constraints = (
            models.CheckConstraint(
                condition=Q(due_at__isnull=False, state__in=["queued", "sending"])
                | (Q(due_at__isnull=True) & ~Q(state__in=["queued", "sending"])),
                name="webhook_due_exactly_while_open",
            ),
        )
        indexes = (
            models.Index(fields=["endpoint", "due_at"], condition=Q(due_at__isnull=False), name="webhook_due"),
            # Whether an earlier one of the same subject is open.
            models.Index(
                fields=["endpoint", "subject", "id"], condition=Q(due_at__isnull=False), name="webhook_subject_open"
            ),
            models.Index(fields=["endpoint", "id"], name="webhook_endpoint_newest"),
            models.Index(fields=["state", "id"], name="webhook_state_newest"),
            models.Index(fields=["created_at"], name="webhook_created"),
            # What the purge looks for every hour.
            models.Index(fields=["created_at"], condition=Q(event="user.deleted"), name="webhook_user_deleted"),
            # Where the address of a deleted person is cut out.
            models.Index(fields=["subject"], name="webhook_subject"),
        )

    def __str__(self) -> str:
        return self.uid.hex


class WebhookAttempt(models.Model):
    """One try to deliver a webhook; only ever added. `error` says why there was no answer (`lib.outgoing`)."""

    delivery = models.ForeignKey(WebhookDelivery, on_delete=models.CASCADE, related_name="tries")
    n = models.SmallIntegerField(_("attempt"))
    worker = models.CharField(_("worker"), max_length=120)
    created_at = models.DateTimeField(_("started"))
    duration_ms = models.IntegerField(_("milliseconds"))
    status = models.SmallIntegerField(_("status"), null=True)
    error = models.CharField(_("error"), max_length=16, blank=True)
    response = models.CharField(_("answer"), max_length=500, blank=True)

    class Meta:
        default_permissions: ClassVar = ()
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.n}: {self.status or self.error}"


class MessageCount(models.Model):
    """How many messages ended in a state (`kind`) in an hour; a periodic job counts them."""

    hour = models.DateTimeField()
    kind = models.CharField(max_length=10)
    count = models.PositiveIntegerField()

    class Meta:
        default_permissions: ClassVar = ()
        constraints = (models.UniqueConstraint(fields=["hour", "kind"], name="message_count_once"),)

    def __str__(self) -> str:
        return f"{self.kind} {self.hour:%Y-%m-%d %H}:00 UTC"


class Worker(models.Model):
    """A process that delivers; deleted at a clean stop, and a day after it fell silent."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    host = models.CharField(_("host"), max_length=255)
    pid = models.PositiveIntegerField("pid")
    version = models.CharField(_("version"), max_length=40, blank=True)
    engine = models.CharField(_("engine"), max_length=16)
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    beat_at = models.DateTimeField(_("last sign of life"), default=timezone.now)
    sent = models.PositiveBigIntegerField(_("sent"), default=0)
    failed = models.PositiveBigIntegerField(_("failed"), default=0)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        ordering = ("-beat_at",)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class PeriodicJob(models.Model):
    """Something to be done regularly by one process, whichever: it takes the row with one conditional UPDATE."""

    name = models.CharField(_("name"), primary_key=True, max_length=64)
    lease_until = models.DateTimeField(null=True, blank=True)
    next_run_at = models.DateTimeField(_("next run"), default=timezone.now)
    last_run_at = models.DateTimeField(_("last run"), null=True, blank=True)
    last_result = models.CharField(_("last result"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        db_table = "notifications_chore"  # older releases run beside this one
        verbose_name = _("periodic job")
        verbose_name_plural = _("periodic jobs")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
