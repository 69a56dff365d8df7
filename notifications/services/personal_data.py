"""Exporting and erasing what is stored about one user. Exports come in slices, since there may be many rows."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet, UUIDField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from lib import db
from lib.addresses import normal_email
from notifications.models import (
    Attempt,
    DeliveryEvent,
    InAppNotification,
    Message,
    Preference,
    Suppression,
    WebhookDelivery,
)

if TYPE_CHECKING:
    from users.models import User

Rows = Iterator[list[dict[str, Any]]]
_OF_MESSAGE = (
    *("type", "category", "channel", "language", "to_address", "to_name", "subject", "context", "state"),
    *("delivery_state", "created_at", "sent_at"),
)
_OF_INBOX = (
    *("id", "type", "category", "title", "body", "url", "data", "severity", "created_at", "seen_at", "read_at"),
    "archived_at",
)


def messages(user: User, *, hidden: Q | None = None) -> Rows:
    """Every message to this person, newest first, with the provider's reports; `hidden` are left out."""
    rows = Message.objects.filter(user=user)
    for found in db.newest_first(rows.exclude(hidden) if hidden is not None else rows, by="created_at"):
        events: dict[int | None, list[dict[str, Any]]] = defaultdict(list)
        for event in DeliveryEvent.objects.filter(message__in=[row.pk for row in found]):
            events[event.message_id].append({"kind": event.kind, "at": event.at})
        yield [{"id": row.uid.hex, **_values(row, _OF_MESSAGE), "events": events[row.pk]} for row in found]


def inbox(user: User) -> Rows:
    """Every in-app notification, the archived ones included, newest first."""
    for found in db.newest_first(InAppNotification.objects.filter(user=user)):
        yield [_values(row, _OF_INBOX) for row in found]


def _values(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {name: getattr(row, name) for name in names}


def preferences(user: User) -> list[dict[str, Any]]:
    """The choices of this user."""
    chosen = Preference.objects.filter(user=user)
    return [dict(row) for row in chosen.values("category", "channel", "enabled", "created_at")]


def suppressions(user: User) -> list[dict[str, Any]]:
    """Why the user's address is not written to; who put it on the list is for staff alone."""
    listed = Suppression.objects.filter(address=normal_email(user.email))
    names = ("address", "channel", "scope", "reason", "created_at", "expires_at")
    return [dict(row) for row in listed.values(*names)]


@transaction.atomic
def forget_user(user: User) -> None:
    """`forget_users` for one, however much there is."""
    while not forget_users([user]):
        pass


#: Messages, and rows of each other kind, that one call of `forget_users` touches.
_ROWS = 2_000
_NO_ONE = UUID(int=0)


@transaction.atomic
def forget_users(users: Sequence[User]) -> bool:
    """Cancel these users' queued messages and blank all personal data in the others, up to a number of rows; return
    whether that was all of it.

    The rows stay, so that the counts are right. In-app notifications and preferences are deleted. A suppression of the
    address stays in force. Webhooks are still delivered, without the address. Call it in the transaction that deletes
    or anonymises the users, before their addresses go.
    """
    keys, addresses = [user.pk for user in users], [user.email for user in users]
    pks = _keys(Message.objects.filter(user__in=keys))
    # Told by an expression: of `user IS NULL`, PostgreSQL would read all messages of everyone who is gone.
    unowned = Message.objects.alias(owner=Coalesce("user", Value(_NO_ONE, UUIDField()))).filter(owner=_NO_ONE)
    pks += _keys(unowned.filter(to_address__in=addresses))
    rows = Message.objects.filter(pk__in=pks)
    # Those handed over, too: a worker that dies now must not send a blank one later.
    rows.filter(state__in=Message.OPEN).update(
        **Message.CLOSED, state=Message.State.CANCELLED, reason="user_deleted", finished_at=timezone.now()
    )
    Attempt.objects.filter(message__in=pks).exclude(response="").update(response="")
    _forget_deliveries(users, pks)
    DeliveryEvent.objects.filter(message__in=pks).update(recipient="", detail="")
    # The event names the user, and two rows of one event may differ by nothing but the address.
    rows.update(user=None, event_key=None, to_address="", to_name="", subject="", context={}, last_error="")
    Preference.objects.filter(user__in=keys).delete()
    reports = _keys(DeliveryEvent.objects.filter(recipient__in=addresses))
    DeliveryEvent.objects.filter(pk__in=reports).update(recipient="", detail="")
    inside = _keys(InAppNotification.objects.filter(user__in=keys))
    InAppNotification.objects.filter(pk__in=inside).delete()
    return max(len(pks), len(reports), len(inside)) < _ROWS


def _keys(rows: QuerySet[Any]) -> list[int]:
    return list(rows.values_list("pk", flat=True)[:_ROWS])


def _forget_deliveries(users: Sequence[User], messages: Sequence[int]) -> None:
    """Cut the addresses out of webhooks about the users, these messages of theirs, and the addresses."""
    uids = Message.objects.filter(pk__in=messages).values_list("uid", flat=True)
    subjects = {f"address:{user.email}"[:200]: f"user:{user.pk.hex}" for user in users}
    wanted = [*subjects, *subjects.values(), *(f"message:{uid}" for uid in uids)]
    rows = list(WebhookDelivery.objects.only("subject", "body").filter(subject__in=wanted))
    # All at once: a hundred addresses in each of hundreds of bodies would be looked for one by one.
    found = re.compile("|".join(re.escape(json.dumps(user.email, ensure_ascii=False)) for user in users))
    for row in rows:
        row.subject, row.body = subjects.get(row.subject, row.subject), found.sub('""', row.body)
    WebhookDelivery.objects.bulk_update(rows, ["subject", "body"], batch_size=500)
