"""Where a request comes from."""

import ipaddress
from typing import Any

from django.http import HttpRequest


def client_ip(request: HttpRequest) -> str:
    """The peer's address. `TRUSTED_PROXIES` has been applied in front (project/asgi.py), so no header is read here."""
    return normal_ip(request.META.get("REMOTE_ADDR", ""))


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


def holding(ip: str) -> str:
    """What one caller has of addresses: an IPv4 address, but a whole /64 of IPv6 to choose from."""
    return network(ip) if ":" in ip else ip


def network(ip: str) -> str:
    """The /24 (IPv4) or /64 (IPv6) an address belongs to: what one household or office shares."""
    if not ip:
        return ""
    prefix = 64 if ":" in ip else 24
    return str(ipaddress.ip_network(f"{ip}/{prefix}", strict=False))
