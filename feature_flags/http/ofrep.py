"""OpenFeature Remote Evaluation Protocol: one flag, or all of them for one context."""

from __future__ import annotations

import json
from time import time
from urllib.parse import parse_qs

import mmh3

from feature_flags.conf import live
from feature_flags.http import tickets
from feature_flags.http.cache import prepared
from feature_flags.http.callers import SERVER, authorised, given_context, shared, told
from feature_flags.http.wire import (
    COMMON,
    JSON,
    Answer,
    Refused,
    Request,
    answer,
    dumped,
    house_refusal,
    is_unchanged,
    length,
    refusal_headers,
    shared_with,
)
from feature_flags.runtime import store, usage
from feature_flags.runtime.snapshot import Snapshot
from lib.caches import remember
from lib.text import whole_number

STEM = "/ofrep/v1/evaluate/flags"
_COLD = "No flags have been read yet."
#: A page in the background closes its stream after this long, and asks for everything when it comes back.
_INACTIVITY_SECONDS = 120


def single(request: Request, snapshot: Snapshot | None) -> Answer:
    known = prepared(snapshot)
    token = authorised(request, known)
    context = told(given_context(request.body), token, request.peer)
    flags = known.snapshot.flags
    name = key(request)
    flag = flags.get(name)
    if flag is None:
        usage.unknown(name, usage.OFREP, token)
    if flag is None or not (flag.exposed or token.kind == SERVER):
        raise Refused(404, "FLAG_NOT_FOUND", "No flag has this key.")
    result = flag.constant or flag.evaluate(context, flags)
    usage.given((result,))
    body = known.evaluations[result]
    if stale := store.stale_seconds():
        body = _told_stale(body, stale)
    return Answer(200, [*COMMON, JSON, length(body), *shared(request)], body)


def bulk(request: Request, snapshot: Snapshot | None) -> Answer:
    known = prepared(snapshot)
    token = authorised(request, known)
    context = told(given_context(request.body), token, request.peer)
    sheet = known.all_evaluations if token.kind == SERVER else known.exposed_evaluations
    given, flags = sheet.filled(context, known.snapshot.flags)
    usage.given(given)
    slot = tickets.slot(time())
    # The tag is of the values alone, but for the time slot of tickets: clients keep the address of a stream with the
    # values, for weeks, and a 304 would leave them with a ticket that opens nothing any more.
    tag = b'"%s-%x"' % (mmh3.hash_bytes(flags).hex().encode(), slot)
    if is_unchanged(request, tag):
        return Answer(304, [*COMMON, (b"etag", tag), *shared(request)])
    stale = store.stale_seconds()
    body = b'{"flags":[%s],"metadata":{"revision":%d%s}%s}' % (
        flags,
        known.snapshot.revision,
        b',"stale_seconds":%d' % stale if stale else b"",
        _streams(request.origin if live.offers_streams else "", known.snapshot.revision, token.id, slot),
    )
    return answer(200, body, (b"etag", tag), *shared(request))


def _told_stale(body: bytes, seconds: int) -> bytes:
    """How long the database has not confirmed this answer. Rare enough to read the ready bytes again."""
    document = json.loads(body)
    document["metadata"] = {**document.get("metadata", {}), "stale_seconds": seconds}
    return dumped(document)


@remember(maxsize=256)
def _streams(origin: str, revision: int, token_id: int, slot: int) -> bytes:
    if not origin:
        return b""
    # `since`: a change between this answer and the opening of the stream is told when it opens.
    url = f"{origin}/ofrep/v1/stream?ticket={tickets.make(token_id, slot)}&since={revision}"
    return b',"eventStreams":' + dumped([{"type": "sse", "url": url, "inactivityDelaySec": _INACTIVITY_SECONDS}])


def key(request: Request) -> str:
    """Whatever follows `/evaluate/flags/`, but for a closing slash: some clients do not encode it."""
    return request.path.partition(f"{STEM}/")[2].removesuffix("/")


def wanted_revision(query: bytes) -> int:
    """The revision a client has heard of (`flagConfigEtag="43"`); 0 without one."""
    if b"flagConfigEtag" not in query:
        return 0
    try:
        named = parse_qs(query.decode("latin-1"), max_num_fields=100).get("flagConfigEtag", [""])[-1]
    except ValueError:
        return 0
    return whole_number(named.removeprefix("W/").strip('"')) or 0


def refuse(request: Request, refused: Refused) -> Answer:
    """401 and 403 say nothing; else `{"key"?, "errorCode", "errorDetails"}`."""
    if refused.status == 405:
        return house_refusal(request, refused, shared_with)
    headers = refusal_headers(request, refused, shared_with)
    if refused.status in {401, 403}:
        return Answer(refused.status, [*headers, (b"content-length", b"0")])
    # Before the first snapshot: 500, the only failure of a server that the protocol knows.
    status = 500 if refused.status == 503 else refused.status
    document = {"errorCode": refused.code or "GENERAL", "errorDetails": refused.details or _DETAILS[refused.status]}
    if key(request):
        document = {"key": key(request), **document}
    body = dumped(document)
    return Answer(status, [*headers, JSON, length(body)], body)


_DETAILS = {
    413: "The body is too large.",
    429: "This address holds its share of streams.",
    500: "The flag could not be evaluated.",
    503: _COLD,
}
