"""System checks of the settings of notifications; the engines refuse to start with the most serious errors."""

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.db import connection

from lib import email_url
from notifications import providers

Found = Iterator[CheckMessage]


def refuse_start() -> list[CheckMessage]:
    """The errors that no engine starts with."""
    return [*lease_outlives_timeout(), *tasks_run_elsewhere(), *provider_is_installed(), *sender_is_set()]


def lease_outlives_timeout(**kwargs: Any) -> Found:
    """E001: a lease that ends while a mail server still answers would let a second worker send a copy."""
    timeout = max(settings.NOTIFICATIONS_TIMEOUT, email_url.mailer()[1].get("timeout", 0))
    least = 2 * timeout + 10
    if least > settings.NOTIFICATIONS_LEASE:
        text = f"NOTIFICATIONS_LEASE must be at least {least} seconds: twice the timeout of {timeout} seconds, plus 10."
        yield Error(text, id="notifications.E001")


def tasks_run_elsewhere(**kwargs: Any) -> Found:
    """E002: an immediate backend would send while the caller waits."""
    if settings.NOTIFICATIONS_ENGINE != "tasks":
        return
    try:
        from notifications import tasks

        backend = tasks.deliver.get_backend()
    except Exception as error:
        text = f"The backend of NOTIFICATIONS_TASKS_BACKEND cannot be used ({type(error).__name__})."
        yield Error(text, id="notifications.E002")
        return
    if "ImmediateBackend" in {base.__name__ for base in type(backend).__mro__}:
        yield Error(
            "NOTIFICATIONS_TASKS_BACKEND must not be immediate: it would send while the caller waits. "
            "Use django_tasks_db.DatabaseBackend, or NOTIFICATIONS_ENGINE=inline in tests.",
            id="notifications.E002",
        )


def tasks_have_sweeper(**kwargs: Any) -> Found:
    """W005: a lost task would not be noticed."""
    if settings.NOTIFICATIONS_ENGINE == "tasks" and not settings.NOTIFICATIONS_THREADS:
        yield Warning(
            "With NOTIFICATIONS_ENGINE=tasks and NOTIFICATIONS_THREADS=0 nothing sends what a task has lost or what is "
            "tried again, unless `notifications_worker` runs.",
            id="notifications.W005",
        )


def provider_is_installed(**kwargs: Any) -> Found:
    """E003: EMAIL_URL names a provider that needs a package which is not there."""
    name = providers.module()
    needs, pip = ("boto3", '"django-anymail[amazon-ses]"') if name.endswith("_ses") else ("anymail", "django-anymail")
    if name.startswith("anymail.") and not (find_spec("anymail") and find_spec(needs)):
        yield Error(f"The provider of EMAIL_URL needs a package: python -m pip install {pip}", id="notifications.E003")


def sender_is_set(**kwargs: Any) -> Found:
    """E006: mail that leaves this machine needs a sender."""
    if settings.NOTIFICATIONS_ENGINE != "off" and not settings.DEFAULT_FROM_EMAIL and providers.is_real():
        yield Error("Set DEFAULT_FROM_EMAIL to the address that mail comes from.", id="notifications.E006")


def mail_leaves(**kwargs: Any) -> Found:
    """W001: outside debug a console has no reader, and codes would stand in its log."""
    is_meant = settings.NOTIFICATIONS_ENGINE == "off" or settings.DEBUG or settings.ENVIRONMENT == "test"
    if not is_meant and not providers.is_real():
        yield Warning(
            f"Mail goes to {providers.configured().alias} and to no mailbox; its codes and links can be read there.",
            hint="Set EMAIL_URL to a mail server or provider.",
            id="notifications.W001",
        )


def sqlite_waits_its_turn(**kwargs: Any) -> Found:
    """W003: without IMMEDIATE two workers that write at once fail with "database is locked"."""
    mode = str(connection.settings_dict.get("OPTIONS", {}).get("transaction_mode", "")).upper()
    if connection.vendor == "sqlite" and mode not in {"IMMEDIATE", "EXCLUSIVE"}:
        text = "SQLite is used without transaction_mode=IMMEDIATE: workers will fail with `database is locked`."
        yield Warning(text, id="notifications.W003")


OF_SETTINGS = (
    lease_outlives_timeout,
    tasks_run_elsewhere,
    tasks_have_sweeper,
    provider_is_installed,
    sender_is_set,
    mail_leaves,
    sqlite_waits_its_turn,
)
