"""How mail is doing: on the first page, the ways out, which staff may close and open again, and the workers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin.lists import COUNT_LIMIT, GrowingTableAdmin, actor_name, capped_counts, chip, column, count_label
from lib.admin.verbs import FROM, Verb
from notifications import registry
from notifications.admin.common import CHANGE_PROVIDER, may_see_providers, type_label
from notifications.admin.messages import CHIPS, RETRY, state_chip
from notifications.models import Message, Preference, ProviderState, Worker, moment
from notifications.services import circuit_breaker, overrides
from notifications.services.health import SILENCE, oldest_due, span
from notifications.services.staff_actions import wrongly_failed

if TYPE_CHECKING:
    from users.models import User

State = Message.State
WORKERS_SHOWN = TEMPLATES_SHOWN = 10
MESSAGES_SHOWN = 20
FROM_OVERVIEW = "overview"


# --- The first page ---------------------------------------------------------------------------------------------------


def overview(request: HttpRequest, also: Mapping[str, QuerySet[Any]] | None = None) -> dict[str, Any] | None:
    """By a fixed number of statements, each with its index; None for staff who may not see messages.

    `also`: rows of others to be counted by the same statement, into `counts`.
    """
    may = request.user.has_perm
    if not may("notifications.view_message"):
        return None
    asked = {state.value: Message.objects.filter(state=state) for state in State}
    for state in (State.SENT, State.FAILED):
        lately = moment(timedelta(hours=-1))
        asked[f"{state}_lately"] = Message.objects.filter(state=state, finished_at__gt=lately)
    # Those that failed last, as many as are counted.
    failed = Message.objects.filter(state=State.FAILED).order_by("-finished_at").values_list("pk", flat=True)
    counts = capped_counts({**asked, "lost": wrongly_failed().filter(pk__in=failed[:COUNT_LIMIT]), **(also or {})})
    listing = reverse("admin:notifications_message_changelist")
    shows_workers = may("notifications.view_worker")
    workers = Worker.objects.order_by("-beat_at")[:WORKERS_SHOWN] if shows_workers else ()
    broken = overrides.broken() if may("notifications.view_templateoverride") else iter(())
    now, oldest = timezone.now(), oldest_due()
    return {
        "counts": counts,
        "states": [
            {
                "chip": CHIPS[state],
                "label": state.label,
                "count": count_label(counts[state.value]),
                "url": f"{listing}?state__exact={state.value}",
            }
            for state in State
        ],
        "oldest_due": span(now - oldest) if oldest else "",
        "sent": count_label(counts["sent_lately"]),
        "failed": count_label(counts["failed_lately"]),
        "lost": count_label(counts["lost"]) if counts["lost"] else "",
        "retry_url": reverse("admin:notifications_message_retry_lost") if may(RETRY.permission) else "",
        "engine": settings.NOTIFICATIONS_ENGINE,
        "has_way": bool(settings.EMAIL_URL),
        "broken_templates": [str(row) for row, _reason in islice(broken, TEMPLATES_SHOWN)],
        "templates_url": reverse("admin:notifications_templateoverride_changelist"),
        "shows_workers": shows_workers,
        "workers": [
            {"row": worker, "chip": worker_chip(worker), "beat": span(now - worker.beat_at)} for worker in workers
        ],
        "providers": [_provider(request, provider) for provider in circuit_breaker.states()],
    }


def _provider(request: HttpRequest, provider: ProviderState) -> dict[str, Any]:
    is_closed = provider.is_paused(timezone.now())
    shows_why = is_closed and may_see_providers(request)
    verb = "resume" if is_closed else "pause"
    url = reverse(f"admin:notifications_providerstate_verb_{verb}", args=[provider.alias])
    return {
        "name": Message.Channel(provider.alias).label,
        "scheme": settings.EMAIL_URL.partition("://")[0] if "://" in settings.EMAIL_URL else "",
        "is_paused": is_closed,
        "row": provider,
        "reason": provider.reason if shows_why else "",
        "by": actor_name(provider.paused_by) if shows_why else "",
        "label": _("Resume") if verb == "resume" else _("Pause"),
        "url": url if request.user.has_perm(CHANGE_PROVIDER) else "",
        "from_name": FROM,
        "from_value": FROM_OVERVIEW,
    }


def messages_of(request: HttpRequest, user: User) -> dict[str, Any]:
    """For `admin/notifications/person.html`: the last 20 messages, and what the person has chosen."""
    found: dict[str, Any] = {}
    if request.user.has_perm("notifications.view_message"):
        last = Message.objects.filter(user=user).order_by("-created_at", "-pk")[:MESSAGES_SHOWN]
        found["last_mails"] = [
            {"row": message, "kind": type_label(message.type), "state": state_chip(message)} for message in last
        ]
    if request.user.has_perm("notifications.view_preference"):
        found["preferences"] = [
            {"row": chosen, "category": registry.category(chosen.category).label}
            for chosen in Preference.objects.filter(user=user)
        ]
    return found


# --- The ways out and the workers -------------------------------------------------------------------------------------


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
            label=_("Pause"),
            permission=CHANGE_PROVIDER,
            run=_pause,
            sensitive=True,
            audit_event="provider.paused",
            audit_details=lambda provider: {"name": provider.alias},
            done=_("paused until it is resumed"),
            asks_reason=True,
            explain=lambda provider: _("Nothing leaves until it is resumed; messages wait and lose no attempt."),
            in_row=True,
            in_bulk=False,
            applies=lambda provider: not provider.is_paused(timezone.now()),
        ),
        Verb(
            name="resume",
            label=_("Resume"),
            permission=CHANGE_PROVIDER,
            run=_resume,
            audit_event="provider.resumed",
            audit_details=lambda provider: {"name": provider.alias},
            done=_("resumed"),
            already=_("not paused"),
            asks_reason=True,
            reason_required=False,
            explain=lambda provider: _("What waits is sent from now on."),
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
