"""What staff read: lists of messages, counts, and bodies with codes and links masked."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import Min, QuerySet
from django.utils import timezone

from lib import cursors
from lib.addresses import normal_email
from lib.errors import ProductError
from notifications import registry
from notifications.models import Message, moment
from notifications.registry import EMAIL
from notifications.rendering import render, samples
from notifications.services import staff_actions

_COUNTED = 10_000


def find(uid: str) -> Message:
    """The message; ProductError 404 `MESSAGE_NOT_FOUND`."""
    try:
        return Message.objects.select_related("parent").get(uid=uuid.UUID(uid))
    except (ValueError, Message.DoesNotExist):
        raise ProductError("MESSAGE_NOT_FOUND", "There is no such message.", status=404) from None


def page(
    *,
    state: str | None = None,
    type: str | None = None,
    category: str | None = None,
    channel: str | None = None,
    to: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    cursor: str = "",
    limit: int = 20,
) -> tuple[list[Message], str | None]:
    """The newest messages, or those after the cursor, and the cursor of the rest."""
    filters = {
        "state": state,
        "type": type,
        "category": category,
        "channel": channel,
        "to_address": normal_email(to) if to else None,
        "created_at__gte": since,
        "created_at__lt": until,
        "pk__lt": cursors.read(cursor, of="messages") if cursor else None,
    }
    rows: QuerySet[Message] = Message.objects.select_related("parent").order_by("-pk")
    found = list(rows.filter(**{name: value for name, value in filters.items() if value is not None})[: limit + 1])
    items = found[:limit]
    return items, cursors.make(items[-1].pk, of="messages") if len(found) > limit else None


def stats() -> dict[str, Any]:
    """How many messages there are in each state, counted to 10,000; of the last hour; and how late the first one is."""
    hour = Message.objects.filter(finished_at__gte=moment(timedelta(hours=-1)))
    due = Message.objects.filter(priority__in=registry.PRIORITIES, due_at__lte=moment(), state=Message.State.QUEUED)
    oldest = due.aggregate(at=Min("due_at"))["at"]
    return {
        "states": {state.value: Message.objects.filter(state=state)[:_COUNTED].count() for state in Message.State},
        "last_hour": {
            state.value: hour.filter(state=state)[:_COUNTED].count()
            for state in (Message.State.SENT, Message.State.FAILED)
        },
        "oldest_due_seconds": max(0, int((timezone.now() - oldest).total_seconds())) if oldest else None,
    }


def body(message: Message) -> render.Rendered | None:
    """The message as it was sent, codes and links masked; None when it can no longer be rendered."""
    try:
        kind = registry.get(message.type)
    except registry.UnknownType:
        return None
    if not message.context and kind.context.model_fields:
        return None
    try:
        return render.masked(message)
    except (DatabaseError, InterfaceError):
        raise
    except Exception:
        # Whatever today's templates make of an old row, the page of the admin names it.
        return None


def preview(code: str, *, language: str | None = None) -> render.Rendered:
    """The type filled with its sample; ProductError 404 `UNKNOWN_TYPE`, 409 `RENDER_ERROR`."""
    language = staff_actions.language_of(language) or settings.LANGUAGE_CODE
    try:
        kind = registry.get(code)
    except registry.UnknownType:
        raise ProductError("UNKNOWN_TYPE", "No such type is declared.", status=404) from None
    try:
        if EMAIL in kind.channels:
            return render.render(kind, samples.sample(kind), language=language)
        title, text = render.in_app(kind, {}, language=language)
        return render.Rendered(title, text, "")
    except (DatabaseError, InterfaceError):
        raise
    except Exception as error:
        # A template may raise anything; that is its author's mistake, and staff are who looks for it.
        raise ProductError("RENDER_ERROR", f"It cannot be rendered ({type(error).__name__}).", status=409) from error
