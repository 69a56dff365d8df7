"""What the page of a person shows beside the form."""

from __future__ import annotations

import json
from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from feature_flags.admin.who import evaluations
from lib.admin.lists import actor_names
from notifications.admin.overview import messages_of
from users.admin.common import actor_of, details_line, outcome_chip, staff_user
from users.admin.sessions import END, FROM_PERSON
from users.models import AuditEvent, User

SESSIONS_SHOWN, EVENTS_SHOWN, FLAGS_SHOWN = 50, 50, 100


def sections(request: HttpRequest, user: User) -> dict[str, Any]:
    """Each for those who may see it. Read beside the form, not as formsets of it: saving a name must not depend on
    what ended meanwhile."""
    found: dict[str, Any] = {}
    if request.user.has_perm("users.view_usersession"):
        found["live_sessions"] = user.sessions.live(timezone.now()).order_by("-last_seen_at")[:SESSIONS_SHOWN]
        found["end"] = END if request.user.has_perm(END.permission) and staff_user(request).reaches(user) else None
        found["from_person"] = FROM_PERSON
    if request.user.has_perm("users.view_mfadevice"):
        found["factors"] = user.mfa_devices.filter(confirmed_at__isnull=False).order_by("created_at")
        found["recovery_codes"] = user.recovery_codes.filter(used_at=None).count()
    if request.user.has_perm("users.view_auditevent"):
        found["events"] = _events(user)
        found["events_shown"] = EVENTS_SHOWN
    found |= messages_of(request, user)
    if request.user.has_perm("feature_flags.view_featureflag"):
        found |= _flags(user)
    return found


def _events(user: User) -> list[dict[str, Any]]:
    events = list(AuditEvent.objects.filter(user_id=user.pk).order_by("-id")[:EVENTS_SHOWN])
    names = actor_names({event.actor for event in events} - {user.pk.hex})
    return [
        {
            "row": event,
            "by": actor_of(event, names),
            "result": outcome_chip(event),
            "details": details_line(event.data),
        }
        for event in events
    ]


def _flags(user: User) -> dict[str, Any]:
    """The flags this person gets, and how many there are."""
    found = evaluations(user)
    got = [(entry, json.dumps(entry.result.value, ensure_ascii=False)) for entry in found if entry.result.enabled]
    return {"flags": got[:FLAGS_SHOWN], "flags_on": len(got), "flags_total": len(found)}
