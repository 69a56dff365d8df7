"""What the page of a person shows of their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.http import HttpRequest

from lib.admin.lists import chip
from notifications import registry
from notifications.admin.common import type_label
from notifications.admin.messages import CHIPS
from notifications.models import Message, Preference

if TYPE_CHECKING:
    from users.models import User

SHOWN = 20


def messages_of(request: HttpRequest, user: User) -> dict[str, Any]:
    """For `admin/notifications/person.html`: the last 20 messages, and what the person has chosen."""
    found: dict[str, Any] = {}
    if request.user.has_perm("notifications.view_message"):
        last = Message.objects.filter(user=user).order_by("-created_at", "-pk")[:SHOWN]
        found["last_mails"] = [
            {
                "row": message,
                "kind": type_label(message.type),
                "state": chip(CHIPS[Message.State(message.state)], message.get_state_display()),
            }
            for message in last
        ]
    if request.user.has_perm("notifications.view_preference"):
        found["preferences"] = [
            {"row": chosen, "category": registry.category(chosen.category).label}
            for chosen in Preference.objects.filter(user=user)
        ]
    return found
