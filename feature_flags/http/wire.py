"""Requests and responses of the flag endpoints, the same at both entrances: headers, tokens, tickets, contexts."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from feature_flags.context import flat
from feature_flags.engine.model import RANDOM, new_random_value
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Snapshot, Token
from lib.conf import conf
from lib.errors import STATUS_WORDS
from lib.middleware import JSON_POLICY
from lib.middleware import SECURITY as SECURITY_HEADERS
from lib.net import is_listed, normal_ip
from lib.text import read_json, remember, whole_number

if TYPE_CHECKING:
    from feature_flags.http.cache import ResponseCache

Header = tuple[bytes, bytes]
Headers = Sequence[Header]
_HEADER_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

SERVER, FRONTEND = "server", "frontend"


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


@remember(maxsize=1024)
def _cors(origin: bytes) -> tuple[Header, ...]:
    exposed = ", ".join(settings.CORS_EXPOSE_HEADERS).encode()
    return (b"access-control-allow-origin", origin), (b"access-control-expose-headers", exposed)


def token_cors(request: Request) -> tuple[Header, ...]:
    """For a page whose origin the token allows. Without credentials: the token is the credential."""
    origin = request.headers.get(b"origin")
    return () if origin is None else _cors(origin)


def site_cors(request: Request) -> tuple[Header, ...]:
    """For a page that CORS_ORIGINS lists, with credentials, as django-cors-headers writes it."""
    origin = request.headers.get(b"origin")
    if origin is None or not is_listed(origin.decode("latin-1")):
        return ()
    return (*_cors(origin), (b"access-control-allow-credentials", b"true"))


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


def preflight(request: Request) -> Response:
    """Any page may call; whether it may read depends on the token, which a preflight does not bring."""
    headers = request.headers
    if b"access-control-request-method" not in headers:
        raise Refused(405)
    asked = [name.strip() for name in headers.get(b"access-control-request-headers", b"").split(b",")]
    allowed: list[Header] = [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS"),
        (b"access-control-allow-headers", b", ".join(name for name in asked if _HEADER_NAME.fullmatch(name))),
        (b"access-control-max-age", str(settings.CORS_PREFLIGHT_MAX_AGE).encode()),
    ]
    return Response(200, [*COMMON, EMPTY, *token_cors(request), *allowed])


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


def normal_path(path: str) -> str:
    """Without double slashes and without one at the end."""
    return re.sub("//+", "/", path).rstrip("/")


# --- Tokens -----------------------------------------------------------------------------------------------------------


#: Headers of tokens that are remembered, in number and in bytes each.
_MAX_PRESENTED, _MAX_LENGTH = 10_000, 256


def authenticate(request: Request, cache: ResponseCache, kind: str = "") -> Token:
    """The token of the request; Refused: 401 without a valid one, 403 for another kind or another page's origin."""
    headers = request.headers
    token = _presented(cache, headers.get(b"authorization")) or _presented(cache, headers.get(b"x-api-key"))
    if token is None or has_expired(token):
        raise Refused(401)
    require_origin(token, headers.get(b"origin"))
    if kind and token.kind != kind:
        raise Refused(403)
    usage.token_used(token.id)
    return token


def find_token(snapshot: Snapshot, secret: bytes) -> Token | None:
    """Also as Unleash Edge wants every token to be written: `*:environment.secret`."""
    secret = secret.removeprefix(b"*:%s." % conf.FLAGS_ENVIRONMENT.encode())
    return snapshot.tokens.get(sha256(secret).digest())


def has_expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= time()


def require_origin(token: Token, origin: bytes | None) -> None:
    """Pages of other origins are refused; a request without origin comes from no page."""
    if origin is not None and token.origins and origin.decode("latin-1").lower() not in token.origins:
        raise Refused(403, is_shared=False)


def _presented(cache: ResponseCache, header: bytes | None) -> Token | None:
    if header is None:
        return None
    token = cache.presented.get(header)
    if token is None:
        scheme, _, rest = header.partition(b" ")
        secret = rest.strip() if scheme.lower() == b"bearer" else header.strip()
        token = find_token(cache.snapshot, secret)
        # Only valid headers are remembered: guesses would fill the memory.
        if token is not None and len(header) <= _MAX_LENGTH and len(cache.presented) < _MAX_PRESENTED:
            cache.presented[header] = token
    return token


# --- Tickets: open a stream of “something changed” and nothing else; an EventSource cannot send a token ---------------

# Requests within the same slot get the same ticket, so that a page need not reconnect for a new one.
_SLOT_SECONDS = 6 * 3600
#: Good for at least 12 hours, at most 18.
_SLOTS = 3


def ticket_slot(now: float) -> int:
    return int(now // _SLOT_SECONDS)


@lru_cache(maxsize=1024)
def make_ticket(token_id: int, slot: int) -> str:
    """The ticket of a token, issued in this slot: its id, the slot, and a MAC over both."""
    return f"{token_id}.{slot}.{_mac(token_id, slot)}"


def ticket_token_id(ticket: str, now: float) -> int | None:
    """The id of the ticket's token; None for a ticket that is forged, broken or too old."""
    parts = ticket.split(".")
    if len(parts) != 3:
        return None
    token_id, slot = whole_number(parts[0]), whole_number(parts[1])
    if token_id is None or slot is None:
        return None
    is_ours = constant_time_compare(parts[2], _mac(token_id, slot))
    return token_id if is_ours and ticket_slot(now) < slot + _SLOTS else None


def _mac(token_id: int, slot: int) -> str:
    return salted_hmac("feature_flags.tickets", f"{token_id}.{slot}", algorithm="sha256").hexdigest()[:32]


# --- Bodies and contexts ----------------------------------------------------------------------------------------------

_normal_ip = remember(maxsize=1024)(normal_ip)


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in the body, empty for an empty body; Refused: PARSE_ERROR, INVALID_CONTEXT."""
    # A byte order mark may be ignored (RFC 8259, 8.1).
    body = body.removeprefix(BOM_UTF8)
    if not body:
        return {}
    try:
        document = read_json(body.decode())
    except (ValueError, RecursionError):
        raise Refused(400, "PARSE_ERROR", "The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Refused(400, "INVALID_CONTEXT", "The body is not an object.")
    return document


def given_context(body: bytes) -> Mapping[str, Any]:
    """The member `context` of the body, as it was sent; empty when it is missing or null."""
    given = read_object(body).get("context")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise Refused(400, "INVALID_CONTEXT", "The context is not an object.")
    if isinstance(given.get("targetingKey"), dict | list):
        raise Refused(400, "INVALID_CONTEXT", "The targetingKey is not a text.")
    return given


def evaluation_context(given: Mapping[str, Any], token: Token, peer: str) -> dict[str, str]:
    """The context to evaluate. A browser's address is that of its connection, a server's is what it sends."""
    context = flat(given)
    # One value for the whole request, so that flags which depend on each other agree.
    context[RANDOM] = random_value = new_random_value()
    if token.kind == FRONTEND:
        context.pop("remoteAddress", None)
        if address := _normal_ip(peer):
            context["remoteAddress"] = address
        if "sessionId" not in context:
            context["sessionId"] = random_value
    return context
