from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class ProjectConfig(AppConfig):
    name = "project"

    def ready(self) -> None:
        from project import periodic_jobs

        periodic_jobs.register()


class AdminConfig(DjangoAdminConfig):
    default_site = "project.admin.SwitchboardAdminSite"
