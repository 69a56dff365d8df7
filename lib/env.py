"""Readers of the environment: each returns a value that can be used, or stops the start with one sentence."""

import ipaddress
import os
import re
from collections.abc import Callable, Iterable
from email.utils import getaddresses
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from lib.net import DEFAULT_PORTS, bracketed, normal_host, normal_netloc, normal_origin, origin_pattern

#: Values printed in documentation somewhere: anyone can sign tokens with them.
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

_NO_ORIGIN = "holds something that is no origin like"
_NO_HOST = "must be a host like api.example.org: no scheme, no port, no `*`."
_ADDRESS = re.compile(r"[^@\s<>,;]+@[^@\s<>,;]*[^@\s<>,;.]")


def raw(name: str) -> str:
    """The value as given. django-environ reads `$X` as a reference, which a random secret may start with."""
    return os.environ.get(name, "").strip()


def secret(name: str, *, debug: bool, fallback: str) -> str:
    """A secret of at least 32 characters; in debug `fallback` stands in for a missing one."""
    value = raw(name)
    if not value and not debug:
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
    return [part for part in re.split(r"[;,\s]+", raw(name)) if part]


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


def database_url() -> str:
    """`DATABASE_URL`, else the seed's `POSTGRES_URL` (its driver suffix stripped) or `POSTGRES_HOST` and friends."""
    if url := raw("DATABASE_URL") or raw("POSTGRES_URL"):
        return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgres://", url)
    if not raw("POSTGRES_HOST"):
        return ""
    user, password = (quote(raw(name), safe="") for name in ("POSTGRES_USER", "POSTGRES_PASSWORD"))
    port = integer("POSTGRES_PORT", 5432, minimum=1, maximum=65535)
    netloc = f"{bracketed(host('POSTGRES_HOST', ''))}:{port}"
    return f"postgres://{user}:{password}@{netloc}/{quote(raw('POSTGRES_DATABASE') or 'postgres', safe='')}"
