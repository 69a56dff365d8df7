from django.apps import AppConfig
from django.core.checks import Tags, register
from django.core.signals import request_started

from lib.commands import SETTINGS


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from notifications import checks, engine, notifications  # noqa: F401  (declare what this app brings)
        from notifications.services import periodic_jobs

        for check in checks.OF_SETTINGS:
            register(check, SETTINGS)
        register(checks.types_have_templates, Tags.templates)
        periodic_jobs.register("notifications.housekeeping", periodic_jobs.purge)
        request_started.connect(engine.request_started, dispatch_uid="notifications.engine")
