"""Readers of the environment: each returns a value that can be used, or stops the start with one sentence."""

import ipaddress
import os
import re
from email.utils import parseaddr
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured

#: Values printed in documentation somewhere: whoever knows one can sign tokens for anybody.
WELL_KNOWN_SECRETS = frozenset(
    {
        "SetMeInEnvVars!",
        "super-secret-token",
        "change-me",
        "changeme",
        "secret",
        "django-insecure",
        "please-change-this-to-a-long-random-value",
    }
)
SECRET_MIN_LENGTH = 32

ORIGIN = re.compile(r"^[a-z][a-z0-9+.-]*://(\[[0-9a-fA-F:.]+\]|[^\s/:@?#\[\]]+)(:\d{1,5})?$", re.ASCII)


def raw(name: str) -> str:
    """The value as given. django-environ reads `$X` as a reference, which a random secret may start with."""
    return os.environ.get(name, "").strip()


def secret(name: str, *, debug: bool, fallback: str = "") -> str:
    """A secret of at least 32 characters; in debug `fallback` stands in for a missing one."""
    value = raw(name)
    if debug:
        return value or fallback
    if not value:
        raise ImproperlyConfigured(f"Set {name} to a random value of at least {SECRET_MIN_LENGTH} characters.")
    return strong(name, value)


def strong(name: str, value: str) -> str:
    """Refuse a secret that can be guessed; the message names the setting, never its value."""
    if any(value.lower().startswith(known.lower()) for known in WELL_KNOWN_SECRETS):
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
    if not re.fullmatch(r"-?\d+", value, re.ASCII) or not minimum <= int(value) <= maximum:
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
    return [part for part in re.split(r"[;,\s]+", raw(name)) if part]


def origins(name: str) -> list[str]:
    """Web origins (`scheme://host[:port]`), blanks and trailing slashes stripped."""
    found = [part.rstrip("/").lower() for part in words(name)]  # browsers send them in lower case
    for origin in found:
        if not ORIGIN.match(origin):
            raise ImproperlyConfigured(f"{name} holds something that is no origin like https://app.example.org.")
    return found


def networks(name: str) -> list[str]:
    """Addresses and networks (`10.0.0.1`, `10.0.0.0/8`)."""
    found = words(name)
    for part in found:
        try:
            ipaddress.ip_network(part)
        except ValueError:
            raise ImproperlyConfigured(f"{name} holds something that is no address or network.") from None
    return found


def sender(name: str, fallback: str) -> str:
    """The From of a mail: an address, with or without a name before it."""
    value = raw(name) or fallback
    if value and ("\n" in value or "\r" in value or "@" not in parseaddr(value)[1]):
        raise ImproperlyConfigured(f"{name} must be an address like Switchboard <noreply@example.org>.")
    return value


def base_url(name: str, *, debug: bool, fallback: str) -> str:
    """An absolute http(s) address without trailing slash; required outside debug."""
    value = (raw(name) or (fallback if debug else "")).rstrip("/")
    if not value:
        raise ImproperlyConfigured(f"Set {name} to the address it is reached at, such as https://app.example.org.")
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment:
        raise ImproperlyConfigured(f"{name} must be an http or https address.")
    return value


def database_url() -> str:
    """`DATABASE_URL`, else the seed's `POSTGRES_URL` (its driver suffix stripped) or `POSTGRES_HOST` and friends."""
    if url := raw("DATABASE_URL") or raw("POSTGRES_URL"):
        return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgres://", url)
    if not raw("POSTGRES_HOST"):
        return ""
    user, password = (quote(raw(name), safe="") for name in ("POSTGRES_USER", "POSTGRES_PASSWORD"))
    host = f"{raw('POSTGRES_HOST')}:{raw('POSTGRES_PORT') or '5432'}"
    return f"postgres://{user}:{password}@{host}/{quote(raw('POSTGRES_DATABASE') or 'postgres', safe='')}"
