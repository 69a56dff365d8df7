"""In-app notifications: written in the transaction of the change that causes them, and read by their user alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from django.db.models import DateTimeField, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from lib import async_db, db
from lib.errors import ProductError
from lib.text import whole_number
from notifications.models import InAppNotification, Severity
from notifications.registry import IN_APP, NotificationType
from notifications.rendering import render
from notifications.services import recipients

if TYPE_CHECKING:
    from users.models import User

COUNT_LIMIT = 100


def add(
    kind: NotificationType, *, user: User, context: Mapping[str, Any], language: str, key: str | None = None
) -> InAppNotification | None:
    """Write the notification, final at once; None when the user has switched its category off.

    `key` names the event: the same event adds one row. `url`, `severity` and `data` are taken from the context;
    ValueError when a client could not use them.
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
        url=_followable(str(context.get("url") or "")),
        data=context.get("data") or {},
        severity=Severity(context.get("severity") or "info"),
        key=key,
    )
    InAppNotification.objects.bulk_create([row], ignore_conflicts=True)
    return row if key is None else InAppNotification.objects.get(user=user, key=key)


# By hand for the CPU of the inbox in `make bench-accounts`: putting it into words takes the ORM longer than the answer
# of PostgreSQL. All that is shown of a row.
_PAGE = """
SELECT id, type, title, body, url, data, severity, created_at, seen_at, read_at FROM notifications_inappnotification
WHERE user_id = %s AND archived_at IS NULL {more} ORDER BY id DESC LIMIT %s
"""


async def page(
    user: User, *, unread: bool = False, cursor: str = "", limit: int = 20
) -> tuple[list[InAppNotification], str | None]:
    """The newest ones, or those after the cursor, and the cursor of the rest. What is shown for the first time comes
    with `seen_at` empty, and has been seen from then on."""
    owner = f"inbox:{user.pk}"
    after = [db.read_cursor(cursor, of=owner)] if cursor else []
    more = f"{'AND read_at IS NULL' if unread else ''} {'AND id < %s' if after else ''}"
    found = await async_db.objects(InAppNotification, _PAGE.format(more=more), user.pk, *after, limit + 1)
    items = found[:limit]
    if new := [row.pk for row in items if row.seen_at is None]:
        await InAppNotification.objects.filter(pk__in=new, seen_at=None).aupdate(seen_at=timezone.now())
    return items, db.make_cursor(items[-1].pk, of=owner) if len(found) > limit else None


#: So many unread ones take part in the tag; users have fewer before old ones are purged.
_UNREAD = """
SELECT id FROM notifications_inappnotification WHERE user_id = %s AND archived_at IS NULL AND read_at IS NULL
ORDER BY id DESC LIMIT 1000
"""


async def unread_count(user: User) -> tuple[int, str]:
    """How many are unread, counted to 100, and a tag that is another one after each that comes or is read."""
    pks = [pk for (pk,) in await async_db.fetch(_UNREAD, user.pk)]
    return min(len(pks), COUNT_LIMIT), sha256(f"{user.pk}:{pks}".encode()).hexdigest()[:32]


def mark_read(user: User, pk: str) -> InAppNotification:
    """Note that its owner has read it. Raises: NOTIFICATION_NOT_FOUND (404)."""
    now = timezone.now()
    return _changed(user, pk, read_at=_first("read_at", now), seen_at=_first("seen_at", now))


def mark_unread(user: User, pk: str) -> InAppNotification:
    return _changed(user, pk, read_at=None)


def archive(user: User, pk: str) -> InAppNotification:
    """Take it off the list, for good."""
    return _changed(user, pk, archived_at=_first("archived_at", timezone.now()))


def mark_all_read(user: User, *, before: datetime | None = None) -> int:
    """Note all as read, or those made at `before` and earlier: what came since has not been on the screen."""
    now = timezone.now()
    rows = InAppNotification.objects.filter(user=user, archived_at=None, read_at=None)
    if before is not None:
        rows = rows.filter(created_at__lte=before)
    return rows.update(read_at=now, seen_at=_first("seen_at", now))


def _changed(user: User, pk: str, **fields: Any) -> InAppNotification:
    row = InAppNotification.objects.filter(pk=whole_number(pk) or 0, user=user)
    if not row.update(**fields):
        raise ProductError("NOTIFICATION_NOT_FOUND", "There is no such notification.", status=404)
    return row.get()


def _first(column: str, now: datetime) -> Coalesce:
    """The time that is there already, so that a repeat moves nothing."""
    return Coalesce(column, Value(now, output_field=DateTimeField()))


def _followable(url: str) -> str:
    """A web address or a path of the product: a client turns it into a link, which must not run anything."""
    is_path = url.startswith("/") and not url.startswith(("//", "/\\"))
    if url and not (is_path or url.startswith(("https://", "http://"))):
        raise ValueError("The link of an in-app notification is an http address or a path.")
    if len(url) > 2000:
        raise ValueError("The link of an in-app notification has at most 2000 characters.")
    return url
