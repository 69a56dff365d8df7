"""`celery -A project worker`, where NOTIFICATIONS_TASKS_BACKEND is `lib.celery_backend.CeleryBackend`."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

from lib.celery_backend import app

__all__ = ["app"]
