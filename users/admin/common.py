"""What the pages of accounts share."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html

from lib.admin.verbs import staff
from users.models import AuditEvent, User
from users.services import Actor


def actor(request: HttpRequest) -> Actor:
    return Actor.staff(reader(request), request)


def reader(request: HttpRequest) -> User:
    return cast(User, staff(request))


def may(request: HttpRequest, permission: str) -> bool:
    return reader(request).has_perm(permission)


def moment(at: datetime | None) -> str | None:
    return date_format(timezone.localtime(at), "DATETIME_FORMAT") if at else None


def short(at: datetime) -> str:
    return date_format(timezone.localtime(at), "j M Y H:i:s e")


def link(page: str, key: Any, text: Any) -> str:
    """To the page of one object; the text alone where there is none to go to."""
    try:
        return format_html('<a href="{}">{}</a>', reverse(f"admin:{page}_change", args=[key]), text)
    except NoReverseMatch:
        return str(text)


def addresses(labels: Iterable[str]) -> dict[str, str]:
    """Whom labels mean, by one query: people are kept by their id, `command:activate_user` speaks for itself."""
    ids = {}
    for label in labels:
        try:
            ids[uuid.UUID(label)] = label
        except ValueError:
            continue
    if not ids:
        return {}
    return {ids[pk]: email for pk, email in User.objects.filter(pk__in=ids).values_list("pk", "email")}


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


def refuse_out_of_reach(request: HttpRequest, user: User | None) -> None:
    """A forged press on an account above the reader's: 403, as for any button that is not there."""
    if user is not None and not reader(request).reaches(user):
        raise PermissionDenied
