from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class InAppNotification(models.Model):
    """What a person finds inside the product. Its title and body are written when it is made."""

    class Severity(models.TextChoices):
        INFO = "info", _("Info")
        SUCCESS = "success", _("Success")
        WARNING = "warning", _("Warning")
        ERROR = "error", _("Error")

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
