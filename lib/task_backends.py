"""From the name of a Tasks backend to the settings it needs, so that a deployment sets one or two variables."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import django
from django.core.exceptions import ImproperlyConfigured

CELERY = "lib.celery_backend.CeleryBackend"
RQ = "django_tasks_rq"


def settings_of(backend: str, broker: str = "") -> tuple[dict[str, Any], list[str]]:
    """The settings, and the applications to install; raises ImproperlyConfigured when one is missing."""
    package = backend.partition(".")[0]
    apps = [] if django.VERSION >= (6, 0) and package != RQ else ["django_tasks"]
    if backend != CELERY and package not in {"django", "django_tasks"}:
        apps.append(package)
    if package == RQ:
        apps.append("django_rq")
    needed = [*apps, "celery"] if backend == CELERY else apps
    if missing := [name.replace("_", "-") for name in needed if find_spec(name) is None]:
        raise ImproperlyConfigured(
            f"NOTIFICATIONS_TASKS_BACKEND needs what is missing: pip install {' '.join(missing)}"
        )
    values: dict[str, Any] = {"TASKS": {"default": {"BACKEND": backend}}}
    if backend == CELERY or package == RQ:
        if not broker:
            raise ImproperlyConfigured(
                "Set NOTIFICATIONS_TASKS_BROKER to the broker's address, such as redis://127.0.0.1:6379/0."
            )
        values |= _rq(broker) if package == RQ else _celery(broker)
    return values, apps


def _rq(broker: str) -> dict[str, Any]:
    # A Redis that does not answer must not delay the request.
    url = f"{broker}{'&' if '?' in broker else '?'}socket_connect_timeout=2"
    return {"RQ_QUEUES": {"default": {"URL": url}}, "RQ_SHOW_ADMIN_LINK": False}


def _celery(broker: str) -> dict[str, Any]:
    # The same of whatever broker: one more try at once, and no more.
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1}
    if broker.startswith("redis"):
        options["socket_connect_timeout"] = 2
    return {
        "CELERY_BROKER_URL": broker,
        "CELERY_BROKER_CONNECTION_TIMEOUT": 2,
        "CELERY_BROKER_TRANSPORT_OPTIONS": options,
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        "CELERY_TASK_IGNORE_RESULT": True,
        "CELERY_WORKER_HIJACK_ROOT_LOGGER": False,
    }
