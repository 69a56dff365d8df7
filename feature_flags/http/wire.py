"""What comes in, what goes out, and the headers of every answer: the same ones whichever door it leaves by."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from django.conf import settings

from feature_flags.runtime.snapshot import Snapshot
from lib.caches import remember
from lib.middleware import JSON_POLICY
from lib.middleware import SECURITY as SECURITY_HEADERS
from lib.origins import is_listed

Header = tuple[bytes, bytes]
Headers = Sequence[Header]

#: Bodies over these sizes are refused.
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


class Answer(NamedTuple):
    status: int
    headers: Headers
    body: bytes = b""


class Refused(Exception):
    """No answer for this caller. `code` and `details` are OFREP's; `is_shared`: the page may read the refusal."""

    def __init__(self, status: int, code: str = "", details: str = "", *, is_shared: bool = True) -> None:
        super().__init__(status, code)
        self.status, self.code, self.details, self.is_shared = status, code, details, is_shared


Endpoint = Callable[[Request, Snapshot | None], Answer]


@dataclass(frozen=True)
class Route:
    """One path. `refuse` words a refusal as its clients expect; `is_house`: CORS_ORIGINS hold, not those of a token."""

    name: str
    endpoints: Mapping[str, Endpoint]
    refuse: Callable[[Request, Refused], Answer]
    limit: int = BODY_LIMIT
    is_house: bool = False

    @property
    def allow(self) -> bytes:
        return ", ".join(sorted(self.endpoints)).encode()


JSON: Header = (b"content-type", b"application/json")
SECURITY: list[Header] = [
    *((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
    (b"content-security-policy", JSON_POLICY.encode()),
]
PUBLIC: Header = (b"cache-control", b"no-cache")
PRIVATE: Header = (b"cache-control", b"private, no-cache")
VARY: Header = (b"vary", b"Origin")
EMPTY: Header = (b"content-length", b"0")
#: On every answer that hangs on a token.
COMMON: list[Header] = [*SECURITY, PRIVATE, VARY]


def length(body: bytes) -> Header:
    return b"content-length", b"%d" % len(body)


def answer(status: int, body: bytes, *more: Header) -> Answer:
    return Answer(status, [*COMMON, JSON, length(body), *more], body)


def dumped(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


# --- Refusals ---------------------------------------------------------------------------------------------------------

# As project/errors.py words them.
_WORDS = {
    400: ("Bad Request", "bad_request"),
    401: ("Unauthorized", "unauthorized"),
    403: ("Forbidden", "forbidden"),
    405: ("Method Not Allowed", "method_not_allowed"),
    413: ("Payload Too Large", "payload_too_large"),
    429: ("Too Many Requests", "too_many_requests"),
    500: ("Internal Server Error", "internal"),
    503: ("Service Unavailable", "unavailable"),
}


def refusal_headers(request: Request, refused: Refused, cors: Callable[[bytes | None], Headers]) -> list[Header]:
    headers = [*COMMON, *(cors(request.headers.get(b"origin")) if refused.is_shared else ())]
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers


def house_refusal(request: Request, refused: Refused, cors: Callable[[bytes | None], Headers]) -> Answer:
    """`{"detail", "code"}`, as everywhere under `/api`."""
    words, slug = _WORDS[refused.status]
    body = dumped({"detail": refused.code or words, "code": refused.code.lower() or slug})
    headers = [*refusal_headers(request, refused, cors), JSON, length(body)]
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    return Answer(refused.status, headers, body)


# --- CORS -------------------------------------------------------------------------------------------------------------


@remember(maxsize=1024)
def shared_with(origin: bytes | None) -> tuple[Header, ...]:
    """For a page whose origin the token allows. Without credentials: the token is the credential."""
    if origin is None:
        return ()
    exposed = ", ".join(settings.CORS_EXPOSE_HEADERS).encode()
    return (b"access-control-allow-origin", origin), (b"access-control-expose-headers", exposed)


def shared_with_house(origin: bytes | None) -> tuple[Header, ...]:
    """What django-cors-headers writes for CORS_ORIGINS."""
    if origin is None or not is_listed(origin.decode("latin-1")):
        return ()
    return (*shared_with(origin), (b"access-control-allow-credentials", b"true"))


_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def preflight(request: Request, snapshot: Snapshot | None) -> Answer:
    """Any page may ask; whether it may read is said with the answer, when the token is known."""
    headers = request.headers
    if b"access-control-request-method" not in headers:
        raise Refused(405)
    asked = [name.strip() for name in headers.get(b"access-control-request-headers", b"").split(b",")]
    return Answer(
        200,
        [
            *COMMON,
            EMPTY,
            *shared_with(headers.get(b"origin")),
            (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
            (b"access-control-allow-headers", b", ".join(name for name in asked if _HEADER_NAME.fullmatch(name))),
            (b"access-control-max-age", str(settings.CORS_PREFLIGHT_MAX_AGE).encode()),
        ],
    )


# --- Entity tags and encodings ----------------------------------------------------------------------------------------


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
