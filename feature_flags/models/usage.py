"""What readers report: counts, last seen, unknown names. No revision moves for these."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from feature_flags import names

APP_NAME_LENGTH = 100


class FlagUsage(models.Model):
    """How often one application got yes and no in one hour; `variant` is empty for the total."""

    codename = models.CharField(_("flag"), max_length=names.MAX_LENGTH)
    hour = models.DateTimeField(_("hour"))
    app_name = models.CharField(_("application"), max_length=APP_NAME_LENGTH)
    variant = models.CharField(_("variant"), max_length=names.MAX_LENGTH, blank=True)
    yes = models.BigIntegerField(_("yes"), default=0)
    no = models.BigIntegerField(_("no"), default=0)

    class Meta:
        verbose_name = _("usage")
        verbose_name_plural = _("usage by hour")
        default_permissions: ClassVar = ("view",)
        constraints = (
            models.UniqueConstraint(fields=["codename", "hour", "app_name", "variant"], name="flag_usage_once"),
        )
        indexes = (models.Index(fields=["hour"], name="flag_usage_hour"),)

    def __str__(self) -> str:
        return f"{self.codename} {self.hour:%Y-%m-%d %H}:00 UTC {self.app_name}"


class FlagSeen(models.Model):
    codename = models.CharField(max_length=names.MAX_LENGTH, primary_key=True)
    first_seen_at = models.DateTimeField(default=timezone.now)
    last_seen_at = models.DateTimeField(default=timezone.now)

    class Meta:
        default_permissions: ClassVar = ()

    def __str__(self) -> str:
        return f"{self.codename} seen {self.last_seen_at:%Y-%m-%d %H:%M} UTC"


class UnknownFlag(models.Model):
    """A name that code or a client asked for and that no flag has."""

    codename = models.CharField(_("name"), max_length=names.MAX_LENGTH)
    app_name = models.CharField(_("application"), max_length=APP_NAME_LENGTH)
    count = models.BigIntegerField(_("times"), default=0)
    last_seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    class Meta:
        verbose_name = _("unknown flag")
        verbose_name_plural = _("unknown flags")
        default_permissions: ClassVar = ("view",)
        constraints = (models.UniqueConstraint(fields=["codename", "app_name"], name="unknown_flag_once"),)

    def __str__(self) -> str:
        return self.codename
