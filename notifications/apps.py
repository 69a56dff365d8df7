from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_started


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from notifications import checks, engine
        from notifications.services import chores, housekeeping

        register(checks.lease_outlives_timeout)
        register(checks.tasks_run_elsewhere)
        register(checks.tasks_have_sweeper)
        register(checks.types_have_templates)
        chores.register("notifications.housekeeping", housekeeping.purge)
        request_started.connect(engine.request_started, dispatch_uid="notifications.engine")
