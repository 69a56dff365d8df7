"""Putting messages into the outbox and taking them out again, in the caller's transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from email.utils import parseaddr
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import transaction
from django.utils import translation
from pydantic import ValidationError

from lib import logs
from lib.text import valid_email
from notifications import engine, registry
from notifications.models import Message
from notifications.services.clock import moment

if TYPE_CHECKING:
    from users.models import User

CONTEXT_LIMIT = 16 * 1024


def queue(
    type: str,
    *,
    to: str,
    context: Mapping[str, Any],
    user: User | None = None,
    to_name: str = "",
    language: str | None = None,
    event_key: str | None = None,
    due_at: datetime | None = None,
    request_id: str | None = None,
) -> list[Message]:
    """Write the message; it leaves once the caller's transaction is committed, and never without it.

    Raises UnknownType, or ValueError for a context, address or name that cannot be sent. `event_key` names what
    happened: the same event to the same address is queued once, and a repeat gets the first row.
    """
    kind = registry.get(type)
    uid = uuid.uuid4()
    now = moment()
    row = Message(
        uid=uid,
        event_key=event_key,
        message_id=f"<{uid}@{_sending_domain()}>",
        created_at=now,
        type=kind.code,
        category=kind.category,
        language=language or translation.get_language() or settings.LANGUAGE_CODE,
        context=_checked_context(kind, context),
        user=user,
        to_address=valid_email(to),
        to_name=_header_value(to_name)[:120],
        priority=kind.priority,
        due_at=due_at or now,
        expires_at=(due_at or now) + kind.expires_in,
        max_attempts=settings.NOTIFICATIONS_MAX_ATTEMPTS,
        request_id=(request_id if request_id is not None else logs.request_id.get())[:64],
    )
    # Two requests with one event at once: the second waits for the first, inserts nothing and reads its row.
    Message.objects.bulk_create([row], ignore_conflicts=True)
    same = {"uid": uid} if event_key is None else {"event_key": event_key, "to_address": row.to_address}
    stored = Message.objects.get(**same)
    if stored.uid == uid:
        transaction.on_commit(partial(engine.committed, stored.pk), robust=True)
    return [stored]


def withdraw(event_key: str) -> int:
    """Cancel what this event queued and no mail server has been given yet; return how many messages that were."""
    waiting = Message.objects.filter(event_key=event_key, state__in=Message.OPEN, handed_at=None)
    return waiting.update(
        state=Message.State.CANCELLED,
        reason="withdrawn",
        due_at=None,
        lease_token=None,
        lease_owner="",
        finished_at=moment(),
    )


def _checked_context(kind: registry.NotificationType, context: Mapping[str, Any]) -> dict[str, Any]:
    try:
        stored: dict[str, Any] = kind.context.model_validate(dict(context)).model_dump(mode="json")
    except ValidationError as error:
        # Names and rules only: pydantic would repeat the values, which belong to a person.
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['type']}" for e in error.errors(include_input=False))
        raise ValueError(f"The context of {kind.code} does not fit: {wrong}.") from None
    if len(json.dumps(stored)) > CONTEXT_LIMIT:
        raise ValueError(f"The context of {kind.code} is larger than 16 kB.")
    return stored


def _header_value(value: str) -> str:
    if any(ord(sign) < 32 or sign in "\x7f\x85\u2028\u2029" for sign in value):
        raise ValueError("A header value must not hold line breaks or control characters.")
    return value


def _sending_domain() -> str:
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
