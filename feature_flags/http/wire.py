"""Requests and responses of the flag endpoints, and the headers of every response, the same at both entrances."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from feature_flags.runtime.snapshot import Snapshot
from lib.caches import remember
from lib.errors import STATUS_WORDS
from lib.middleware import JSON_POLICY
from lib.middleware import SECURITY as SECURITY_HEADERS
from lib.origins import Header, cors_headers, preflight_headers, site_cors_headers

Headers = Sequence[Header]

#: Larger bodies are refused.
BODY_LIMIT, METRICS_LIMIT = 64 * 1024, 1_000_000


@dataclass(slots=True)
class Request:
    """`path` is decoded, header names are in lower case; `origin` (`https://host`) is empty where no streams open."""

    method: str
    path: str
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    peer: str
    origin: str = ""


class Response(NamedTuple):
    status: int
    headers: Headers
    body: bytes = b""


class Refused(Exception):
    """No answer for this caller. `code` and `details` are OFREP's; `is_shared`: the page may read the refusal."""

    def __init__(self, status: int, code: str = "", details: str = "", *, is_shared: bool = True) -> None:
        super().__init__(status, code)
        self.status, self.code, self.details, self.is_shared = status, code, details, is_shared


Endpoint = Callable[[Request, Snapshot | None], Response]


@dataclass(frozen=True)
class Route:
    """One path. `refuse` writes a refusal as its clients expect; `is_site`: CORS_ORIGINS hold, not those of a token."""

    name: str
    endpoints: Mapping[str, Endpoint]
    refuse: Callable[[Request, Refused], Response]
    limit: int = BODY_LIMIT
    is_site: bool = False


JSON: Header = (b"content-type", b"application/json")
SECURITY: list[Header] = [
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
    (b"content-security-policy", JSON_POLICY.encode()),
]
PUBLIC: Header = (b"cache-control", b"no-cache")
PRIVATE: Header = (b"cache-control", b"private, no-cache")
VARY: Header = (b"vary", b"Origin")
EMPTY: Header = (b"content-length", b"0")
#: On every response that depends on a token.
COMMON: list[Header] = [*SECURITY, PRIVATE, VARY]


def length(body: bytes) -> Header:
    return b"content-length", b"%d" % len(body)


def json_response(status: int, body: bytes, *more: Header) -> Response:
    return Response(status, [*COMMON, JSON, length(body), *more], body)


def unchanged(tag: bytes, *more: Header) -> Response:
    return Response(304, [*COMMON, (b"etag", tag), *more])


def dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def token_cors(request: Request) -> tuple[Header, ...]:
    """For a page whose origin the token allows. Without credentials: the token is the credential."""
    return cors_headers(request.headers.get(b"origin"))


def site_cors(request: Request) -> tuple[Header, ...]:
    """For a page that CORS_ORIGINS lists."""
    return site_cors_headers(request.headers.get(b"origin"))


def refusal_headers(request: Request, refused: Refused, cors: Callable[[Request], Headers]) -> list[Header]:
    headers = [*COMMON, *(cors(request) if refused.is_shared else ())]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def refuse(request: Request, refused: Refused, cors: Callable[[Request], Headers]) -> Response:
    """`{"detail", "code"}`, as everywhere under `/api`."""
    words, code = STATUS_WORDS[refused.status]
    body = dumped({"detail": refused.code or words, "code": refused.code.lower() or code})
    headers = [*refusal_headers(request, refused, cors), JSON, length(body)]
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    return Response(refused.status, headers, body)


def preflight(request: Request, snapshot: Snapshot | None) -> Response:
    """Any page may call; whether it may read depends on the token, which a preflight does not bring."""
    headers = request.headers
    if b"access-control-request-method" not in headers:
        raise Refused(405)
    return Response(200, [*COMMON, EMPTY, *token_cors(request), *preflight_headers(headers)])


def is_unchanged(request: Request, tag: bytes) -> bool:
    """Whether `If-None-Match` names the tag: by weak comparison, since compressing proxies weaken tags (RFC 9110)."""
    given = request.headers.get(b"if-none-match")
    if given is None or given == tag:
        return given is not None
    pieces = [piece.strip() for piece in given.split(b",")]
    return b"*" in pieces or tag in [piece.removeprefix(b"W/") for piece in pieces]


@remember(maxsize=256)
def takes_gzip(accepted: bytes | None) -> bool:
    for piece in (accepted or b"").lower().split(b","):
        name, _, weight = piece.partition(b";")
        if name.strip() == b"gzip":
            return weight.replace(b" ", b"") not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False


@remember(maxsize=256)
def knows_segments(version: bytes | None) -> bool:
    """Whether a client of this specification reads segments apart: since 4.2.0. Some send no version, or junk."""
    found = re.match(rb"(\d{1,9})\.(\d{1,9})", version or b"")
    return found is not None and (int(found[1]), int(found[2])) >= (4, 2)
