"""What people read inside the product: added with the change that causes it, and theirs alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from notifications import render
from notifications.models import InAppNotification
from notifications.registry import IN_APP, NotificationType
from notifications.services import recipients

if TYPE_CHECKING:
    from users.models import User


def add(
    kind: NotificationType, *, user: User, context: Mapping[str, Any], language: str, key: str | None = None
) -> InAppNotification | None:
    """Write the notification, final at once; None when the user has switched its category off.

    `key` names the event: the same event adds one row. `url`, `severity` and `data` are taken from the context.
    """
    if recipients.refusal(kind, address="", user_id=user.pk, channel=IN_APP):
        return None
    title, body = render.in_app(kind, context, language=language)
    row = InAppNotification(
        user=user,
        type=kind.code,
        category=kind.category,
        title=title,
        body=body,
        url=str(context.get("url") or ""),
        data=context.get("data") or {},
        severity=str(context.get("severity") or InAppNotification.Severity.INFO),
        key=key,
    )
    InAppNotification.objects.bulk_create([row], ignore_conflicts=True)
    return row if key is None else InAppNotification.objects.get(user=user, key=key)
