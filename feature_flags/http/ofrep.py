"""OpenFeature Remote Evaluation Protocol: one flag, or all of them for one context."""

from __future__ import annotations

import json
from functools import lru_cache
from time import time
from urllib.parse import parse_qs

import mmh3

from feature_flags.http import wire
from feature_flags.http.cache import ResponseCache
from feature_flags.http.wire import SERVER, Refused, Request, Response, token_cors
from feature_flags.runtime import store, usage
from feature_flags.runtime.snapshot import Token
from lib.conf import conf
from lib.text import remember, whole_number

PREFIX = "/ofrep/v1/evaluate/flags"
#: A page in the background closes its stream after this long, and asks for everything when it comes back.
_INACTIVITY_SECONDS = 120
_DETAILS = {
    413: "The body is too large.",
    429: "This address holds its share of streams.",
    500: "The flag could not be evaluated.",
    503: "No flags have been read yet.",
}


def single(request: Request, cache: ResponseCache, token: Token) -> Response:
    context = wire.evaluation_context(wire.given_context(request.body), token, request.peer)
    flags = cache.snapshot.flags
    name = key(request)
    flag = flags.get(name)
    if flag is None:
        usage.count_unknown(name, usage.OFREP, token)
    if flag is None or not (flag.exposed or token.kind == SERVER):
        raise Refused(404, "FLAG_NOT_FOUND", "No flag has this key.")
    result = flag.constant or flag.evaluate(context, flags)
    usage.count((result,))
    body = cache.evaluations[result]
    if stale := store.stale_seconds():
        # Rare enough to decode the ready bytes again.
        document = json.loads(body)
        document["metadata"] = {**document.get("metadata", {}), "stale_seconds": stale}
        body = wire.dumped(document)
    headers, cors = _headers(len(body)), token_cors(request)
    return Response(200, [*headers, *cors] if cors else headers, body)


@lru_cache(1024)
def _headers(length: int) -> tuple[wire.Header, ...]:
    """Alike for many answers, which lib/protocol.py writes once."""
    return (*wire.COMMON, wire.JSON, (b"content-length", b"%d" % length))


def bulk(request: Request, cache: ResponseCache, token: Token) -> Response:
    context = wire.evaluation_context(wire.given_context(request.body), token, request.peer)
    evaluations = cache.all_evaluations if token.kind == SERVER else cache.exposed_evaluations
    results, flags = evaluations.evaluate(context, cache.snapshot.flags)
    usage.count(results)
    slot = wire.ticket_slot(time())
    # The tag is of the values alone, but for the time slot of tickets: clients keep the address of a stream with the
    # values, for weeks, and a 304 would leave them with a ticket that opens nothing any more.
    tag = b'"%s-%x"' % (mmh3.hash_bytes(flags).hex().encode(), slot)
    if wire.is_unchanged(request, tag):
        return wire.unchanged(tag, *token_cors(request))
    stale = store.stale_seconds()
    body = b'{"flags":[%s],"metadata":{"revision":%d%s}%s}' % (
        flags,
        cache.snapshot.revision,
        b',"stale_seconds":%d' % stale if stale else b"",
        _event_streams(request.origin if conf.FLAGS_STREAMS_MAX else "", cache.snapshot.revision, token.id, slot),
    )
    return wire.json_response(200, body, (b"etag", tag), *token_cors(request))


@remember(maxsize=256)
def _event_streams(origin: str, revision: int, token_id: int, slot: int) -> bytes:
    if not origin:
        return b""
    # `since`: a change between this response and the opening of the stream is sent when it opens.
    url = f"{origin}/ofrep/v1/stream?ticket={wire.make_ticket(token_id, slot)}&since={revision}"
    return b',"eventStreams":' + wire.dumped([{"type": "sse", "url": url, "inactivityDelaySec": _INACTIVITY_SECONDS}])


def key(request: Request) -> str:
    """All that follows `/evaluate/flags/`, but for a closing slash: some clients do not encode it."""
    return request.path.partition(f"{PREFIX}/")[2].removesuffix("/")


def wanted_revision(query: bytes) -> int:
    """The revision a client has heard of (`flagConfigEtag="43"`); 0 without one."""
    if b"flagConfigEtag" not in query:
        return 0
    try:
        named = parse_qs(query.decode("latin-1"), max_num_fields=100).get("flagConfigEtag", [""])[-1]
    except ValueError:
        return 0
    return whole_number(named.removeprefix("W/").strip('"')) or 0


def refuse(request: Request, refused: Refused) -> Response:
    """401 and 403 have no body; the others `{"key"?, "errorCode", "errorDetails"}`."""
    if refused.status == 405:
        return wire.refuse(request, refused, token_cors)
    headers = wire.refusal_headers(request, refused, token_cors)
    if refused.status in {401, 403}:
        return Response(refused.status, [*headers, wire.EMPTY])
    # Before the first snapshot: 500, the only failure of a server that the protocol knows.
    status = 500 if refused.status == 503 else refused.status
    document = {"errorCode": refused.code or "GENERAL", "errorDetails": refused.details or _DETAILS[refused.status]}
    if key(request):
        document = {"key": key(request), **document}
    body = wire.dumped(document)
    return Response(status, [*headers, wire.JSON, wire.length(body)], body)
