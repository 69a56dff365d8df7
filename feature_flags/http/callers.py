"""Who asks, and in which context: tokens, and what a client may say about its user."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Mapping
from hashlib import sha256
from time import time
from typing import Any

from feature_flags.conf import live
from feature_flags.context import flat
from feature_flags.engine.context import RANDOM, new_random_value
from feature_flags.http.cache import Prepared
from feature_flags.http.wire import Header, Refused, Request, shared_with
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Snapshot, Token
from lib.caches import remember
from lib.net import normal_ip

SERVER, FRONTEND = "server", "frontend"
#: Headers of tokens that are remembered, in number and in bytes each.
_MAX_PRESENTED, _MAX_LENGTH = 10_000, 256
_known_address = remember(maxsize=1024)(normal_ip)


def authorised(request: Request, prepared: Prepared, kind: str = "") -> Token:
    """The token of the request; Refused: 401 without a valid one, 403 for another kind or another page's origin."""
    headers = request.headers
    token = _presented(prepared, headers.get(b"authorization")) or _presented(prepared, headers.get(b"x-api-key"))
    if token is None or has_expired(token):
        raise Refused(401)
    require_origin(token, headers.get(b"origin"))
    if kind and token.kind != kind:
        raise Refused(403)
    usage.token_used(token.id)
    return token


def find_token(snapshot: Snapshot, secret: bytes) -> Token | None:
    """Also as Unleash Edge wants every token to be written: `*:environment.secret`."""
    secret = secret.removeprefix(b"*:%s." % live.environment.encode())
    return snapshot.tokens.get(sha256(secret).digest())


def has_expired(token: Token) -> bool:
    return token.expires_at is not None and token.expires_at <= time()


def require_origin(token: Token, origin: bytes | None) -> None:
    """Pages of other origins are refused; whoever names no origin is no page."""
    if origin is not None and token.origins and origin.decode("latin-1").lower() not in token.origins:
        raise Refused(403, is_shared=False)


def _presented(prepared: Prepared, header: bytes | None) -> Token | None:
    if header is None:
        return None
    token = prepared.presented.get(header)
    if token is None:
        scheme, _, rest = header.partition(b" ")
        secret = rest.strip() if scheme.lower() == b"bearer" else header.strip()
        token = find_token(prepared.snapshot, secret)
        # Only what is known is remembered: guesses would fill the memory.
        if token is not None and len(header) <= _MAX_LENGTH and len(prepared.presented) < _MAX_PRESENTED:
            prepared.presented[header] = token
    return token


def shared(request: Request) -> tuple[Header, ...]:
    return shared_with(request.headers.get(b"origin"))


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in the body, empty for an empty body; Refused: PARSE_ERROR, INVALID_CONTEXT."""
    # A byte order mark may be ignored (RFC 8259, 8.1).
    body = body.removeprefix(BOM_UTF8)
    if not body:
        return {}
    try:
        document = _decode(body.decode())
    except (ValueError, RecursionError):
        raise Refused(400, "PARSE_ERROR", "The body is not JSON.") from None
    if not isinstance(document, dict):
        raise Refused(400, "INVALID_CONTEXT", "The body is not an object.")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).decode


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


def told(given: Mapping[str, Any], token: Token, peer: str) -> dict[str, str]:
    """The context to evaluate. A browser's word counts for everything but its address; a server's for everything."""
    context = flat(given)
    # One draw for the whole request, so that flags which hang together agree.
    context[RANDOM] = draw = new_random_value()
    if token.kind == FRONTEND:
        context.pop("remoteAddress", None)
        if address := _known_address(peer):
            context["remoteAddress"] = address
        if "sessionId" not in context:
            context["sessionId"] = draw
    return context
