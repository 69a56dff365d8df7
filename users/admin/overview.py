"""How signing in is doing, for the first page: four statements, each answered by an index."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.translation import gettext_lazy as _

from lib.admin.lists import capped_counts, count_label
from users.admin.filters import first_id, without_factor
from users.models import AuditEvent, User

_DAY = timedelta(hours=24)
_EVENTS = (
    ("login.ok", _("Sign-ins"), "active"),
    ("login.failed", _("Failures"), "off"),
    ("login.paused", _("Pauses"), "paused"),
)


def overview(request: HttpRequest) -> dict[str, Any] | None:
    """Each part for those who may see where it leads; None when that is nothing."""
    found: dict[str, Any] = {}
    if request.user.has_perm("users.view_auditevent"):
        found["events"] = _events()
    if request.user.has_perm("users.view_user"):
        bare = User.objects.filter(without_factor())
        found["bare_staff"] = count_label(capped_counts({"bare": bare})["bare"])
        found["bare_url"] = f"{reverse('admin:users_user_changelist')}?look=no-factor"
    return found or None


def _events() -> list[dict[str, Any]]:
    since = timezone.now() - _DAY
    lately = AuditEvent.objects.filter(at__gte=since, pk__gt=first_id(since))
    counts = capped_counts({event: lately.filter(event=event) for event, _label, _chip in _EVENTS})
    listing = reverse("admin:users_auditevent_changelist")
    begin = timezone.localtime(since).strftime("%Y-%m-%dT%H:%M")
    return [
        {
            "label": label,
            "chip": chip,
            "count": count_label(counts[event]),
            "url": f"{listing}?{urlencode({'event': event, 'since': begin})}",
        }
        for event, label, chip in _EVENTS
    ]
