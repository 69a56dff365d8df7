"""Who may read flags from outside. The secret itself is never stored."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags.models.flags import ACTOR_LABEL_LENGTH, validate_storable


class FlagToken(models.Model):
    class Kind(models.TextChoices):
        SERVER = "server", _("server")
        FRONTEND = "frontend", _("frontend")

    name = models.CharField(_("name"), max_length=100, validators=[validate_storable])
    secret_hash = models.BinaryField(max_length=32, unique=True, editable=False)
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    kind = models.CharField(_("kind"), max_length=8, choices=Kind.choices)
    allowed_origins = models.JSONField(_("allowed origins"), default=list, blank=True)
    expires_at = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True, blank=True, editable=False)
    last_used_on = models.DateField(_("last used"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    created_by = models.CharField(max_length=ACTOR_LABEL_LENGTH, blank=True, editable=False)

    class Meta:
        verbose_name = _("token")
        verbose_name_plural = _("tokens")
        default_permissions: ClassVar = ("view",)
        permissions = (("manage_flagtoken", "Can create and revoke flag tokens"),)

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"
