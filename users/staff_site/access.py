"""What the session of a signed-in member of staff has proved, and how long ago. Makes no query."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest
from django.utils import timezone

from users.models import UserSession


def _session(request: HttpRequest) -> UserSession | None:
    """The UserSession of the request, as AdminSessionMiddleware found it."""
    return getattr(request, "staff_session", None)


def is_staff(request: HttpRequest) -> bool:
    """Whether a member of staff is signed in, whatever was proved."""
    return request.user.is_active and request.user.is_staff


def has_second_factor(request: HttpRequest) -> bool:
    """Whether a second factor was proved in this session."""
    session = _session(request)
    return session is not None and session.has_second_factor


def is_enough(request: HttpRequest) -> bool:
    """Whether what was proved opens the admin: with USERS_STAFF_MFA=required, a second factor."""
    return settings.USERS_STAFF_MFA != "required" or has_second_factor(request)


def is_fresh(request: HttpRequest) -> bool:
    """Whether the user proved who they are within USERS_REAUTH_SECONDS."""
    session = _session(request)
    return session is not None and timezone.now() - session.auth_at <= timedelta(seconds=settings.USERS_REAUTH_SECONDS)


def offers_passkeys() -> bool:
    """Whether a browser may use this site's passkeys on pages under BASE_URL (WebAuthn, 5.1.3 and 13.4.9)."""
    parts, rp_id = urlsplit(settings.BASE_URL), settings.USERS_WEBAUTHN_RP_ID
    host = parts.hostname or ""
    fits = bool(rp_id) and (host == rp_id or host.endswith(f".{rp_id}"))
    return fits and f"{parts.scheme}://{parts.netloc}" in settings.USERS_WEBAUTHN_ORIGINS
