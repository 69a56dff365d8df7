"""Exporting and erasing what is stored about one user. Exports come in slices, since there may be many rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from lib import db
from lib.addresses import normal_email
from notifications.models import Attempt, DeliveryEvent, InAppNotification, Message, Preference, Suppression

if TYPE_CHECKING:
    from users.models import User

Rows = Iterator[list[dict[str, Any]]]


def messages(user: User, *, hidden: Q | None = None) -> Rows:
    """Every message to this person, newest first, with the provider's reports; `hidden` are left out."""
    rows = Message.objects.filter(user=user)
    shown = rows.exclude(hidden) if hidden is not None else rows
    return map(_message_data, db.newest_first(shown, by="created_at"))


def inbox(user: User) -> Rows:
    """Every in-app notification, the archived ones included, newest first."""
    for rows in db.newest_first(InAppNotification.objects.filter(user=user)):
        yield [_inbox_data(row) for row in rows]


def preferences(user: User) -> list[dict[str, Any]]:
    """The choices of this user."""
    chosen = Preference.objects.filter(user=user)
    return [dict(row) for row in chosen.values("category", "channel", "enabled", "created_at")]


def suppressions(user: User) -> list[dict[str, Any]]:
    """Why the user's address is not written to; who put it on the list is for staff alone."""
    listed = Suppression.objects.filter(address=normal_email(user.email))
    names = ("address", "channel", "scope", "reason", "created_at", "expires_at")
    return [dict(row) for row in listed.values(*names)]


def _message_data(rows: list[Message]) -> list[dict[str, Any]]:
    events: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for event in DeliveryEvent.objects.filter(message__in=[row.pk for row in rows]):
        events[event.message_id or 0].append({"kind": event.kind, "at": event.at})
    return [
        {
            "id": row.uid.hex,
            "type": row.type,
            "category": row.category,
            "channel": row.channel,
            "language": row.language,
            "to_address": row.to_address,
            "to_name": row.to_name,
            "subject": row.subject,
            "context": row.context,
            "state": row.state,
            "delivery_state": row.delivery_state,
            "created_at": row.created_at,
            "sent_at": row.sent_at,
            "events": events[row.pk],
        }
        for row in rows
    ]


def _inbox_data(row: InAppNotification) -> dict[str, Any]:
    return {
        "id": row.pk,
        "type": row.type,
        "category": row.category,
        "title": row.title,
        "body": row.body,
        "url": row.url,
        "data": row.data,
        "severity": row.severity,
        "created_at": row.created_at,
        "seen_at": row.seen_at,
        "read_at": row.read_at,
        "archived_at": row.archived_at,
    }


@transaction.atomic
def forget_user(user: User) -> int:
    """Cancel this user's queued messages and blank all personal data in the others; return how many were blanked.

    The rows stay, so that the counts are right. In-app notifications and preferences are deleted. A suppression of the
    address stays in force. Call it in the transaction that deletes or anonymises the user, before the address goes.
    """
    theirs = Q(user=user) | Q(user=None, to_address=user.email)
    pks = list(Message.objects.filter(theirs).values_list("pk", flat=True))
    rows = Message.objects.filter(pk__in=pks)
    # Those handed over, too: a worker that dies now must not send a blank one later.
    rows.filter(state__in=Message.OPEN).update(
        state=Message.State.CANCELLED,
        reason="user_deleted",
        due_at=None,
        lease_token=None,
        lease_owner="",
        handed_at=None,
        finished_at=timezone.now(),
    )
    Attempt.objects.filter(message__in=pks).update(response="")
    InAppNotification.objects.filter(user=user).delete()
    Preference.objects.filter(user=user).delete()
    DeliveryEvent.objects.filter(Q(message__in=pks) | Q(recipient=user.email)).update(recipient="", detail="")
    return rows.update(
        user=None,
        # It names the user, and two rows of one event may differ by nothing but the address.
        event_key=None,
        to_address="",
        to_name="",
        subject="",
        context={},
        last_error="",
    )
