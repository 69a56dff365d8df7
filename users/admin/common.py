"""What the pages of accounts share: the user who looks at them, and how an audit event reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.http import HttpRequest
from django.utils.translation import gettext as _

from lib.admin.lists import chip
from users.models import AuditEvent, User

_OUTCOME_CHIPS = {
    AuditEvent.Outcome.OK: "active",
    AuditEvent.Outcome.REFUSED: "waiting",
    AuditEvent.Outcome.FAILED: "off",
}


def staff_user(request: HttpRequest) -> User:
    return cast(User, request.user)


def outcome_chip(event: AuditEvent) -> str:
    return chip(_OUTCOME_CHIPS[AuditEvent.Outcome(event.outcome)], event.get_outcome_display())


def details_line(data: dict[str, Any]) -> str:
    """The details of an event in one line: `reason: lost phone; ended: 2`."""

    def plain(value: Any) -> str:
        if isinstance(value, bool):
            return "yes" if value else "no"
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    return "; ".join(f"{name.replace('_', ' ')}: {plain(value)}" for name, value in sorted(data.items()))


def actor_of(event: AuditEvent, names: Mapping[str, str]) -> str:
    """Who acted, with `names` as from `actor_names`; a failed attempt on an account may be anyone's."""
    if event.user_id and event.actor == event.user_id.hex:
        return _("the owner") if event.outcome == AuditEvent.Outcome.OK else _("somebody")
    return names[event.actor] or _("somebody")
