"""What a request brings: its token or ticket, its body, its context."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from time import time
from typing import Any

from django.utils.crypto import constant_time_compare, salted_hmac

from feature_flags.conf import conf
from feature_flags.context import flat
from feature_flags.engine.model import RANDOM, new_random_value
from feature_flags.http.cache import ResponseCache
from feature_flags.http.wire import Refused, Request
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Snapshot, Token
from lib.caches import remember
from lib.net import normal_ip
from lib.text import read_json, whole_number

SERVER, FRONTEND = "server", "frontend"
#: Headers of tokens that are remembered, in number and in bytes each.
_MAX_PRESENTED, _MAX_LENGTH = 10_000, 256
_normal_ip = remember(maxsize=1024)(normal_ip)

# --- Tokens -----------------------------------------------------------------------------------------------------------


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
    secret = secret.removeprefix(b"*:%s." % conf.environment.encode())
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
