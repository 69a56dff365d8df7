"""Who passes: what the session of a signed-in member of staff has proved, and how long ago. Asks no query."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from users.models import UserSession
from users.services import factors

#: What counts as a second factor in `amr`.
_SECOND = frozenset(factors.AMR.values())


def session_of(request: HttpRequest) -> UserSession | None:
    """The UserSession of the request, as AdminSessionMiddleware found it."""
    return getattr(request, "staff_session", None)


def has_second(request: HttpRequest) -> bool:
    """Whether a second factor was proved in this session."""
    session = session_of(request)
    return session is not None and not _SECOND.isdisjoint(session.amr)


def is_enough(request: HttpRequest) -> bool:
    """Whether what was proved opens the admin: with USERS_STAFF_MFA=required, a second factor."""
    return settings.USERS_STAFF_MFA != "required" or has_second(request)


def is_fresh(request: HttpRequest) -> bool:
    """Whether the person proved who they are within USERS_REAUTH_SECONDS."""
    session = session_of(request)
    return session is not None and timezone.now() - session.auth_at <= timedelta(seconds=settings.USERS_REAUTH_SECONDS)
