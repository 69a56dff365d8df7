from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


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
