"""One POST to an address that somebody typed: resolved once, checked, and connected to exactly what was checked.

So no private network is reached, not by a name that points there, nor by one that answers differently the second time
(OWASP, Server Side Request Forgery). Redirects are answers like others; no proxy is used.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from lib.net import DEFAULT_PORTS, bracketed, normal_host

#: Bytes of an answer that are read, and that are kept.
READ, KEPT = 64 * 1024, 500
# What `ipaddress` takes for public (some of it in older Pythons alone) and is not: protocol assignments, 6to4 and its
# relays, NAT64, documentation, site-local addresses, and where the virtual machines of a cloud ask about themselves.
_NEVER = [
    ipaddress.ip_network(network)
    for network in (
        *("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
        *("64:ff9b::/96", "64:ff9b:1::/48", "2001::/23", "2002::/16", "3fff::/20", "fec0::/10"),
    )
]


NO_ADDRESS, USER_INFO, NOT_HTTPS, PRIVATE = "no address", "user info", "not https", "private"


class Refused(ValueError):
    """An address that nothing is sent to; its message is one of those above."""


@dataclass(frozen=True)
class Answer:
    """`status` is 0 without an answer; then `error` says why: address, dns, connect, tls, timeout or protocol.

    `text` is the beginning of the body; `retry_after` the header as it came.
    """

    status: int = 0
    error: str = ""
    text: str = ""
    retry_after: str = ""


def check_url(url: str) -> str:
    """An address in its one spelling. Raises Refused for one that is never posted to, whatever its name resolves to."""
    try:
        parts = urlsplit(url)
        host, port = normal_host(parts.hostname or ""), parts.port
    except ValueError:
        raise Refused(NO_ADDRESS) from None
    is_plain = url.isascii() and url.isprintable() and not any(sign in url for sign in ' \\#"<>')
    if parts.scheme not in DEFAULT_PORTS or port == 0 or not is_plain:
        raise Refused(NO_ADDRESS)
    if "@" in parts.netloc:
        raise Refused(USER_INFO)
    if parts.scheme == "http" and not (settings.DEBUG or settings.WEBHOOKS_ALLOWED_NETWORKS):
        raise Refused(NOT_HTTPS)
    ip = _literal(host)
    if ip is not None and not is_allowed(ip, scheme=parts.scheme):
        raise Refused(PRIVATE)
    netloc = bracketed(host) if port is None else f"{bracketed(host)}:{port}"
    return parts._replace(netloc=netloc).geturl()


def _literal(host: str) -> Any:
    """The address that a host names without a resolver; None for all others, which are looked at when connecting."""
    if host == "localhost" or host.endswith(".localhost"):
        return ipaddress.ip_address("127.0.0.1")
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_allowed(ip: Any, *, scheme: str) -> bool:
    """Whether this may be connected to: it is public, or WEBHOOKS_ALLOWED_NETWORKS names it, as it must for http."""
    ip = getattr(ip, "ipv4_mapped", None) or ip
    if any(ip in ipaddress.ip_network(network) for network in settings.WEBHOOKS_ALLOWED_NETWORKS):
        return True
    is_public = ip.is_global and not (ip.is_multicast or ip.is_reserved or any(ip in network for network in _NEVER))
    return is_public and (scheme == "https" or settings.DEBUG)


def post(url: str, body: bytes, headers: Mapping[str, str], *, timeout: float) -> Answer:
    """Send it and read the answer, all within `timeout` seconds but for a resolver that hangs."""
    deadline = time.monotonic() + timeout
    parts = urlsplit(url)
    try:
        connected = _connect(parts, deadline)
    except socket.gaierror:
        return Answer(error="dns")
    except Refused:
        return Answer(error="address")
    except ssl.SSLError as error:
        return Answer(error="tls", text=_printable(getattr(error, "verify_message", "") or error.reason or ""))
    except TimeoutError:
        return Answer(error="timeout")
    except (OSError, ValueError):
        return Answer(error="connect")
    with connected:
        try:
            return _exchange(parts, _Timed(connected, deadline), body, headers)
        except TimeoutError:
            return Answer(error="timeout")
        except (http.client.HTTPException, OSError, ValueError):
            return Answer(error="protocol")


def _connect(parts: SplitResult, deadline: float) -> socket.socket:
    """To the first of its addresses that may be and can be connected to."""
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme]
    found = dict.fromkeys(info[4][0] for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    ips = [ipaddress.ip_address(str(address).partition("%")[0]) for address in found]
    allowed = [ip for ip in ips if is_allowed(ip, scheme=parts.scheme)]
    if not allowed:
        raise Refused(PRIVATE)
    for ip in allowed:
        try:
            connected = socket.create_connection((str(ip), port), timeout=_left(deadline))
            break
        except OSError:
            if ip is allowed[-1]:
                raise
    if parts.scheme == "http":
        return connected
    try:
        connected.settimeout(_left(deadline))
        # By the name that was typed: the certificate must be that host's, not the address's.
        return _tls().wrap_socket(connected, server_hostname=host)
    except BaseException:
        connected.close()
        raise


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


def _exchange(parts: SplitResult, link: _Timed, body: bytes, headers: Mapping[str, str]) -> Answer:
    http_link = http.client.HTTPConnection(parts.netloc)
    http_link.sock = link
    path = parts.path or "/"
    http_link.request(
        "POST", f"{path}?{parts.query}" if parts.query else path, body, {**headers, "Connection": "close"}
    )
    answer = http_link.getresponse()
    text = b""
    while answer.status != 204 and len(text) < READ and (more := answer.read1(READ - len(text))):
        text += more
    return Answer(answer.status, "", _printable(text), answer.headers.get("Retry-After", "")[:100])


def _left(deadline: float) -> float:
    """Seconds; TimeoutError when there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _printable(text: bytes | str) -> str:
    text = text[:KEPT].decode("utf-8", "replace") if isinstance(text, bytes) else text[:KEPT]
    return "".join(sign if sign.isprintable() or sign in "\n\t" else "\N{REPLACEMENT CHARACTER}" for sign in text)


class _Timed:
    """What http.client needs of a socket, with one deadline for all: a server that sends a byte a minute has none."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self.connected, self.deadline = connected, deadline

    def sendall(self, data: Any) -> None:
        self.connected.settimeout(_left(self.deadline))
        self.connected.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """The caller closes the socket itself."""


class _Reader(io.RawIOBase):
    def __init__(self, link: _Timed) -> None:
        self.link = link

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.link.connected.settimeout(_left(self.link.deadline))
        return self.link.connected.recv_into(buffer)
