"""What pages and lists share."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest

from lib.actors import Actor


def who(request: HttpRequest, reason: str = "") -> dict[str, Any]:
    """The arguments of a service that say who acts, and why."""
    return {"actor": Actor.of(request, "admin"), "reason": reason}


def may_see_segments(request: HttpRequest) -> bool:
    """Without it a page names segments and shows nothing of what is in them, often addresses of customers."""
    return request.user.has_perm("feature_flags.view_segment")


def because(reason: str) -> str:
    """The end of a log entry."""
    return f" Reason: {reason}" if reason else ""
