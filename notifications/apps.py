from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_started


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from notifications import checks, engine, notifications  # noqa: F401  (declare what this app brings)
        from notifications.services import chores, housekeeping

        for check in checks.ALL:
            register(check)
        chores.register("notifications.housekeeping", housekeeping.purge)
        request_started.connect(engine.request_started, dispatch_uid="notifications.engine")
