from importlib import import_module
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_admin_app, check_dependencies
from django.core import checks


class ProjectConfig(AppConfig):
    name = "project"

    def ready(self) -> None:
        from lib import error_reports, tracing
        from project import audiences, periodic_jobs

        if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
            tracing.start()
        if settings.SENTRY_DSN:
            error_reports.start()
        audiences.register()
        periodic_jobs.register()


class AdminConfig(SimpleAdminConfig):
    """The pages are discovered by `project/admin_urls.py`: what shows none of them does not load them."""

    default_site = "project.admin.SwitchboardAdminSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(_check_pages, checks.Tags.admin)


def _check_pages(app_configs: Any, **kwargs: Any) -> Any:
    import_module("project.admin_urls")
    return check_admin_app(app_configs, **kwargs)
