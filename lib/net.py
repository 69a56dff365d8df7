"""Hosts and web origins in the one spelling browsers send (RFC 6454, 6.2; IDNA 2008), and the addresses of peers."""

from __future__ import annotations

import ipaddress
import re
from typing import Any
from urllib.parse import urlsplit

import idna
from django.conf import settings
from django.http import HttpRequest

from lib.text import remember

DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9_.-]+|[0-9a-f:.]+")


def normal_host(value: str) -> str:
    """A bare name or address: lower case, punycode, IPv6 in its short form without brackets. ValueError for others."""
    host = value.lower().removeprefix("[").removesuffix("]")
    host = str(ipaddress.IPv6Address(host)) if ":" in host else host
    host = host if host.isascii() else idna.encode(host, uts46=True).decode()
    if not _HOST.fullmatch(host):
        raise ValueError("no host")
    return host


def bracketed(host: str) -> str:
    """As it stands in an address and in a Host header."""
    return f"[{host}]" if ":" in host else host


def normal_netloc(scheme: str, netloc: str) -> str:
    """`host[:port]` without the scheme's own port. ValueError for what is none."""
    parts = urlsplit(f"//{netloc}")
    host, port = bracketed(normal_host(parts.hostname or "")), parts.port
    if parts.netloc != netloc or "@" in netloc or netloc.endswith(":") or port == 0:
        raise ValueError("no host and port")
    return host if port is None or port == DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def normal_origin(value: str) -> str:
    """`scheme://host[:port]`, a trailing slash stripped. ValueError for what is none."""
    scheme, _, netloc = value.rstrip("/").partition("://")
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme.lower(), re.ASCII):
        raise ValueError("no origin")
    return f"{scheme.lower()}://{normal_netloc(scheme.lower(), netloc)}"


def spelled(value: str) -> str:
    """An origin in its one spelling; what is none as it came."""
    try:
        return normal_origin(value)
    except ValueError:
        return value


def is_origin(value: str) -> bool:
    """Whether this is an origin in its one spelling."""
    try:
        return normal_origin(value) == value
    except ValueError:
        return False


def origin_pattern(value: str) -> str:
    """A regular expression for `https://*.example.org`, whose `*` is one label. ValueError for what is none."""
    scheme, star, domain = value.partition("://*.")
    scheme, _, host = normal_origin(f"{scheme}://{domain}").partition("://")
    if not star or "." not in host.strip("."):
        raise ValueError("no pattern with a domain behind its star")
    return rf"{re.escape(scheme)}://[a-z0-9_-]+\.{re.escape(host)}\Z"


def is_listed(origin: str) -> bool:
    """Whether CORS_ORIGINS names it, as django-cors-headers sees it."""
    if origin in settings.CORS_ALLOWED_ORIGINS:
        return True
    return any(re.match(allowed, origin) for allowed in settings.CORS_ALLOWED_ORIGIN_REGEXES)


# --- Peers ------------------------------------------------------------------------------------------------------------


def client_ip(request: HttpRequest) -> str:
    """The peer's address. `TRUSTED_PROXIES` has been applied in front (project/asgi.py), so no header is read here."""
    return normal_ip(request.META.get("REMOTE_ADDR", ""))


@remember(maxsize=1024)
def normal_ip(value: str) -> str:
    """An address without zone, v4-mapped v6 unwrapped; the empty string when it is none, as with unix sockets."""
    try:
        address: Any = ipaddress.ip_address(value.split("%")[0])
    except ValueError:
        return ""
    return str(getattr(address, "ipv4_mapped", None) or address)


def with_mapped(networks: list[str]) -> list[str]:
    """And each IPv4 one in the form in which a socket for both families names its peers (`::ffff:10.0.0.1`)."""
    v4 = [found for found in map(ipaddress.ip_network, networks) if isinstance(found, ipaddress.IPv4Network)]
    return [*networks, *(f"::ffff:{found.network_address}/{96 + found.prefixlen}" for found in v4)]


def caller_network(ip: str) -> str:
    """What counts as one caller: an IPv4 address, or the whole /64 that one IPv6 host can choose from."""
    return network(ip) if ":" in ip else ip


@remember(maxsize=1024)
def network(ip: str) -> str:
    """The /24 (IPv4) or /64 (IPv6) an address belongs to: what one household or office shares."""
    if not ip:
        return ""
    prefix = 64 if ":" in ip else 24
    return str(ipaddress.ip_network(f"{ip}/{prefix}", strict=False))
