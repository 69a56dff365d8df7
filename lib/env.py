"""Readers of the environment: each returns a value that can be used, or stops the start with one sentence."""

from __future__ import annotations

import ipaddress
import os
import re
import warnings
from collections.abc import Callable, Iterable
from email.utils import getaddresses
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import django
import environ
from django.core.exceptions import ImproperlyConfigured

from lib.net import DEFAULT_PORTS, bracketed, normal_host, normal_netloc, normal_origin, origin_pattern

#: Values printed in documentation somewhere, in lower case: anyone can sign tokens with them.
WELL_KNOWN_SECRETS = (
    "setmeinenvvars!",
    "super-secret-token",
    "change-me",
    "changeme",
    "secret",
    "django-insecure",
    "please-change-this-to-a-long-random-value",
)
SECRET_MIN_LENGTH = 32
_FILE_LENGTH = 100_000

_NO_ORIGIN = "holds something that is no origin like"
_NO_HOST = "must be a host like api.example.org: no scheme, no port, no `*`."
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]*[^@\s<>,;.]")


def raw(name: str, *, may_be_empty: bool = False) -> str:
    """The value as given, or the content of the file that `{name}_FILE` names, as Docker and systemd hand out secrets.

    An empty file stops the start, where it `may_be_empty` it does not: a named file never means the default.
    django-environ reads `$X` as a reference, which a random secret may start with.
    """
    value, path = (os.environ.get(key, "").strip() for key in (name, f"{name}_FILE"))
    if value and path:
        raise ImproperlyConfigured(f"Set {name} or {name}_FILE, not both.")
    if not path:
        return value
    try:
        with Path(path).open(encoding="utf-8-sig") as file:
            value = file.read(_FILE_LENGTH + 1).strip()
    except (OSError, ValueError) as error:
        # Its own words may repeat what the file holds.
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ImproperlyConfigured(f"{name}_FILE names a file that cannot be read: {why}.") from None
    if len(value) > _FILE_LENGTH:
        raise ImproperlyConfigured(f"{name}_FILE names a file that holds more than {_FILE_LENGTH:,} characters.")
    if not value and not may_be_empty:
        raise ImproperlyConfigured(f"{name}_FILE names a file that is empty.")
    return value


def secret(name: str, *, debug: bool, fallback: str) -> str:
    """A secret of at least 32 characters; in debug `fallback` stands in for a missing one."""
    if not raw(name) and not debug:
        raise ImproperlyConfigured(f"Set {name} to a random value of at least {SECRET_MIN_LENGTH} characters.")
    return optional_secret(name, debug=debug) or fallback


def optional_secret(*names: str, debug: bool) -> str:
    """The secret under the first of the names that is set, or nothing; in debug it may be weak."""
    for name in names:
        if value := raw(name):
            return value if debug else strong(name, value)
    return ""


def secrets(name: str, *, debug: bool) -> list[str]:
    """A list of secrets; in debug they may be weak."""
    return [value if debug else strong(name, value) for value in words(name)]


def strong(name: str, value: str) -> str:
    """Refuse a secret that can be guessed; the message names the setting, never its value."""
    if value.lower().startswith(WELL_KNOWN_SECRETS):
        raise ImproperlyConfigured(f"{name} is a published sample value: set it to a random one.")
    if len(value) < SECRET_MIN_LENGTH:
        raise ImproperlyConfigured(f"{name} is too short: it needs at least {SECRET_MIN_LENGTH} characters.")
    if len(set(value)) < 8:
        raise ImproperlyConfigured(f"{name} repeats a few characters: set it to a random value.")
    return value


def integer(name: str, default: int, *, minimum: int = 0, maximum: int = 2**31) -> int:
    """A whole number within the bounds."""
    value = raw(name)
    if not value:
        return default
    if not re.fullmatch(r"-?\d{1,12}", value, re.ASCII) or not minimum <= int(value) <= maximum:
        raise ImproperlyConfigured(f"{name} must be a whole number from {minimum} to {maximum}.")
    return int(value)


def decimal(name: str, default: float, *, minimum: float, maximum: float) -> float:
    """A number within the bounds, fractions with a point."""
    value = raw(name)
    if not value:
        return default
    if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value, re.ASCII) or not minimum <= float(value) <= maximum:
        raise ImproperlyConfigured(f"{name} must be a number from {minimum:g} to {maximum:g}.")
    return float(value)


