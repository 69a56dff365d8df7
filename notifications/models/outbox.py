"""The outbox, which is the queue too, and what each try to deliver came to. Nothing here holds a secret."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


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

    uid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, related_name="copies", verbose_name=_("resend of")
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
        _("subject"), max_length=200, blank=True, help_text=_("As sent; codes and links are blotted.")
    )
    template_source = models.CharField(_("template"), max_length=100, blank=True)

    reason = models.CharField(_("reason"), max_length=40, blank=True)
    last_code = models.CharField(_("last code"), max_length=64, blank=True)
    last_error = models.CharField(_("last error"), max_length=500, blank=True)
    sent_at = models.DateTimeField(_("sent"), null=True)
    finished_at = models.DateTimeField(_("finished"), null=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)

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
