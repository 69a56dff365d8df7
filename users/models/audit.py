"""What happened to accounts, for good: rows are added, never changed."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class AuditEvent(models.Model):
    """One event of signing in or of an account's life; written by services/audit.py alone.

    Triggers refuse UPDATE and DELETE (audit_triggers.py). People are named by id without a foreign key, because a row
    cannot change when the account goes; addresses only as a MAC.
    """

    class Outcome(models.TextChoices):
        OK = "ok", _("done")
        REFUSED = "refused", _("refused")
        FAILED = "failed", _("failed")

    class Door(models.TextChoices):
        API = "api", _("API")
        ADMIN = "admin", _("Admin")
        COMMAND = "command", _("Command")
        IMPORT = "import", _("Import")
        SCHEDULE = "schedule", _("Schedule")

    at = models.DateTimeField(_("when"), default=timezone.now)
    event = models.CharField(_("event"), max_length=40)
    outcome = models.CharField(_("outcome"), max_length=8, choices=Outcome.choices, default=Outcome.OK)
    user_id = models.UUIDField(_("whose account"), null=True)
    subject_mac = models.BinaryField(max_length=32, null=True)
    actor = models.CharField(_("who"), max_length=64, blank=True)
    door = models.CharField(_("door"), max_length=8, choices=Door.choices)
    session_id = models.UUIDField(_("session"), null=True)
    ip = models.CharField(_("IP address"), max_length=45, blank=True)
    user_agent = models.CharField(_("program"), max_length=256, blank=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    data = models.JSONField(_("details"), default=dict)

    class Meta:
        verbose_name = _("audit event")
        default_permissions = ("view",)
        indexes = (
            models.Index(fields=["at"], name="audit_at"),
            models.Index(fields=["user_id", "id"], name="audit_user"),
            models.Index(fields=["subject_mac", "id"], name="audit_subject"),
            models.Index(fields=["event", "id"], name="audit_event"),
        )

    def __str__(self) -> str:
        return f"{self.event}, {self.at:%Y-%m-%d %H:%M} UTC"