def switch(name: str, default: bool = False) -> bool:
    """On at `1`, `true`, `yes`, `on`; off at `0`, `false`, `no`, `off` and when empty."""
    value = raw(name).lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    if value:
        raise ImproperlyConfigured(f"{name} must be 1 or 0.")
    return default


def choice(name: str, allowed: tuple[str, ...], default: str) -> str:
    value = raw(name).lower() or default
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(allowed)}.")
    return value


def words(name: str) -> list[str]:
    """A list separated by `;`, `,` or blanks."""
    return [part for part in re.split(r"[;,\s]+", raw(name, may_be_empty=True)) if part]


def _each(name: str, parts: Iterable[str], read: Callable[[str], str], refusal: str) -> list[str]:
    """What `read` makes of each part; its ValueError stops the start with `refusal`."""
    try:
        return [read(part) for part in parts]
    except ValueError:
        raise ImproperlyConfigured(f"{name} {refusal}") from None


def origins(name: str) -> list[str]:
    """Web origins (`scheme://host[:port]`) as browsers spell them; trailing slashes are stripped."""
    return _each(name, words(name), normal_origin, f"{_NO_ORIGIN} https://app.example.org.")


def webauthn_origins(name: str) -> list[str]:
    """The same, and native Android apps (`android:apk-key-hash:` and the base64url of a SHA-256), whose case counts."""

    def origin(part: str) -> str:
        return part if re.fullmatch(r"android:apk-key-hash:[A-Za-z0-9_-]{43}", part) else normal_origin(part)

    return _each(name, words(name), origin, f"{_NO_ORIGIN} https://app.example.org or android:apk-key-hash:….")


def origins_and_patterns(name: str) -> tuple[list[str], list[str]]:
    """The same, and regular expressions for those whose first label is a `*`."""
    refusal = f"{_NO_ORIGIN} https://app.example.org or https://*.example.org."
    plain = [part for part in words(name) if "*" not in part]
    starred = [part.rstrip("/") for part in words(name) if "*" in part]
    return _each(name, plain, normal_origin, refusal), _each(name, starred, origin_pattern, refusal)


def hosts(name: str) -> list[str]:
    """Hosts to answer to, as a Host header has them: names, `.example.org` with all below it, addresses, or `*`."""

    def host(part: str) -> str:
        dot = "." if part.startswith(".") else ""
        return part if part == "*" else dot + bracketed(normal_host(part.removeprefix(".")))

    return _each(name, words(name), host, _NO_HOST)


def host(name: str, fallback: str) -> str:
    """One host: a name or an address, without scheme, port and path."""
    value = raw(name)
    return _each(name, [value], normal_host, _NO_HOST)[0] if value else fallback


def networks(name: str) -> list[str]:
    """Addresses and networks (`10.0.0.1`, `10.0.0.0/8`)."""

    def network(part: str) -> str:
        ipaddress.ip_network(part)
        return part

    return _each(name, words(name), network, "holds something that is no address or network.")


def sender(name: str, fallback: str) -> str:
    """The From of a mail: one address, with or without a name before it."""
    value = raw(name) or fallback
    found = [address for _, address in getaddresses([value])]
    if value and ("\n" in value or "\r" in value or len(found) != 1 or not _ADDRESS.fullmatch(found[0])):
        raise ImproperlyConfigured(f"{name} must be an address like Switchboard <noreply@example.org>.")
    return value


def address(name: str) -> str:
    """One mail address without a name, or nothing."""
    value = raw(name)
    if value and not _ADDRESS.fullmatch(value):
        raise ImproperlyConfigured(f"{name} must be an address like help@example.org.")
    return value


def token(name: str) -> str:
    """A key as it travels in a header, or nothing."""
    value = raw(name)
    if not re.fullmatch("[!-~]*", value):
        raise ImproperlyConfigured(f"{name} must be printable ASCII without blanks.")
    return value


def receiver(name: str) -> str:
    """An http(s) address of a service, perhaps with a key in front of the host, without trailing slash; or nothing."""
    value = token(name).rstrip("/")
    try:
        parts = urlsplit(value)
        is_usable = not value or (parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0)
    except ValueError:
        is_usable = False
    if not is_usable:
        raise ImproperlyConfigured(f"{name} must be an http or https address.")
    return value


def line(name: str, fallback: str) -> str:
    """One line of text."""
    value = raw(name) or fallback
    if not value.isprintable():
        raise ImproperlyConfigured(f"{name} must be one line of printable text.")
    return value


