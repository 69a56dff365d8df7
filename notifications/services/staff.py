"""What staff do to a message: send it again, send a copy of it, stop it."""

from __future__ import annotations

import uuid
from functools import partial

from django.db import transaction
from django.db.models import Q

from lib.errors import ProductError
from notifications import engine, registry, render
from notifications.models import Message
from notifications.services.clock import moment
from notifications.services.queueing import cancel_open, insert, sending_domain

State = Message.State
RETRIABLE = (State.FAILED, State.UNKNOWN, State.EXPIRED)
STATE, WITHDRAWN = "MESSAGE_STATE", "MESSAGE_WITHDRAWN"


@transaction.atomic
def retry(message: Message) -> None:
    """Queue a failed, unknown or expired message again: the same row and Message-ID, all its attempts anew.

    ProductError 409 `MESSAGE_STATE` in another state, `MESSAGE_WITHDRAWN` when its code or link is dead.
    """
    kind = _alive(message)
    waiting = Message.objects.filter(pk=message.pk, state__in=RETRIABLE).update(
        state=State.QUEUED,
        reason="",
        attempts=0,
        due_at=moment(),
        expires_at=moment(kind.expires_in),
        handed_at=None,
        finished_at=None,
    )
    if not waiting:
        raise ProductError(STATE, "Only a failed, unknown or expired message can be tried again.", status=409)
    transaction.on_commit(partial(engine.committed, message.pk), robust=True)


def cancel(message: Message) -> None:
    """Stop a message no mail server has been given yet. ProductError 409 `MESSAGE_STATE` when it is too late."""
    if not cancel_open(Q(pk=message.pk), reason="staff"):
        raise ProductError(STATE, "Only a message that waits can be cancelled.", status=409)


@transaction.atomic
def resend(message: Message) -> Message:
    """Queue a copy of a message that is through: a new row and Message-ID, with this one as its `parent`.

    ProductError 409 `MESSAGE_STATE` while it is open, `MESSAGE_WITHDRAWN` when its code or link is dead.
    """
    # Two members of staff at once: the second counts the first one's copy.
    message = Message.objects.select_for_update().get(pk=message.pk)
    if message.state in Message.OPEN:
        raise ProductError(STATE, "This message is still on its way.", status=409)
    kind = _alive(message)
    uid = uuid.uuid4()
    now = moment()
    event_key = None
    if message.event_key is not None:
        suffix = f"#resend-{message.copies.count() + 1}"
        event_key = f"{message.event_key[: 200 - len(suffix)]}{suffix}"
    return insert(
        Message(
            uid=uid,
            parent=message,
            event_key=event_key,
            message_id=f"<{uid}@{sending_domain()}>",
            created_at=now,
            type=message.type,
            category=message.category,
            channel=message.channel,
            language=message.language,
            context=message.context,
            headers=message.headers,
            group_key=message.group_key,
            user=message.user,
            to_address=message.to_address,
            to_name=message.to_name,
            priority=message.priority,
            due_at=now,
            expires_at=now + kind.expires_in,
            max_attempts=message.max_attempts,
            request_id=message.request_id,
        )
    )


def _alive(message: Message) -> registry.NotificationType:
    """Its type, if there is still something to say."""
    try:
        kind = registry.get(message.type)
        if not message.context and kind.context.model_fields:
            raise ProductError(WITHDRAWN, "What this message said has been deleted since.", status=409)
        render.derived(message)
    except registry.UnknownType:
        raise ProductError(WITHDRAWN, "This version of the product no longer sends this type.", status=409) from None
    except registry.Withdrawn:
        raise ProductError(
            WITHDRAWN, "Its code or link is no longer valid: send a new one from the user's page.", status=409
        ) from None
    return kind
