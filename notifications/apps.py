from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Tags, register
from django.core.signals import request_started
from django.utils.translation import gettext_lazy as _

import lib.events
from lib.commands import SETTINGS


class NotificationsConfig(AppConfig):
    name = "notifications"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        from notifications import events  # noqa: F401  (declares what this app publishes)
        from notifications.services import periodic_jobs

        register(_check_settings, SETTINGS)
        register(_check_types, Tags.templates)
        periodic_jobs.register("notifications.housekeeping", periodic_jobs.purge)
        quick = {"every": timedelta(seconds=15), "lease": timedelta(minutes=1)}
        periodic_jobs.register("notifications.announcements", _announcements, **quick)
        periodic_jobs.register("notifications.webhooks", _webhooks, **quick)
        lib.events.keeper = _keep
        request_started.connect(_request_started, dispatch_uid="notifications.engine")


# What sends and renders loads when it is asked for: most commands do neither.


def _keep(published: Sequence[lib.events.Event]) -> None:
    from notifications.services import endpoints

    endpoints.keep(published)


def _announcements(since: datetime | None) -> Iterator[tuple[str, int]]:
    from notifications.services import announcements

    return announcements.work()


def _webhooks(since: datetime | None) -> Iterator[tuple[str, int]]:
    from notifications.services import endpoints

    return endpoints.work()


def _check_settings(**kwargs: Any) -> list[CheckMessage]:
    from notifications import checks

    return list(chain.from_iterable(check() for check in checks.OF_SETTINGS))


def _check_types(**kwargs: Any) -> list[CheckMessage]:
    from notifications.rendering import checks

    return list(chain.from_iterable(check() for check in checks.OF_TYPES))


def _request_started(sender: type[object], **kwargs: Any) -> None:
    from notifications import engine

    engine.request_started(sender)
