"""Every setting, read from the environment and from nowhere else; `.env.example` explains each.

What is missing has a default that starts on a laptop, or stops the start with one sentence.
"""

import logging
import os
import re
import sys
import warnings
from email.utils import parseaddr
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

from lib import email_url, mail_providers
from lib import env as read
from lib.net import bracketed

BASE_DIR = Path(__file__).resolve().parent.parent

# The environment wins over the file. `ENV_FILE=` (empty) reads none.
if env_file := os.environ.get("ENV_FILE", str(BASE_DIR / ".env")):
    environ.Env.read_env(env_file)

# What this process writes (SQLite's files, mails of `filemail:`, reports of an import) is for its own user to read,
# whichever door makes it; collected files are for all who serve them.
if "collectstatic" not in sys.argv:
    os.umask(0o077)

DEBUG = read.switch("DEBUG")
ENVIRONMENT = read.raw("ENVIRONMENT") or "dev"

# --- Secrets ----------------------------------------------------------------------------------------------------------

SECRET_KEY = read.secret("SECRET_KEY", debug=DEBUG, fallback="debug-only-secret-key-that-signs-nothing-of-worth")
# Read, never written with: unsubscribe links in old mails stay good.
SECRET_KEY_FALLBACKS = read.secrets("SECRET_KEY_FALLBACKS", debug=DEBUG)
USERS_TOKEN_SECRET = read.secret("USERS_TOKEN_SECRET", debug=DEBUG, fallback=SECRET_KEY)
USERS_TOKEN_SECRET_FALLBACKS = read.secrets("USERS_TOKEN_SECRET_FALLBACKS", debug=DEBUG)
# Secrets of one purpose each; empty: derived from USERS_TOKEN_SECRET.
USERS_ACCESS_TOKEN_SECRET = read.optional_secret("USERS_ACCESS_TOKEN_SECRET", "ACCESS_TOKEN_SECRET", debug=DEBUG)
USERS_REFRESH_TOKEN_SECRET = read.optional_secret("USERS_REFRESH_TOKEN_SECRET", debug=DEBUG)
USERS_VERIFICATION_TOKEN_SECRET = read.optional_secret("USERS_VERIFICATION_TOKEN_SECRET", debug=DEBUG)
USERS_FORGOT_PASSWORD_TOKEN_SECRET = read.optional_secret("USERS_FORGOT_PASSWORD_TOKEN_SECRET", debug=DEBUG)
# The first encrypts the secrets of authenticator apps, all read; empty: derived from USERS_TOKEN_SECRET.
USERS_ENCRYPTION_KEYS = read.secrets("USERS_ENCRYPTION_KEYS", debug=DEBUG)

# --- Where it is reached ----------------------------------------------------------------------------------------------

HOST = read.host("HOST", "127.0.0.1")
PORT = read.integer("PORT", 8000, minimum=1, maximum=65535)
WEB_CONCURRENCY = read.integer("WEB_CONCURRENCY", 1, minimum=1, maximum=256)
# How a process stops: it says so to load balancers, then closes its port, then finishes what it has begun.
DRAIN_SECONDS = read.integer("DRAIN_SECONDS", 0 if DEBUG else 5, maximum=3600)
GRACE_SECONDS = read.integer("GRACE_SECONDS", 20, minimum=1, maximum=3600)
KEEP_ALIVE_SECONDS = read.integer("KEEP_ALIVE_SECONDS", 90, minimum=1, maximum=3600)
API_LANES = read.integer("API_LANES", 4, minimum=1, maximum=64)
# Without a path: `/api`, `/admin` and the rest stand at the root of a host.
BASE_URL = read.base_url("BASE_URL", debug=DEBUG, fallback=f"http://localhost:{PORT}", may_have_path=False)
APP_URL = read.base_url("APP_URL", debug=DEBUG, fallback="http://localhost:3000")
#: Whether there is a front end to lead to, or only a place that one is expected at.
HAS_APP = bool(read.raw("APP_URL"))
TRUSTED_PROXIES = read.networks("TRUSTED_PROXIES")
PRODUCT_NAME = read.line("PRODUCT_NAME", "Switchboard")
SUPPORT_EMAIL = read.address("SUPPORT_EMAIL")

# Empty in debug is Django's own rule: localhost and its addresses.
ALLOWED_HOSTS = read.hosts("ALLOWED_HOSTS") or (
    [] if DEBUG else [bracketed(urlsplit(BASE_URL).hostname or ""), "localhost"]
)
if "*" in ALLOWED_HOSTS and not DEBUG:
    raise ImproperlyConfigured("ALLOWED_HOSTS must name the hosts this serves: `*` accepts forged ones.")

