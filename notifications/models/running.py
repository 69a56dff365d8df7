"""What runs: providers, workers, and periodic jobs. Shared by all processes."""

from __future__ import annotations

import uuid

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


class ProviderState(models.Model):
    """Whether the provider is tried at the moment. `fingerprint` tells when EMAIL_URL was changed, and not to what."""

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


class Chore(models.Model):
    """Something to be done regularly by one process, whichever: it takes the row with one conditional UPDATE."""

    name = models.CharField(_("name"), primary_key=True, max_length=64)
    lease_until = models.DateTimeField(null=True, blank=True)
    next_run_at = models.DateTimeField(_("next run"), default=timezone.now)
    last_run_at = models.DateTimeField(_("last run"), null=True, blank=True)
    last_result = models.CharField(_("last result"), max_length=200, blank=True)
    created_at = models.DateTimeField(_("created"), default=timezone.now)

    class Meta:
        verbose_name = _("chore")
        verbose_name_plural = _("chores")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
