"""What pages and lists share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from django.http import HttpRequest

from feature_flags.models import FlagRevision
from feature_flags.services.revisions import Who
from lib.actors import Actor

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser


def by_staff(service: Callable[..., Any], **fixed: Any) -> Callable[..., Any]:
    """The service as a verb of the admin calls it."""

    def run(obj: Any, *, actor: Actor, reason: str = "", **given: Any) -> Any:
        return service(obj, by=actor.user, door=FlagRevision.Door.ADMIN, reason=reason, **fixed, **given)

    return run


def who(request: HttpRequest, reason: str = "") -> Who:
    """What verbs want to know of whoever pressed."""
    return {"by": cast("AbstractBaseUser", request.user), "door": FlagRevision.Door.ADMIN, "reason": reason}


def may_see_segments(request: HttpRequest) -> bool:
    """Without it a page names segments and shows nothing of what is in them, often addresses of customers."""
    return request.user.has_perm("feature_flags.view_segment")


def because(reason: str) -> str:
    """The end of a log entry."""
    return f" Reason: {reason}" if reason else ""