# `https://*.example.org` stands for one label. lib/net.py checks both lists for what answers in front of Django.
CORS_ALLOWED_ORIGINS, CORS_ALLOWED_ORIGIN_REGEXES = read.origins_and_patterns("CORS_ORIGINS")
# Where a flag token lists the pages that may read, feature_flags/http writes the headers.
CORS_URLS_REGEX = r"^/api(?!/frontend(/|$))(/|$)"
CORS_ALLOW_CREDENTIALS = True
CORS_ALLOW_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
CORS_ALLOW_HEADERS = ("authorization", "content-type", "if-match")
CORS_EXPOSE_HEADERS = ("Retry-After", "X-Request-ID", "ETag")
CORS_PREFLIGHT_MAX_AGE = 600
CSRF_TRUSTED_ORIGINS = [BASE_URL]

# --- Applications -----------------------------------------------------------------------------------------------------

# ninja is no app here: as one it would load in every command, with all it imports. The files of its page lie here.
_NINJA = Path(str(find_spec("ninja").origin)).parent  # type: ignore[union-attr]
INSTALLED_APPS = [
    "project.apps.ProjectConfig",
    "users.apps.UsersConfig",
    "feature_flags.apps.FeatureFlagsConfig",
    "notifications.apps.NotificationsConfig",
    "project.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "corsheaders",
]

