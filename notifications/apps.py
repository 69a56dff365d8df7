from django.apps import AppConfig
from django.core.checks import register
from django.core.signals import request_started


class NotificationsConfig(AppConfig):
    name = "notifications"

    def ready(self) -> None:
        from notifications import checks, engine, notifications  # noqa: F401  (declare what this app brings)

        register(checks.lease_outlives_timeout)
        register(checks.types_have_templates)
        register(checks.optional_types_can_be_ended)
        request_started.connect(engine.request_started, dispatch_uid="notifications.engine")
