"""What must be true before the first message: `manage.py check` says so, and the engines refuse to start."""

from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connection

from notifications import providers, registry, render


def refuse_start() -> list[CheckMessage]:
    """The errors that no engine starts with."""
    return [*lease_outlives_timeout(), *provider_is_installed(), *sender_is_set()]


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


def provider_is_installed(**kwargs: Any) -> list[CheckMessage]:
    """E003: EMAIL_URL names a provider that needs a package which is not there."""
    name = providers.module()
    if not name.startswith("anymail."):
        return []
    needs, pip = ("boto3", '"django-anymail[amazon-ses]"') if name.endswith("_ses") else ("anymail", "django-anymail")
    if find_spec("anymail") and find_spec(needs):
        return []
    return [
        Error(f"The provider of EMAIL_URL needs a package: python -m pip install {pip}", id="notifications.E003"),
    ]


def sender_is_set(**kwargs: Any) -> list[CheckMessage]:
    """E006: mail that leaves this machine needs a sender."""
    if settings.NOTIFICATIONS_ENGINE == "off" or settings.DEFAULT_FROM_EMAIL or not providers.is_real():
        return []
    return [Error("Set DEFAULT_FROM_EMAIL to the address that mail comes from.", id="notifications.E006")]


def mail_leaves(**kwargs: Any) -> list[CheckMessage]:
    """W001: outside debug nobody reads a console, and codes stand in its log."""
    if (
        settings.NOTIFICATIONS_ENGINE == "off"
        or settings.DEBUG
        or settings.ENVIRONMENT == "test"
        or providers.is_real()
    ):
        return []
    return [
        Warning(
            f"Mail goes to {providers.configured().alias} and reaches nobody; its codes and links can be read there.",
            hint="Set EMAIL_URL to a mail server or provider.",
            id="notifications.W001",
        )
    ]


def sqlite_waits_its_turn(**kwargs: Any) -> list[CheckMessage]:
    """W003: without IMMEDIATE two workers that write at once fail with "database is locked"."""
    options = connection.settings_dict.get("OPTIONS", {})
    if connection.vendor != "sqlite" or str(options.get("transaction_mode", "")).upper() in {"IMMEDIATE", "EXCLUSIVE"}:
        return []
    return [
        Warning(
            "SQLite is used without transaction_mode=IMMEDIATE: workers will fail with `database is locked`.",
            id="notifications.W003",
        )
    ]


def unsubscribing_survives(**kwargs: Any) -> list[CheckMessage]:
    """W004: a provider that drops headers, and types that people may unsubscribe from."""
    optional = [kind for kind in registry.declared_types() if registry.EMAIL in kind.channels and not kind.required]
    if not optional or providers.configured().capabilities.custom_headers:
        return []
    return [
        Warning(
            "MailerSend drops List-Unsubscribe from most accounts, which optional mails such as "
            f"{optional[0].code} need.",
            hint="Use its mail server: EMAIL_URL=smtp+tls://user:password@smtp.mailersend.net:587.",
            id="notifications.W004",
        )
    ]


ALL = (
    lease_outlives_timeout,
    types_have_templates,
    provider_is_installed,
    sender_is_set,
    mail_leaves,
    sqlite_waits_its_turn,
    unsubscribing_survives,
)
