"""The audit trail as its subject may read it: what happened to the own account, without what is staff's."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from lib import cursors, db
from lib.actors import RequestInfo
from users.models import AuditEvent, User
from users.services import audit

PAGE = 50
_STAFF_DOORS = (AuditEvent.Door.ADMIN, AuditEvent.Door.COMMAND)
#: What of `data` is about the person; words and names of staff are not.
_TOLD = ("amr", "changed", "count", "ended", "factor", "is_staff", "is_superuser", "kind", "pause_seconds", "why")


def page(user: User, *, before: str = "") -> list[dict[str, Any]]:
    """The newest 50 events of the account, or those before the one whose `id` is given; BAD_CURSOR."""
    rows = _rows(user)
    if before:
        rows = rows.filter(pk__lt=cursors.read(before, of=_owner(user)))
    return [told(row, user) for row in rows[:PAGE]]


def everything(user: User) -> Iterator[list[dict[str, Any]]]:
    """All of them, newest first, a slice at a time."""
    for rows in db.newest_first(_rows(user)):
        yield [told(row, user) for row in rows]


def told(row: AuditEvent, user: User) -> dict[str, Any]:
    """One event in the shape of the wire. Where staff or the product acted, from where is nobody's business."""
    by = _by(row)
    is_ours = by in {"staff", "system"}
    return {
        "id": cursors.make(row.pk, of=_owner(user)),
        "at": row.at,
        "event": row.event,
        "outcome": row.outcome,
        "by": by,
        "door": row.door,
        "ip": "" if is_ours else row.ip,
        "label": "" if is_ours else RequestInfo(user_agent=row.user_agent).client_name,
        "session_id": row.session_id.hex if row.session_id and not is_ours else None,
        "data": {key: value for key, value in row.data.items() if key in _TOLD},
    }


def _by(row: AuditEvent) -> str:
    """`staff`, `system`, `unknown` for whoever failed to prove who they are, else `you`."""
    if row.door in {AuditEvent.Door.SCHEDULE, AuditEvent.Door.IMPORT}:
        return "system"
    is_own = row.user_id is not None and row.actor == row.user_id.hex
    if row.event in audit.OF_STAFF or (row.door in _STAFF_DOORS and not is_own):
        return "staff"
    return "you" if row.outcome == AuditEvent.Outcome.OK else "unknown"


def _rows(user: User) -> QuerySet[AuditEvent]:
    return AuditEvent.objects.filter(user_id=user.pk).order_by("-id")


def _owner(user: User) -> str:
    return f"security-events:{user.pk.hex}"