# The API's own path (lib/asgi.py) runs these alone; RequestMiddleware is outermost so that preflights, too, carry
# the security headers and leave a log line.
API_MIDDLEWARE = [
    "lib.middleware.RequestMiddleware",
    "lib.middleware.CorsMiddleware",
    "project.errors.JsonErrorsMiddleware",
    "feature_flags.middleware.FlagsMiddleware",
]
MIDDLEWARE = [
    *API_MIDDLEWARE,
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "users.middleware.AdminSessionMiddleware",
    "lib.replica.OwnChangesMiddleware",
    "lib.middleware.ReaderMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "project.urls"
ASGI_APPLICATION = "project.asgi.application"
WSGI_APPLICATION = "project.wsgi.application"
# Of every body, whichever the path: nothing is uploaded here.
DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024
# The form of a flag with 100 rules has more fields than Django's 1,000.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates", _NINJA / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- Database ---------------------------------------------------------------------------------------------------------

DATABASES = {"default": read.database(fallback=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")}
for _alias in ("replica", "listen"):
    # Where lists and exports are read, and where notifications arrive; both PostgreSQL, as the database is.
    _name = f"DATABASE_{_alias.upper()}_URL"
    if _other := read.postgres(_name):
        if DATABASES["default"]["ENGINE"] != _other["ENGINE"]:
            raise ImproperlyConfigured(f"{_name} needs a DATABASE_URL of PostgreSQL beside it.")
        # A kept connection to a copy that was restarted is found before it is used, and made anew.
        DATABASES[_alias] = {"CONN_HEALTH_CHECKS": True} | _other | {"TEST": {"MIRROR": "default"}}
DATABASE_ROUTERS = ["lib.replica.Router"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Accounts ---------------------------------------------------------------------------------------------------------

AUTH_USER_MODEL = "users.User"
AUTHENTICATION_BACKENDS = ["users.backends.SignInBackend"]
AUTH_PASSWORD_VALIDATORS = [{"NAME": "users.services.password_strength.PolicyValidator"}]
PASSWORD_HASHERS = ["users.services.hashing.Argon2idHasher", "users.services.hashing.SeedBcryptHasher"]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

USERS_TOKEN_ISSUER = read.raw("USERS_TOKEN_ISSUER") or "switchboard"
USERS_ACCESS_TOKEN_EXPIRE_SECONDS = read.integer("USERS_ACCESS_TOKEN_EXPIRE_SECONDS", 900, minimum=10)
USERS_REFRESH_TOKEN_EXPIRE_SECONDS = read.integer("USERS_REFRESH_TOKEN_EXPIRE_SECONDS", 30 * 86400, minimum=60)
USERS_SESSION_MAX_SECONDS = read.integer("USERS_SESSION_MAX_SECONDS", 30 * 86400, minimum=60)
# 0: a session ends by its age alone.
USERS_SESSION_IDLE_SECONDS = read.integer("USERS_SESSION_IDLE_SECONDS", 0)
if 0 < USERS_SESSION_IDLE_SECONDS < 60:
    raise ImproperlyConfigured("USERS_SESSION_IDLE_SECONDS must be 0 (off) or at least 60.")
USERS_REAUTH_SECONDS = read.integer("USERS_REAUTH_SECONDS", 600, minimum=30, maximum=86400)
USERS_REFRESH_ROTATION = read.switch("USERS_REFRESH_ROTATION", True)
USERS_REFRESH_LEEWAY_SECONDS = read.integer("USERS_REFRESH_LEEWAY_SECONDS", 60, maximum=3600)
USERS_VERIFICATION_LIFETIME_SECONDS = read.integer("USERS_VERIFICATION_LIFETIME_SECONDS", 86400, minimum=60)
USERS_CODE_LIFETIME_SECONDS = read.integer("USERS_CODE_LIFETIME_SECONDS", 600, minimum=30)
USERS_CODE_MAX_ATTEMPTS = read.integer("USERS_CODE_MAX_ATTEMPTS", 5, minimum=1, maximum=100)
USERS_RESET_LIFETIME_SECONDS = read.integer("USERS_RESET_LIFETIME_SECONDS", 1800, minimum=60)
USERS_RETURN_VERIFICATION_TOKENS = read.switch("USERS_RETURN_VERIFICATION_TOKENS")
USERS_RETURN_FORGOT_PASSWORD_TOKEN = read.switch("USERS_RETURN_FORGOT_PASSWORD_TOKEN")
for _name in ("USERS_RETURN_VERIFICATION_TOKENS", "USERS_RETURN_FORGOT_PASSWORD_TOKEN"):
    if globals()[_name] and not DEBUG and ENVIRONMENT != "test":
        raise ImproperlyConfigured(f"{_name} returns secrets in answers: it needs ENVIRONMENT=test.")
USERS_ACCESS_TOKEN_VIA_COOKIE = read.switch("USERS_ACCESS_TOKEN_VIA_COOKIE")
USERS_ACCESS_TOKEN_COOKIE_SECURE = read.switch("USERS_ACCESS_TOKEN_COOKIE_SECURE", not DEBUG)
USERS_ACCESS_TOKEN_COOKIE_SAME_SITE = read.choice(
    "USERS_ACCESS_TOKEN_COOKIE_SAME_SITE", ("lax", "strict", "none"), "lax"
)
if USERS_ACCESS_TOKEN_COOKIE_SAME_SITE == "none" and not USERS_ACCESS_TOKEN_COOKIE_SECURE:
    raise ImproperlyConfigured(
        "USERS_ACCESS_TOKEN_COOKIE_SAME_SITE=none needs USERS_ACCESS_TOKEN_COOKIE_SECURE=1: without it browsers drop "
        "the cookie."
    )
USERS_ACCESS_TOKEN_COOKIE_DELETE_ON_LOGOUT = read.switch("USERS_ACCESS_TOKEN_COOKIE_DELETE_ON_LOGOUT")
USERS_ACCESS_TOKEN_COOKIE_KEEP_IN_BODY = read.switch("USERS_ACCESS_TOKEN_COOKIE_KEEP_IN_BODY")
USERS_PASSWORD_POLICY = read.choice("USERS_PASSWORD_POLICY", ("seed+", "nist"), "seed+")
USERS_REGISTER_ENUMERATION = read.choice("USERS_REGISTER_ENUMERATION", ("seed", "safe"), "seed")
USERS_IP_LIMITS = read.switch("USERS_IP_LIMITS", True)
USERS_STAFF_MFA = read.choice("USERS_STAFF_MFA", ("required", "optional"), "optional" if DEBUG else "required")
# What passkeys are bound to: a domain, and the origins of the pages that may ask for one.
USERS_WEBAUTHN_RP_ID = read.host("USERS_WEBAUTHN_RP_ID", urlsplit(APP_URL).hostname or "")
USERS_WEBAUTHN_ORIGINS = read.webauthn_origins("USERS_WEBAUTHN_ORIGINS") or sorted(
    {f"{parts.scheme}://{parts.netloc}" for parts in map(urlsplit, (APP_URL, BASE_URL))}
)
# Pages of others that may embed ours and have passkeys used inside.
USERS_WEBAUTHN_EMBEDDED_IN = read.origins("USERS_WEBAUTHN_EMBEDDED_IN")
USERS_AUDIT_RETENTION_DAYS = read.integer("USERS_AUDIT_RETENTION_DAYS", 400, minimum=1, maximum=36_500)
USERS_HASH_WORKERS = read.integer("USERS_HASH_WORKERS", min(4, os.cpu_count() or 1), minimum=1, maximum=64)
USERS_HASH_QUEUE = read.integer("USERS_HASH_QUEUE", 64, minimum=1, maximum=10_000)
USERS_ARGON2_MEMORY = read.integer("USERS_ARGON2_MEMORY", 19456, minimum=8, maximum=4 * 1024 * 1024)
USERS_ARGON2_TIME = read.integer("USERS_ARGON2_TIME", 2, minimum=1, maximum=100)
USERS_ARGON2_PARALLELISM = read.integer("USERS_ARGON2_PARALLELISM", 1, minimum=1, maximum=16)
if USERS_ARGON2_MEMORY < 8 * USERS_ARGON2_PARALLELISM:
    raise ImproperlyConfigured("USERS_ARGON2_MEMORY must be at least 8 times USERS_ARGON2_PARALLELISM.")

# --- Feature flags ----------------------------------------------------------------------------------------------------

FLAGS_EDGE = read.switch("FLAGS_EDGE", True)
FLAGS_LISTEN = read.choice("FLAGS_LISTEN", ("auto", "on", "off"), "auto")
FLAGS_POLL_MS = read.integer("FLAGS_POLL_MS", 50, minimum=10, maximum=60_000)
FLAGS_STRICT = read.switch("FLAGS_STRICT")
# `write`: a verb's own transaction is read, for tests, whose transactions never commit.
FLAGS_REBUILD = read.choice("FLAGS_REBUILD", ("commit", "write"), "commit")
if FLAGS_REBUILD == "write" and not DEBUG and ENVIRONMENT != "test":
    raise ImproperlyConfigured("FLAGS_REBUILD=write shows what is not committed: it needs ENVIRONMENT=test.")
FLAGS_OFREP_STRICT_REASON = read.switch("FLAGS_OFREP_STRICT_REASON")
FLAGS_STREAMS_MAX = read.integer("FLAGS_STREAMS_MAX", 1000, minimum=0, maximum=1_000_000)
FLAGS_USAGE_FLUSH_SECONDS = read.integer("FLAGS_USAGE_FLUSH_SECONDS", 10, minimum=1, maximum=3600)
FLAGS_USAGE_KEEP_DAYS = read.integer("FLAGS_USAGE_KEEP_DAYS", 90, minimum=1, maximum=36_500)
FLAGS_ENVIRONMENT = read.raw("FLAGS_ENVIRONMENT") or "default"

# --- Mail -------------------------------------------------------------------------------------------------------------

_token = read.token("NOTIFICATIONS_API_TOKEN")
EMAIL_URL = read.raw("EMAIL_URL") or ("consolemail://" if DEBUG else "")
if EMAIL_URL in {"", "consolemail://"}:
    # The seed knows a token of MailerSend and no address; with one, no mail should end on the console.
    EMAIL_URL = email_url.mailersend(_token) or EMAIL_URL
NOTIFICATIONS_ENGINE = read.choice("NOTIFICATIONS_ENGINE", ("embedded", "worker", "tasks", "inline", "off"), "embedded")
NOTIFICATIONS_THREADS = read.integer("NOTIFICATIONS_THREADS", 1, maximum=64)
NOTIFICATIONS_POLL = read.decimal("NOTIFICATIONS_POLL", 1.0, minimum=0.01, maximum=60)
NOTIFICATIONS_TASKS_BACKEND = read.raw("NOTIFICATIONS_TASKS_BACKEND")
NOTIFICATIONS_RETENTION_DAYS = read.integer("NOTIFICATIONS_RETENTION_DAYS", 90, minimum=1, maximum=36_500)
NOTIFICATIONS_TIMEOUT = read.integer("NOTIFICATIONS_TIMEOUT", 10, minimum=1, maximum=300)
NOTIFICATIONS_LEASE = read.integer("NOTIFICATIONS_LEASE", 30, minimum=1, maximum=3600)
NOTIFICATIONS_MAX_ATTEMPTS = read.integer("NOTIFICATIONS_MAX_ATTEMPTS", 8, minimum=1, maximum=100)
NOTIFICATIONS_BATCH = read.integer("NOTIFICATIONS_BATCH", 10, minimum=1, maximum=1000)
NOTIFICATIONS_BACKOFF_SCALE = read.decimal("NOTIFICATIONS_BACKOFF_SCALE", 1.0, minimum=0, maximum=100)
NOTIFICATIONS_REPLY_TO = read.sender("NOTIFICATIONS_REPLY_TO", "")
# What mails are written in; readers of other languages get the first.
NOTIFICATIONS_LANGUAGES = [code.lower() for code in read.words("NOTIFICATIONS_LANGUAGES")] or ["en", "de"]
if not all(re.fullmatch(r"[a-z]{2,3}(-[a-z0-9]{2,8})*", code, re.ASCII) for code in NOTIFICATIONS_LANGUAGES):
    raise ImproperlyConfigured("NOTIFICATIONS_LANGUAGES must be codes such as en, de or pt-br.")
#: What the pages of the admin are written in.
PAGE_LANGUAGES = ["en", *sorted(path.name.lower().replace("_", "-") for path in (BASE_DIR / "locale").glob("*"))]
_spoken = {code.partition("-")[0] for code in PAGE_LANGUAGES}
for _code in NOTIFICATIONS_LANGUAGES:
    # English words with the dates of another language would be neither.
    if _code.partition("-")[0] not in _spoken and not any((BASE_DIR / "templates").rglob(f"*.{_code}.*")):
        raise ImproperlyConfigured(f"NOTIFICATIONS_LANGUAGES names {_code}, which neither locale/ nor templates/ has.")
NOTIFICATIONS_INLINE_CSS = read.choice("NOTIFICATIONS_INLINE_CSS", ("auto", "on", "off"), "auto")
if NOTIFICATIONS_INLINE_CSS == "on" and find_spec("css_inline") is None:
    raise ImproperlyConfigured("NOTIFICATIONS_INLINE_CSS=on needs a package: pip install css-inline.")
NOTIFICATIONS_ALLOW_TO = [pattern.lower() for pattern in read.words("NOTIFICATIONS_ALLOW_TO")]
if not all("@" in pattern or "*" in pattern for pattern in NOTIFICATIONS_ALLOW_TO):
    raise ImproperlyConfigured("NOTIFICATIONS_ALLOW_TO must hold patterns of addresses, such as *@example.org.")
# What reports of the provider are proved with: its signing key, or `user:password` where it has none.
NOTIFICATIONS_WEBHOOK_SECRET = read.raw("NOTIFICATIONS_WEBHOOK_SECRET")
NOTIFICATIONS_UNSUBSCRIBE_MAILTO = parseaddr(read.sender("NOTIFICATIONS_UNSUBSCRIBE_MAILTO", ""))[1]
# Without an EMAIL_URL nothing is sent; Django wants a mailer all the same.
_mail = email_url.parse(EMAIL_URL or "smtp://localhost", timeout=NOTIFICATIONS_TIMEOUT)
MAILERS = _mail.pop("MAILERS")
globals().update(_mail | email_url.for_django(MAILERS))
if EMAIL_URL:
    if NOTIFICATIONS_WEBHOOK_SECRET and MAILERS["default"]["BACKEND"].startswith("anymail."):
        _provider = EMAIL_URL.partition(":")[0].lower()
        if _trouble := mail_providers.trouble(_provider, NOTIFICATIONS_WEBHOOK_SECRET):
            raise ImproperlyConfigured(_trouble)
else:
    # No provider: accounts work, messages wait, the admin shows what to set.
    NOTIFICATIONS_ENGINE = "off"
if NOTIFICATIONS_TASKS_BACKEND:
    # Whatever the engine: the tables of a backend should not come and go with a switch.
    _values, _apps = read.tasks_backend(NOTIFICATIONS_TASKS_BACKEND, read.raw("NOTIFICATIONS_TASKS_BROKER"))
    globals().update(_values)
    INSTALLED_APPS += _apps
elif read.raw("NOTIFICATIONS_TASKS_BROKER"):
    raise ImproperlyConfigured("NOTIFICATIONS_TASKS_BROKER needs NOTIFICATIONS_TASKS_BACKEND beside it.")
elif NOTIFICATIONS_ENGINE == "tasks":
    raise ImproperlyConfigured(
        "Set NOTIFICATIONS_TASKS_BACKEND to a backend of Django's Tasks API, such as django_tasks_db.DatabaseBackend."
    )
DEFAULT_FROM_EMAIL = read.sender("DEFAULT_FROM_EMAIL", "Switchboard <noreply@example.com>" if DEBUG else "")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- Webhooks ---------------------------------------------------------------------------------------------------------

# Networks that are not public and may be sent events all the same, also by http.
WEBHOOKS_ALLOWED_NETWORKS = read.networks("WEBHOOKS_ALLOWED_NETWORKS")
WEBHOOKS_TIMEOUT = read.integer("WEBHOOKS_TIMEOUT", 15, minimum=1, maximum=60)
WEBHOOKS_RETENTION_DAYS = read.integer("WEBHOOKS_RETENTION_DAYS", 30, minimum=4, maximum=36_500)

# --- Agents -----------------------------------------------------------------------------------------------------------

# The MCP server: `/mcp`, and `manage.py mcp`. Off, nothing of it is loaded.
MCP = read.switch("MCP")
if MCP and find_spec("mcp") is None:
    raise ImproperlyConfigured("MCP=1 needs a package: pip install mcp.")

# --- Pages ------------------------------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATICFILES_DIRS = [_NINJA / "static"]
STATIC_ROOT = BASE_DIR / "staticfiles"
# Until `collectstatic` has run (the image runs it), files are served from the applications, unhashed.
_is_collected = not DEBUG and (STATIC_ROOT / "staticfiles.json").exists()
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = not _is_collected
WHITENOISE_ALLOW_ALL_ORIGINS = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"
        if _is_collected or "collectstatic" in sys.argv
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = ["lib.formats"]

SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not DEBUG
SESSION_COOKIE_NAME = "sessionid" if DEBUG else "__Host-sessionid"
CSRF_COOKIE_NAME = "csrftoken" if DEBUG else "__Host-csrftoken"
SECURE_HSTS_SECONDS = 0 if DEBUG else 31_536_000
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # subdomains and the preload list are not ours to promise
    "security.W021",
    "security.W008",  # the proxy that ends TLS redirects; behind one, this process sees plain http
]

# --- Logs and metrics -------------------------------------------------------------------------------------------------

logging.captureWarnings(True)
# whitenoise hands files over as plain iterators; they are small, and read once.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")
# The bearer of /metrics; unset, there is no such page.
METRICS_TOKEN = read.optional_secret("METRICS_TOKEN", debug=DEBUG)
# Where `notifications_worker` answers /metrics, which serves nothing else; 0: nowhere.
METRICS_PORT = read.integer("METRICS_PORT", 0, maximum=65535)
if METRICS_PORT and not METRICS_TOKEN:
    raise ImproperlyConfigured("METRICS_PORT needs METRICS_TOKEN beside it, the bearer of who may read.")
# Traces by OpenTelemetry and errors to Sentry: unset, nothing of either is loaded.
OTEL_EXPORTER_OTLP_ENDPOINT = read.receiver("OTEL_EXPORTER_OTLP_ENDPOINT")
SENTRY_DSN = read.receiver("SENTRY_DSN")
for _name, _package, _extra in (
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "opentelemetry", "otel"),
    ("SENTRY_DSN", "sentry_sdk", "sentry"),
):
    if globals()[_name] and find_spec(_package) is None:
        raise ImproperlyConfigured(f"{_name} needs packages: pip install --requirement requirements/{_extra}.txt.")
# What was deployed, such as the tag of the image; workers show it.
RELEASE = read.raw("RELEASE")[:40]
LOG_LEVEL = read.choice("LOG_LEVEL", ("debug", "info", "warning", "error"), "info").upper()
_log_format = read.choice("LOG_FORMAT", ("auto", "json", "text"), "auto")
_is_json = _log_format == "json" or (_log_format == "auto" and not sys.stderr.isatty())
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "lib.logs.JsonFormatter"}, "text": {"()": "lib.logs.TextFormatter"}},
    "filters": {"refusals": {"()": "lib.logs.Refusals"}},
    "handlers": {
        "stderr": {
            "class": "lib.logs.LineHandler" if _is_json else "logging.StreamHandler",
            "formatter": "json" if _is_json else "text",
            "filters": ["refusals"],
        }
    },
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django's own lines repeat ours; its tracebacks of 500s do not, and stay.
        "django": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "django.request": {"level": "ERROR"},
        "django.server": {"handlers": [], "propagate": False},
        "uvicorn": {"level": "WARNING"},
        # Django reads this once more after uvicorn has switched its access log off, and would undo that: what is named
        # here sets back what is below it.
        "uvicorn.access": {"handlers": [], "propagate": False},
    },
}
