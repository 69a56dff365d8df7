"""Queuing messages, to one or to many, and cancelling them, in the caller's transaction."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parseaddr
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q
from pydantic import ValidationError

from lib import logs, tracing
from lib.addresses import ascii_domain, valid_email
from notifications import engine, metrics, registry
from notifications.models import Message, moment
from notifications.registry import EMAIL, IN_APP
from notifications.services import inbox, recipients

if TYPE_CHECKING:
    from users.models import User

CONTEXT_LIMIT = 16 * 1024
_FIRST = f"""
SELECT id, uid FROM {Message._meta.db_table} WHERE event_key = %s AND channel = %s AND to_address = %s
"""  # noqa: S608  (the table's name is our own)


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

    One row per channel that needs sending. What is read inside the product (`in_app`) needs a `user` and is there at
    once. An address that must not be written to gets a row all the same, `suppressed` with its reason.

    Raises UnknownType, or ValueError for a context, address or name that cannot be sent. `event_key` names what
    happened: the same event to the same address is queued once, and a repeat gets the first row.
    """
    kind = registry.get(type)
    try:
        stored: dict[str, Any] = kind.context.model_validate(dict(context)).model_dump(mode="json")
    except ValidationError as error:
        raise ValueError(f"The context of {kind.code} does not fit: {registry.wrong_fields(error)}.") from None
    if len(json.dumps(stored)) > CONTEXT_LIMIT:
        raise ValueError(f"The context of {kind.code} is larger than 16 kB.")
    language = language or (user and user.language) or settings.NOTIFICATIONS_LANGUAGES[0]
    if IN_APP in kind.channels and user is not None:
        inbox.add(kind, user=user, context=stored, language=language, key=event_key)
    if EMAIL not in kind.channels:
        if user is None:
            raise ValueError(f"{kind.code} is read inside the product: it needs a user.")
        return []
    if any(sign < " " or sign in "\x7f\x85\u2028\u2029" for sign in to_name):
        raise ValueError("A header value must not hold line breaks or control characters.")
    row = Message(
        event_key=event_key,
        type=kind.code,
        category=kind.category,
        channel=EMAIL,
        language=language,
        context=stored,
        user=user,
        # An account may have an address that could not be registered today (`check_accounts`).
        to_address=to if user is not None and to == user.email else valid_email(to),
        to_name=to_name[:120],
        priority=kind.priority,
        due_at=due_at,
        max_attempts=settings.NOTIFICATIONS_MAX_ATTEMPTS,
        request_id=(request_id if request_id is not None else logs.request_id.get())[:64],
        traceparent=tracing.traceparent(),
    )
    reason = recipients.refusal(kind, address=row.to_address, user_id=row.user_id)
    if not reason and recipients.is_throttled(kind, row.to_address):
        reason = "throttled"
    return [insert(row, expires_in=kind.expires_in, refusal=reason)]


def insert(row: Message, *, expires_in: timedelta, refusal: str = "") -> Message:
    """Put a new row into the outbox and wake the engine at the commit; a repeated event gets the first row."""
    stored = stamp(row, now=moment(), expires_in=expires_in, refusal=refusal)
    if row.event_key is None:
        row.save(force_insert=True)
    else:
        # Of two requests at once the second waits for the first and inserts nothing.
        Message.objects.bulk_create([row], ignore_conflicts=True)
        with connection.cursor() as cursor:
            cursor.execute(_FIRST, [row.event_key, row.channel, row.to_address])
            pk, uid = cursor.fetchone()
        if uuid.UUID(str(uid)) == row.uid:
            row.pk, row._state.adding, row._state.db = pk, False, connection.alias
        else:
            stored = Message.objects.get(pk=pk)
    if stored.uid != row.uid:
        metrics.DUPLICATES.add()
    elif stored.due_at is not None:
        transaction.on_commit(partial(metrics.ENQUEUED.add, stored.type, stored.channel), robust=True)
        transaction.on_commit(partial(engine.committed, stored.pk), robust=True)
    for name, value in list(stored.__dict__.items()):
        if hasattr(value, "resolve_expression"):
            # A time of the database: it is read when it is needed.
            del stored.__dict__[name]
    return stored


def stamp(row: Message, *, now: Any, expires_in: timedelta, refusal: str = "") -> Message:
    """Give a new row its Message-ID and its times, or the reason why it is not sent."""
    row.created_at = now
    row.message_id = f"<{row.uid}@{sending_domain()}>"
    row.due_at = row.due_at or now
    row.expires_at = row.due_at + expires_in
    if refusal:
        row.state, row.reason, row.due_at, row.finished_at = Message.State.SUPPRESSED, refusal, None, now
    return row


def cancel_open(which: Q, *, reason: str) -> int:
    """Cancel all of these that no mail server was given; return how many. A worker that holds one sends nothing."""
    return Message.objects.filter(which, state__in=Message.OPEN, handed_at=None).update(
        **Message.CLOSED, state=Message.State.CANCELLED, reason=reason, finished_at=moment()
    )


def sending_domain() -> str:
    return ascii_domain(parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]) or "localhost"
