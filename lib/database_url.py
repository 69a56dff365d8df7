"""`DATABASE_URL` to Django's database settings. No message repeats the address."""

from __future__ import annotations

import re
import warnings
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import environ
import psycopg
from django.core.exceptions import ImproperlyConfigured

# Django's own words for a database, given among the options; its others would break the product.
_SWITCHES = {"conn_health_checks", "disable_server_side_cursors"}
_SQLITE = {"timeout", "transaction_mode", "init_command"}
# Given elsewhere in the address.
_PLACED = {"user", "password", "dbname", "host", "port"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_WHOLE = {"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"}


def parse(url: str) -> dict[str, Any]:
    """Django's settings for a `sqlite:///` or `postgres://` address. ImproperlyConfigured names what is wrong."""
    if url.startswith("sqlite:") and (not re.match(r"sqlite:///+[^/?]", url) or ":memory:" in url):
        raise ImproperlyConfigured("DATABASE_URL must name a file, as sqlite:////absolute/path.sqlite3 does.")
    options = _options(url)
    address = url.partition("?")[0] if options else url
    try:
        with warnings.catch_warnings():
            # Of a database it does not know environ warns with the whole address, password included.
            warnings.simplefilter("ignore")
            config: dict[str, Any] = dict(environ.Env.db_url_config(address))
    except ValueError:
        # Without the cause: it repeats what it could not read, which may be a password.
        raise _unreadable() from None
    engine = str(config.get("ENGINE", ""))
    if engine.endswith("sqlite3"):
        # IMMEDIATE: a transaction that will write says so at its start and waits its turn, instead of failing at the
        # first write with "database is locked". WAL: readers never wait for the writer.
        defaults: dict[str, Any] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }
        known, config["CONN_MAX_AGE"] = _SQLITE, None
    elif engine.endswith("postgresql"):
        if not config.get("NAME"):
            raise ImproperlyConfigured("DATABASE_URL must name a database: postgres://user:password@host:5432/name.")
        known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()} - _PLACED
        defaults, config["CONN_MAX_AGE"] = {"connect_timeout": 5}, 600
    else:
        raise ImproperlyConfigured("DATABASE_URL must start with postgres:// or sqlite:///.")
    for name, value in options.items():
        if name.lower() in _SWITCHES:
            config[name.upper()] = _switch(name.lower(), value)
        elif name.lower() == "conn_max_age":
            config["CONN_MAX_AGE"] = _value("conn_max_age", value)
        elif name == "ssl" and "sslmode" in known:
            # The seed's driver, asyncpg, calls it so.
            defaults["sslmode"] = _ssl_mode({"true": "require", "false": "disable"}.get(value, value), "ssl")
        elif name in known:
            defaults[name] = _value(name, value)
        else:
            raise ImproperlyConfigured(f"DATABASE_URL has an option that this database does not know: {_shown(name)}.")
    return {**config, "OPTIONS": defaults}


def _options(url: str) -> dict[str, str]:
    try:
        parts = urlsplit(url)
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise _unreadable() from None
    if parts.fragment or ("@" in parts.query and "@" not in parts.netloc):
        # A password with a sign that ends this part of an address.
        raise _unreadable()
    options = dict(given)
    if twice := [name for name in options if sum(name == each for each, _ in given) > 1]:
        raise ImproperlyConfigured(f"DATABASE_URL has an option twice: {_shown(twice[0])}.")
    return options


def _value(name: str, value: str) -> str | int:
    if name == "sslmode":
        return _ssl_mode(value, name)
    if name in _WHOLE | {"timeout", "conn_max_age"}:
        if not re.fullmatch("[0-9]{1,9}", value):
            raise ImproperlyConfigured(f"The option {name} of DATABASE_URL must be a whole number.")
        return int(value)
    if name == "transaction_mode":
        if value.upper() not in {"DEFERRED", "IMMEDIATE", "EXCLUSIVE"}:
            raise ImproperlyConfigured("The option transaction_mode of DATABASE_URL must be IMMEDIATE or EXCLUSIVE.")
        return value.upper()
    if not value:
        raise ImproperlyConfigured(f"The option {name} of DATABASE_URL is empty.")
    return value


def _switch(name: str, value: str) -> bool:
    if value.lower() not in {"true", "1", "false", "0"}:
        raise ImproperlyConfigured(f"The option {name} of DATABASE_URL must be true or false.")
    return value.lower() in {"true", "1"}


def _ssl_mode(value: str, name: str) -> str:
    if value not in _SSL_MODES:
        raise ImproperlyConfigured(f"The option {name} of DATABASE_URL must be one of {', '.join(_SSL_MODES)}.")
    return value


def _unreadable() -> ImproperlyConfigured:
    return ImproperlyConfigured(
        "DATABASE_URL cannot be read as an address with options like ?sslmode=require; percent-encode the special "
        "characters of its password."
    )


def _shown(name: str) -> str:
    """A name from outside, as far as a sentence can hold it; a password cut in two by a `?` stays out of it."""
    return name if re.fullmatch("[a-z_]{1,40}", name) else "one with an odd name"