def base_url(name: str, *, debug: bool, fallback: str, may_have_path: bool = True) -> str:
    """An absolute http(s) address in its one spelling, without trailing slash; required outside debug."""
    value = (raw(name) or (fallback if debug else "")).rstrip("/")
    if not value:
        raise ImproperlyConfigured(f"Set {name} to the address it is reached at, such as https://app.example.org.")
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in DEFAULT_PORTS and parts.port != 0
        netloc = normal_netloc(parts.scheme, parts.netloc.lower())
    except ValueError:
        is_usable, netloc = False, ""
    if not is_usable or "?" in value or "#" in value or not value.isprintable() or " " in value:
        raise ImproperlyConfigured(f"{name} must be an http or https address.")
    if parts.path and not may_have_path:
        raise ImproperlyConfigured(f"{name} must have no path: give this a host of its own, such as api.example.org.")
    return f"{parts.scheme}://{netloc}{parts.path}"


# --- The database -----------------------------------------------------------------------------------------------------

# Django's own words for a database, given among the options; its others would break the product.
_SWITCHES = {"conn_health_checks", "disable_server_side_cursors"}
_SQLITE = {"timeout", "transaction_mode", "init_command"}
# Given elsewhere in the address.
_PLACED = {"user", "password", "dbname", "host", "port"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# What an option may be, as a pattern and in words; of any other it is asked that it is not empty.
_WHOLE = "[0-9]{1,9}", "must be a whole number"
_SSL_MODE = "|".join(_SSL_MODES), f"must be one of {', '.join(_SSL_MODES)}"
_OPTIONS = {
    **dict.fromkeys(("timeout", "conn_max_age", "connect_timeout"), _WHOLE),
    **dict.fromkeys(("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"), _WHOLE),
    **dict.fromkeys(("ssl", "sslmode"), _SSL_MODE),
    **dict.fromkeys(_SWITCHES, ("(?i:true|1|false|0)", "must be true or false")),
    "transaction_mode": ("(?i:DEFERRED|IMMEDIATE|EXCLUSIVE)", "must be IMMEDIATE or EXCLUSIVE"),
}
_UNREADABLE = (
    "{} cannot be read as an address with options like ?sslmode=require; percent-encode the special characters of its "
    "password."
)


def database(fallback: str) -> dict[str, Any]:
    """Django's settings for the `sqlite:///` or `postgres://` address in `DATABASE_URL`, else in the seed's
    `POSTGRES_URL` (its driver suffix stripped) or `POSTGRES_HOST` and friends. No message repeats the address.
    """
    return _database("DATABASE_URL", _database_url() or fallback)


def postgres(name: str) -> dict[str, Any] | None:
    """Django's settings for the `postgres://` address under this name, another way to the database or a copy of it."""
    if not (url := _postgres_scheme(raw(name))):
        return None
    if not url.startswith("postgres://"):
        raise ImproperlyConfigured(f"{name} must start with postgres://.")
    return _database(name, url)


def _database(setting: str, url: str) -> dict[str, Any]:
    if url.startswith("sqlite:") and (not re.match(r"sqlite:///+[^/?]", url) or ":memory:" in url):
        raise ImproperlyConfigured(f"{setting} must name a file, as sqlite:////absolute/path.sqlite3 does.")
    options = _database_options(setting, url)
    try:
        with warnings.catch_warnings():
            # Of a database it does not know environ warns with the whole address, password included.
            warnings.simplefilter("ignore")
            config: dict[str, Any] = dict(environ.Env.db_url_config(url.partition("?")[0] if options else url))
    except ValueError:
        # Without the cause: it repeats what it could not read, which may be a password.
        raise ImproperlyConfigured(_UNREADABLE.format(setting)) from None
    engine = str(config.get("ENGINE", ""))
    if engine.endswith("sqlite3"):
        # IMMEDIATE: a transaction that will write says so at its start and waits its turn, instead of failing at the
        # first write with "database is locked". WAL: readers never wait for the writer.
        given: dict[str, Any] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        known, config["CONN_MAX_AGE"] = _SQLITE, None
    elif engine.endswith("postgresql"):
        if not config.get("NAME"):
            raise ImproperlyConfigured(f"{setting} must name a database: postgres://user:password@host:5432/name.")
        import psycopg

        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()} - _PLACED
        given, config["CONN_MAX_AGE"] = {"connect_timeout": 5}, 600
    else:
        raise ImproperlyConfigured(f"{setting} must start with postgres:// or sqlite:///.")
    for name, value in options.items():
        if name.lower() in {*_SWITCHES, "conn_max_age"}:
            config[name.upper()] = _option(setting, name.lower(), value)
        elif name == "ssl" and "sslmode" in known:
            # The seed's driver, asyncpg, calls it so.
            given["sslmode"] = _option(setting, name, {"true": "require", "false": "disable"}.get(value, value))
        elif name in known:
            given[name] = _option(setting, name, value)
        else:
            raise ImproperlyConfigured(f"{setting} has an option that this database does not know: {_shown(name)}.")
    return {**config, "OPTIONS": given}


