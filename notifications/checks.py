"""What must be true before the first message: `manage.py check` says so, and the engines refuse to start."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning

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


def tasks_run_elsewhere(**kwargs: Any) -> list[CheckMessage]:
    """E002: an immediate backend would send while the caller waits."""
    if settings.NOTIFICATIONS_ENGINE != "tasks":
        return []
    try:
        from notifications import tasks

        backend = tasks.deliver.get_backend()
    except Exception as error:
        said = f"The backend of NOTIFICATIONS_TASKS_BACKEND cannot be used ({type(error).__name__})."
        return [Error(said, id="notifications.E002")]
    if "ImmediateBackend" not in {base.__name__ for base in type(backend).__mro__}:
        return []
    return [
        Error(
            "NOTIFICATIONS_TASKS_BACKEND must not be immediate: it would send while the caller waits. "
            "Use django_tasks_db.DatabaseBackend, or NOTIFICATIONS_ENGINE=inline in tests.",
            id="notifications.E002",
        )
    ]


def tasks_have_sweeper(**kwargs: Any) -> list[CheckMessage]:
    """W005: a lost task would be nobody's."""
    if settings.NOTIFICATIONS_ENGINE != "tasks" or settings.NOTIFICATIONS_THREADS:
        return []
    return [
        Warning(
            "With NOTIFICATIONS_ENGINE=tasks and NOTIFICATIONS_THREADS=0 nobody sends what a task has lost or what is "
            "tried again, unless `notifications_worker` runs.",
            id="notifications.W005",
        )
    ]


def types_have_templates(**kwargs: Any) -> list[CheckMessage]:
    """E004: a type without its files would fail at the first message."""
    return [
        Error(f"{kind.code} lacks {', '.join(missing)} in the template directories.", id="notifications.E004")
        for kind in registry.declared_types()
        if (missing := render.missing_files(kind))
    ]
