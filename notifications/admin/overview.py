"""How mail is doing, for the first page: a fixed number of statements, each answered by an index."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from lib.admin.lists import COUNT_LIMIT, actor_name, capped_counts, count_label
from lib.admin.verbs import FROM
from notifications.admin.messages import CHIPS
from notifications.admin.running import FROM_OVERVIEW, PERMISSION, may_see_providers, worker_chip
from notifications.admin.verbs import RETRY
from notifications.models import Message, ProviderState, Worker, moment
from notifications.registry import PRIORITIES
from notifications.services import overrides
from notifications.services.health import span
from notifications.services.staff_actions import wrongly_failed

State = Message.State
HOUR = timedelta(hours=1)
WORKERS_SHOWN = TEMPLATES_SHOWN = 10


def overview(request: HttpRequest) -> dict[str, Any] | None:
    """None for staff who may not see messages."""
    if not request.user.has_perm("notifications.view_message"):
        return None
    states = {state.value: Message.objects.filter(state=state) for state in State}
    lately = {
        f"{state}_lately": Message.objects.filter(state=state, finished_at__gt=moment(-HOUR))
        for state in (State.SENT, State.FAILED)
    }
    lost = {"lost": wrongly_failed().filter(pk__in=_last_failed())}
    counts = capped_counts({**states, **lately, **lost})
    listing = reverse("admin:notifications_message_changelist")
    return {
        "states": [
            {
                "chip": CHIPS[state],
                "label": state.label,
                "count": count_label(counts[state.value]),
                "url": f"{listing}?state__exact={state.value}",
            }
            for state in State
        ],
        "oldest_due": _oldest_due(),
        "sent": count_label(counts["sent_lately"]),
        "failed": count_label(counts["failed_lately"]),
        "lost": count_label(counts["lost"]) if counts["lost"] else "",
        "retry_url": reverse("admin:notifications_message_retry_lost")
        if request.user.has_perm(RETRY.permission)
        else "",
        "engine": settings.NOTIFICATIONS_ENGINE,
        "is_off": settings.NOTIFICATIONS_ENGINE == "off",
        "has_way": bool(settings.EMAIL_URL),
        "broken_templates": [str(row) for row, _reason in islice(overrides.broken(), TEMPLATES_SHOWN)]
        if request.user.has_perm("notifications.view_templateoverride")
        else [],
        "templates_url": reverse("admin:notifications_templateoverride_changelist"),
        "shows_workers": (shows_workers := request.user.has_perm("notifications.view_worker")),
        "workers": [_worker(worker) for worker in Worker.objects.order_by("-beat_at")[:WORKERS_SHOWN]]
        if shows_workers
        else [],
        "providers": [_provider(request, provider) for provider in _providers()],
    }


def _last_failed() -> QuerySet[Message, int]:
    """The keys of those that failed last, as many as are counted."""
    return (
        Message.objects.filter(state=State.FAILED).order_by("-finished_at").values_list("pk", flat=True)[:COUNT_LIMIT]
    )


def _oldest_due() -> str:
    """How long the first in line has been due; one look at the index per class."""
    due = Message.objects.filter(due_at__lte=moment()).order_by("due_at").values_list("due_at", flat=True)
    oldest = [first for priority in PRIORITIES if (first := due.filter(priority=priority).first())]
    return span(timezone.now() - min(oldest)) if oldest else ""


def _providers() -> list[ProviderState]:
    """Every way out; one that never failed has no row."""
    known = {state.alias: state for state in ProviderState.objects.all()}
    return [known.get(alias) or ProviderState(alias=alias) for alias in Message.Channel.values]


def _provider(request: HttpRequest, provider: ProviderState) -> dict[str, Any]:
    is_closed = provider.is_paused(timezone.now())
    shows_why = is_closed and may_see_providers(request)
    verb = "resume" if is_closed else "pause"
    return {
        "name": Message.Channel(provider.alias).label,
        "scheme": settings.EMAIL_URL.partition("://")[0] if "://" in settings.EMAIL_URL else "",
        "is_paused": is_closed,
        "until": provider.paused_until,
        "reason": provider.reason if shows_why else "",
        "by": actor_name(provider.paused_by) if shows_why else "",
        "last_ok_at": provider.last_ok_at,
        "label": verb.capitalize(),
        "url": reverse(f"admin:notifications_providerstate_verb_{verb}", args=[provider.alias])
        if request.user.has_perm(PERMISSION)
        else "",
        "from_name": FROM,
        "from_value": FROM_OVERVIEW,
    }


def _worker(worker: Worker) -> dict[str, Any]:
    return {
        "name": str(worker),
        "engine": worker.engine,
        "chip": worker_chip(worker),
        "beat": span(timezone.now() - worker.beat_at),
        "sent": worker.sent,
        "failed": worker.failed,
    }
