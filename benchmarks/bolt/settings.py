"""Django as django-bolt's manual asks of it: persistent connections, no middleware."""

import os
from urllib.parse import unquote, urlsplit

_database = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _database.path[1:],
        "USER": unquote(_database.username or ""),
        "PASSWORD": unquote(_database.password or ""),
        "HOST": _database.hostname or "",
        "PORT": _database.port or "",
        "CONN_MAX_AGE": None,
    }
}
SECRET_KEY = os.environ["TOKEN_SECRET"]
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "benchmarks.bolt.api"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_bolt", "benchmarks.bolt"]
BOLT_API = ["benchmarks.bolt.api:api"]
USE_TZ = True
