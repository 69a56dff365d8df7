"""What the pages of accounts share."""

from __future__ import annotations

from typing import Any, cast

from django.http import HttpRequest

from users.models import AuditEvent, User

#: A time to the second, as `local_time` writes it.
SECONDS = "j M Y H:i:s e"


def reader(request: HttpRequest) -> User:
    return cast(User, request.user)


def may(request: HttpRequest, permission: str) -> bool:
    return reader(request).has_perm(permission)


def told(data: dict[str, Any]) -> str:
    """The details of an event in one line: `reason: lost phone; ended: 2`."""
    return "; ".join(f"{name.replace('_', ' ')}: {_plain(value)}" for name, value in sorted(data.items()))


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


#: Which chip an outcome gets.
OUTCOMES = {
    AuditEvent.Outcome.OK: "active",
    AuditEvent.Outcome.REFUSED: "waiting",
    AuditEvent.Outcome.FAILED: "off",
}
