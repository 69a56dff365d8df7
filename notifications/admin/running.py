"""The ways out, which staff may close and open again, and the workers."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin.lists import GrowingTableAdmin, actor_name, chip, column
from lib.admin.verbs import FROM, Verb
from notifications.models import Message, ProviderState, Worker
from notifications.services import circuit_breaker
from notifications.services.health import SILENCE

PERMISSION = "notifications.change_providerstate"
FROM_OVERVIEW = "overview"


def may_see_providers(request: HttpRequest) -> bool:
    """Who paused one, and why; others see only that it is."""
    return request.user.has_perm("notifications.view_providerstate") or request.user.has_perm(PERMISSION)


def _pause(provider: ProviderState, *, actor: Actor, reason: str) -> None:
    circuit_breaker.pause(provider.alias, actor=actor, reason=reason)
    # Without trouble so far it had no row, and the history wants to name one.
    provider.pk = ProviderState.objects.values_list("pk", flat=True).get(alias=provider.alias)


def _resume(provider: ProviderState, *, actor: Actor, reason: str) -> bool:
    if provider.pk is None:
        return False
    circuit_breaker.resume(provider.alias, actor=actor)
    return True


@admin.register(ProviderState)
class ProviderStateAdmin(GrowingTableAdmin):
    list_display = ("alias", "state", "verb_buttons", "reason", "by", "failures", "last_ok_at")
    fields = readonly_fields = ("alias", "state", "paused_until", "by", "reason", "failures", "last_ok_at")
    verbs = (
        Verb(
            name="pause",
            label="Pause",
            permission=PERMISSION,
            run=_pause,
            sensitive=True,
            audit_event="provider.paused",
            audit_details=lambda provider: {"name": provider.alias},
            done="paused until somebody resumes",
            asks_reason=True,
            explain=lambda provider: "Nothing leaves until somebody resumes; messages wait and lose no attempt.",
            in_row=True,
            in_bulk=False,
            applies=lambda provider: not provider.is_paused(timezone.now()),
        ),
        Verb(
            name="resume",
            label="Resume",
            permission=PERMISSION,
            run=_resume,
            audit_event="provider.resumed",
            audit_details=lambda provider: {"name": provider.alias},
            done="resumed",
            already="not paused",
            asks_reason=True,
            reason_required=False,
            explain=lambda provider: "What waits is sent from now on.",
            in_row=True,
            in_bulk=False,
            applies=lambda provider: provider.is_paused(timezone.now()),
        ),
    )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> ProviderState | None:
        """By its name, too: a way out that never failed has no row and can be paused all the same."""
        if request.method == "POST" and object_id in Message.Channel.values:
            return ProviderState.objects.filter(alias=object_id).first() or ProviderState(alias=object_id)
        return super().get_object(request, object_id, from_field)

    def back_url(self, request: HttpRequest, obj: Any, *, is_gone: bool = False) -> str:
        if request.POST.get(FROM) == FROM_OVERVIEW or obj.pk is None:
            return reverse("admin:index", current_app=self.admin_site.name)
        return super().back_url(request, obj, is_gone=is_gone)

    state = column(
        _("state"),
        lambda provider: chip("off", _("paused")) if provider.is_paused(timezone.now()) else chip("active", _("open")),
    )
    by = column(_("paused by"), lambda provider: actor_name(provider.paused_by))


def worker_chip(worker: Worker) -> str:
    is_alive = timezone.now() - worker.beat_at <= SILENCE
    return chip("active", _("alive")) if is_alive else chip("off", _("silent"))


@admin.register(Worker)
class WorkerAdmin(GrowingTableAdmin):
    list_display = ("name", "state", "engine", "version", "started_at", "beat_at", "sent", "failed")
    ordering = ("-beat_at",)
    fields = readonly_fields = ("host", "pid", "state", "engine", "version", "started_at", "beat_at", "sent", "failed")

    name = column(_("worker"), str)
    state = column(_("state"), worker_chip)
