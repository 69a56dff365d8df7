"""What must be true before the first message: `manage.py check` says so, and the engines refuse to start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from notifications import registry, render


def lease_outlives_timeout(**kwargs: Any) -> list[CheckMessage]:
    """E001: a lease that ends while a mail server still answers would let a second worker send a copy."""
    timeout = max(settings.NOTIFICATIONS_TIMEOUT, settings.EMAIL_TIMEOUT or 0)
    least = 2 * timeout + 10
    if least <= settings.NOTIFICATIONS_LEASE:
        return []
    return [
        Error(
            f"NOTIFICATIONS_LEASE must be at least {least} seconds: twice the timeout of {timeout} seconds, plus 10.",
            id="notifications.E001",
        )
    ]


def types_have_templates(**kwargs: Any) -> list[CheckMessage]:
    """E004: a type without its files would fail at the first message."""
    return [
        Error(f"{kind.code} lacks {', '.join(missing)} in the template directories.", id="notifications.E004")
        for kind in registry.declared_types()
        if (missing := render.missing_files(kind))
    ]
