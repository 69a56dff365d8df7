"""The peer: django-tasks-db and nothing else, on a database of its own with the product's options for connections.

This module is its URLconf too, since the checks ask for one.
"""

import os
from pathlib import Path

from project.settings import *  # noqa: F403
from project.settings import BASE_DIR

INSTALLED_APPS = ["django.contrib.contenttypes", "django_tasks", "django_tasks_db"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = __name__
urlpatterns: list[object] = []
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
EMAIL_HOST, EMAIL_PORT, EMAIL_TIMEOUT = "127.0.0.1", int(os.environ["SINK_PORT"]), 10
EMAIL_USE_TLS = EMAIL_USE_SSL = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates", Path(__file__).parent / "templates"],
        # As the product has it for mail.
        "OPTIONS": {"builtins": ["django.templatetags.i18n"]},
    }
]
