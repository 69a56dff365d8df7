"""What pages and lists share."""

from __future__ import annotations

from django.http import HttpRequest

from feature_flags.models import FlagRevision
from feature_flags.services.revisions import Who
from lib.admin.verbs import staff


def who(request: HttpRequest, reason: str = "") -> Who:
    """What verbs want to know of whoever pressed."""
    return {"by": staff(request), "door": FlagRevision.Door.ADMIN, "reason": reason}


def may_see_segments(request: HttpRequest) -> bool:
    """Without it a page names segments and shows nothing of what is in them, often addresses of customers."""
    return bool(staff(request).has_perm("feature_flags.view_segment"))  # type: ignore[attr-defined]


def because(reason: str) -> str:
    """The end of a log entry."""
    return f" Reason: {reason}" if reason else ""
