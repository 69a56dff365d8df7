"""The product through Django's stock ASGI handler and the whole of settings.MIDDLEWARE: what the lanes save."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_asgi_application()

from django.db import connections  # noqa: E402

# As Django's manual asks of ASGI: every request has a new thread here, so a persistent connection is never used
# again, only left open, and PostgreSQL soon refuses new ones.
connections.settings["default"]["CONN_MAX_AGE"] = 0
