"""What is known of recipients: what providers report, who must not be written to, what people have switched off."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from notifications.models.outbox import Message


class Refusal(models.TextChoices):
    """Whose trouble it is that a message was refused; `notifications.refusals` decides. Only `dead` ends all mail."""

    DEAD = "dead", _("no such mailbox")
    FULL = "full", _("mailbox full")
    CONTENT = "content", _("content refused")
    SENDER = "sender", _("sender refused")
    LISTED = "listed", _("on the provider's list")
    COMPLAINED = "complained", _("marked as spam")
    UNSUBSCRIBED = "unsubscribed", _("unsubscribed")
    OTHER = "other", _("not said")


class DeliveryEvent(models.Model):
    """One report of a provider about one recipient, kept once however often it comes; only ever added."""

    provider = models.CharField(_("provider"), max_length=32)
    event_id = models.CharField(max_length=255)
    message = models.ForeignKey(Message, on_delete=models.SET_NULL, null=True, related_name="events")
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
    def as_told(self) -> str:
        """`bounced`, or with its reason: `bounced: mailbox full`."""
        is_said_twice = self.refusal in {"", self.kind, Refusal.OTHER}
        return self.kind if is_said_twice else f"{self.kind}: {self.get_refusal_display()}"


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
    source = models.CharField(_("source"), max_length=200, blank=True, help_text=_("Who or what said so."))
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
