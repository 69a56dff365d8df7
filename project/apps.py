from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig as DjangoAdminConfig


class ProjectConfig(AppConfig):
    name = "project"


class AdminConfig(DjangoAdminConfig):
    default_site = "project.admin.SwitchboardAdminSite"
