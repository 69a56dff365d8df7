"""The settings of the test suite: their own values, whatever `.env` and the shell hold."""

import os
import tempfile
from pathlib import Path

_OURS = ("USERS_", "NOTIFICATIONS_", "POSTGRES_", "FLAGS_", "WEBHOOKS_")
for _name in list(os.environ):
    if _name.startswith(_OURS):
        del os.environ[_name]

os.environ.update(
    ENV_FILE="",
    DEBUG="0",
    ENVIRONMENT="test",
    SECRET_KEY="test-only-0123456789-abcdefghijklmnopqrstuvwxyz",
    USERS_TOKEN_SECRET="test-only-token-secret-0123456789-abcdefghijkl",
    ACCESS_TOKEN_SECRET="",
    DATABASE_URL=os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{Path(tempfile.gettempdir())}/switchboard-test.db",
    BASE_URL="http://testserver",
    APP_URL="https://app.example.org/",
    ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
    CORS_ORIGINS="https://app.example.org; https://other.example.org/",
    EMAIL_URL="memorymail://",
    DEFAULT_FROM_EMAIL="Switchboard <noreply@example.org>",
    NOTIFICATIONS_ENGINE="inline",
    TRUSTED_PROXIES="",
    LOG_LEVEL="info",
    LOG_FORMAT="json",
    FLAGS_STRICT="1",
    FLAGS_REBUILD="write",
    # Hashing as slow as in production would be most of the suite's time; one test checks the real cost.
    USERS_ARGON2_MEMORY="64",
    USERS_ARGON2_TIME="1",
)

from project.settings import *  # noqa: E402, F403
from project.settings import BASE_DIR, DATABASES  # noqa: E402

# A file: threads and processes share it, which they cannot do with a database in memory.
DATABASES["default"]["TEST"] = (
    {}
    if os.environ.get("TEST_DATABASE_URL")
    else {"NAME": str(Path(tempfile.gettempdir()) / f"switchboard-test-{os.getuid()}-{BASE_DIR.name}.sqlite3")}
)
# Nothing here has to survive a power cut.
if os.environ.get("TEST_DATABASE_URL"):
    DATABASES["default"]["OPTIONS"]["options"] = "-c synchronous_commit=off"
else:
    DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA synchronous=OFF;"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = False
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "sessionid", "csrftoken"
