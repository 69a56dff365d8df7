"""How mail is doing, for the first page: a fixed number of statements, each with its index. And a person's messages."""

from __future__ import annotations

from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from lib.admin.lists import COUNT_LIMIT, actor_name, capped_counts, count_label
from lib.admin.verbs import FROM
from notifications import registry
from notifications.admin.common import type_label
from notifications.admin.messages import CHIPS, RETRY, state_chip
from notifications.admin.running import FROM_OVERVIEW, PERMISSION, may_see_providers, worker_chip
from notifications.models import Message, Preference, ProviderState, Worker, moment
from notifications.services import circuit_breaker, overrides
from notifications.services.health import oldest_due, span
from notifications.services.staff_actions import wrongly_failed

if TYPE_CHECKING:
    from users.models import User

State = Message.State
WORKERS_SHOWN = TEMPLATES_SHOWN = 10
MESSAGES_SHOWN = 20


def overview(request: HttpRequest) -> dict[str, Any] | None:
    """None for staff who may not see messages."""
    may = request.user.has_perm
    if not may("notifications.view_message"):
        return None
    asked = {state.value: Message.objects.filter(state=state) for state in State}
    for state in (State.SENT, State.FAILED):
        lately = moment(timedelta(hours=-1))
        asked[f"{state}_lately"] = Message.objects.filter(state=state, finished_at__gt=lately)
    # Those that failed last, as many as are counted.
    failed = Message.objects.filter(state=State.FAILED).order_by("-finished_at").values_list("pk", flat=True)
    counts = capped_counts({**asked, "lost": wrongly_failed().filter(pk__in=failed[:COUNT_LIMIT])})
    listing = reverse("admin:notifications_message_changelist")
    shows_workers = may("notifications.view_worker")
    workers = Worker.objects.order_by("-beat_at")[:WORKERS_SHOWN] if shows_workers else ()
    broken = overrides.broken() if may("notifications.view_templateoverride") else iter(())
    now, oldest = timezone.now(), oldest_due()
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
        "oldest_due": span(now - oldest) if oldest else "",
        "sent": count_label(counts["sent_lately"]),
        "failed": count_label(counts["failed_lately"]),
        "lost": count_label(counts["lost"]) if counts["lost"] else "",
        "retry_url": reverse("admin:notifications_message_retry_lost") if may(RETRY.permission) else "",
        "engine": settings.NOTIFICATIONS_ENGINE,
        "is_off": settings.NOTIFICATIONS_ENGINE == "off",
        "has_way": bool(settings.EMAIL_URL),
        "broken_templates": [str(row) for row, _reason in islice(broken, TEMPLATES_SHOWN)],
        "templates_url": reverse("admin:notifications_templateoverride_changelist"),
        "shows_workers": shows_workers,
        "workers": [
            {
                "name": str(worker),
                "engine": worker.engine,
                "chip": worker_chip(worker),
                "beat": span(now - worker.beat_at),
                "sent": worker.sent,
                "failed": worker.failed,
            }
            for worker in workers
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
        "until": provider.paused_until,
        "reason": provider.reason if shows_why else "",
        "by": actor_name(provider.paused_by) if shows_why else "",
        "last_ok_at": provider.last_ok_at,
        "label": verb.capitalize(),
        "url": url if request.user.has_perm(PERMISSION) else "",
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