def _postgres_scheme(url: str) -> str:
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgres://", url)


def _database_url() -> str:
    if url := raw("DATABASE_URL") or raw("POSTGRES_URL"):
        return _postgres_scheme(url)
    if not raw("POSTGRES_HOST"):
        return ""
    user, password = (quote(raw(name), safe="") for name in ("POSTGRES_USER", "POSTGRES_PASSWORD"))
    port = integer("POSTGRES_PORT", 5432, minimum=1, maximum=65535)
    netloc = f"{bracketed(host('POSTGRES_HOST', ''))}:{port}"
    return f"postgres://{user}:{password}@{netloc}/{quote(raw('POSTGRES_DATABASE') or 'postgres', safe='')}"


def _database_options(setting: str, url: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ImproperlyConfigured(_UNREADABLE.format(setting)) from None
    if parts.fragment or ("@" in parts.query and "@" not in parts.netloc):
        # A password with a sign that ends this part of an address.
        raise ImproperlyConfigured(_UNREADABLE.format(setting))
    names = [name for name, _ in given]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ImproperlyConfigured(f"{setting} has an option twice: {_shown(twice[0])}.")
    return dict(given)


def _option(setting: str, name: str, value: str) -> Any:
    """The value as Django or the driver takes it."""
    allowed, sentence = _OPTIONS.get(name, ("(?s:.+)", "is empty"))
    if not re.fullmatch(allowed, value):
        raise ImproperlyConfigured(f"The option {name} of {setting} {sentence}.")
    if name in _SWITCHES:
        return value.lower() in {"true", "1"}
    if name == "transaction_mode":
        return value.upper()
    return int(value) if _OPTIONS.get(name) == _WHOLE else value


def _shown(name: str) -> str:
    """A name from outside, as far as a sentence can hold it; a password cut in two by a `?` stays out of it."""
    return name if re.fullmatch("[a-z_]{1,40}", name) else "one with an odd name"


# --- A backend of Django's Tasks --------------------------------------------------------------------------------------

_CELERY, _RQ = "lib.celery_backend.CeleryBackend", "django_tasks_rq"


def tasks_backend(backend: str, broker: str = "") -> tuple[dict[str, Any], list[str]]:
    """The settings that this backend needs, and the apps to install; ImproperlyConfigured when one is missing."""
    package = backend.partition(".")[0]
    apps = [] if django.VERSION >= (6, 0) and package != _RQ else ["django_tasks"]
    if backend != _CELERY and package not in {"django", "django_tasks"}:
        apps.append(package)
    if package == _RQ:
        apps.append("django_rq")
    needed = [*apps, "celery"] if backend == _CELERY else apps
    if missing := [name.replace("_", "-") for name in needed if find_spec(name) is None]:
        raise ImproperlyConfigured(
            f"NOTIFICATIONS_TASKS_BACKEND needs what is missing: pip install {' '.join(missing)}"
        )
    values: dict[str, Any] = {"TASKS": {"default": {"BACKEND": backend}}}
    if backend != _CELERY and package != _RQ:
        return values, apps
    if not broker:
        raise ImproperlyConfigured(
            "Set NOTIFICATIONS_TASKS_BROKER to the broker's address, such as redis://127.0.0.1:6379/0."
        )
    # A broker that does not answer must not delay the request; Celery tries once more at once, whatever the broker.
    if package == _RQ:
        url = f"{broker}{'&' if '?' in broker else '?'}socket_connect_timeout=2"
        return {**values, "RQ_QUEUES": {"default": {"URL": url}}, "RQ_SHOW_ADMIN_LINK": False}, apps
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0.0, "interval_step": 0.1}
    if broker.startswith("redis"):
        options["socket_connect_timeout"] = 2
    values |= {
        "CELERY_BROKER_URL": broker,
        "CELERY_BROKER_CONNECTION_TIMEOUT": 2,
        "CELERY_BROKER_TRANSPORT_OPTIONS": options,
        "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP": True,
        "CELERY_TASK_IGNORE_RESULT": True,
        "CELERY_WORKER_HIJACK_ROOT_LOGGER": False,
    }
    return values, apps
