"""The Unleash client and frontend APIs, and the seed's own list. The API's description shows these docstrings."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import unquote

import mmh3

from feature_flags.http import wire
from feature_flags.http.cache import ResponseCache
from feature_flags.http.wire import SERVER, Refused, Request, Response, site_cors, token_cors
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Snapshot, Token, json_bytes
from lib.conf import conf

_MAX_FIELDS = 1000


def seed_list(request: Request, cache: ResponseCache, token: None) -> Response:
    """Public: exposed flags with their stored switch."""
    return _with_site_cors(cache.seed_list, request)


def client_features(request: Request, cache: ResponseCache, token: Token) -> Response:
    """All flags as server SDKs evaluate them."""
    headers = request.headers
    document = cache.features if wire.knows_segments(headers.get(b"unleash-client-spec")) else cache.features_inlined
    if wire.is_unchanged(request, document.tag):
        return _with_site_cors(document.unchanged, request)
    found = document.zipped if wire.takes_gzip(headers.get(b"accept-encoding")) else document.plain
    return _with_site_cors(found, request)


def client_delta(request: Request, cache: ResponseCache, token: Token) -> Response:
    """All flags; then, by the `ETag`, the changes since; `/client/streaming` pushes them."""
    known = (request.headers.get(b"if-none-match") or b"").removeprefix(b"W/").strip(b'"')
    tag, body, _ = deltas.since(cache.snapshot, known)
    tag = b'"%s"' % tag
    return _with_site_cors(wire.json_response(200, body, (b"etag", tag)) if body else wire.unchanged(tag), request)


def validate(request: Request, cache: ResponseCache, token: None) -> Response:
    """Which of the tokens in the body are valid, and for what, as Unleash Edge wants it; the others are left out."""
    given = wire.read_object(request.body).get("tokens")
    if not isinstance(given, list) or not all(isinstance(secret, str) for secret in given):
        raise Refused(400)
    found = [(secret, wire.find_token(cache.snapshot, secret.encode(errors="replace"))) for secret in given]
    valid = [
        {
            "token": secret,
            "type": "client" if token.kind == SERVER else wire.FRONTEND,
            "environment": conf.FLAGS_ENVIRONMENT,
            "projects": ["*"],
        }
        for secret, token in found
        if token is not None and not wire.has_expired(token)
    ]
    return wire.json_response(200, wire.dumped({"tokens": valid}))


def register(request: Request, cache: ResponseCache, token: Token) -> Response:
    """Accepted and not kept."""
    return _accepted(request, token)


def report(request: Request, cache: ResponseCache, token: Token) -> Response:
    """What an SDK has answered, to be added to the usage of flags."""
    document = wire.read_object(request.body)
    bucket = document.get("bucket")
    toggles = bucket.get("toggles") if isinstance(bucket, dict) else None
    if isinstance(toggles, dict):
        variants = cache.all_variants if token.kind == SERVER else cache.exposed_variants
        usage.report(document.get("appName"), toggles, variants, token)
    return _accepted(request, token)


def bulk_report(request: Request, cache: ResponseCache, token: Token) -> Response:
    """What many SDKs have answered, collected by a proxy such as Unleash Edge."""
    metrics = wire.read_object(request.body).get("metrics", [])
    if not isinstance(metrics, list):
        raise Refused(400)
    for metric in metrics:
        if isinstance(metric, dict) and isinstance(metric.get("featureName"), str):
            usage.report(metric.get("appName"), {metric["featureName"]: metric}, cache.all_variants, token)
    return _accepted(request, token)


def frontend(request: Request, cache: ResponseCache, token: Token) -> Response:
    """The flags that are on for the context in the query: `userId=7&properties[country]=IT`."""
    return _toggles(request, cache, token, _query_context(request.query))


def frontend_post(request: Request, cache: ResponseCache, token: Token) -> Response:
    """The same for a context in the body."""
    return _toggles(request, cache, token, wire.given_context(request.body))


def _toggles(request: Request, cache: ResponseCache, token: Token, given: Mapping[str, Any]) -> Response:
    """SDKs count for themselves: nothing is counted."""
    context = wire.evaluation_context(given, token, request.peer)
    _, toggles = cache.exposed_toggles.evaluate(context, cache.snapshot.flags)
    body = b'{"toggles":[%s]}' % toggles
    tag = b'"%s"' % mmh3.hash_bytes(body).hex().encode()
    if wire.is_unchanged(request, tag):
        return wire.unchanged(tag, *token_cors(request))
    return wire.json_response(200, body, (b"etag", tag), *token_cors(request))


def _query_context(query: bytes) -> dict[str, Any]:
    """`userId=7&properties[country]=IT`; what is no field of Unleash's own is a property, too.

    Reads as `urllib.parse.parse_qsl` does, in a third of the time.
    """
    if query.count(b"&") >= _MAX_FIELDS:
        raise Refused(400, "PARSE_ERROR")
    given: dict[str, Any] = {}
    properties: dict[str, str] = {}
    for pair in query.decode("latin-1").split("&"):
        name, _, value = pair.partition("=")
        if name.startswith("properties%5B") and name.endswith("%5D"):
            # As every SDK writes it.
            properties[_unquoted(name[len("properties%5B") : -len("%5D")])] = _unquoted(value)
            continue
        name = _unquoted(name)
        if name.startswith("properties[") and name.endswith("]"):
            properties[name[len("properties[") : -1]] = _unquoted(value)
        elif pair and name != "properties":
            given[name] = _unquoted(value)
    return {**given, "properties": properties}


def _unquoted(text: str) -> str:
    return unquote(text.replace("+", " ")) if "%" in text or "+" in text else text


def _accepted(request: Request, token: Token) -> Response:
    """202: reports are taken, whatever is in them."""
    return Response(202, [*wire.COMMON, wire.EMPTY, *(site_cors if token.kind == SERVER else token_cors)(request)])


def _with_site_cors(found: Response, request: Request) -> Response:
    return found if b"origin" not in request.headers else found._replace(headers=[*found.headers, *site_cors(request)])


def refuse(request: Request, refused: Refused, cors: Callable[[Request], wire.Headers] = token_cors) -> Response:
    """Unleash's clients know one code for a body that cannot be read."""
    return wire.refuse(request, Refused(400, "PARSE_ERROR") if refused.status == 400 else refused, cors)


refuse_on_site = partial(refuse, cors=site_cors)


# --- The delta API: what has changed since a state, as events that are encoded once for every client ------------------

_MAX_DELTAS = 64


class Delta(NamedTuple):
    """Events that lead from one state to the next. States are named by their documents' entity tags: a revision alone
    would be two states where time changes answers, or where a database was restored and counts on."""

    before: bytes
    events: bytes


class Deltas:
    """Follows the snapshots from the first request on; a client with an older state is sent everything."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.tag = b""
        self.deltas: deque[Delta] = deque()
        self.lock = Lock()
        self.bodies: dict[bytes, bytes] = {}

    def since(self, snapshot: Snapshot, known: bytes) -> tuple[bytes, bytes, bool]:
        """The tag of the state, the document `{"events": […]}` for a client that knows the state `known`, and whether
        that is everything. Empty: nothing has changed."""
        with self.lock:
            self._follow(snapshot)
            if known == self.tag:
                return self.tag, b"", False
            is_everything = all(delta.before != known for delta in self.deltas)
            key = b"" if is_everything else known
            if key not in self.bodies and is_everything:
                features = b",".join(entry.feature for entry in snapshot.ordered)
                segments = b",".join(_segment(snapshot, pk) for pk in sorted(snapshot.segments))
                head = b'{"events":[{"eventId":%d,"type":"hydration",' % snapshot.revision
                self.bodies[key] = head + b'"features":[%s],"segments":[%s]}]}' % (features, segments)
            elif key not in self.bodies:
                before = [delta.before for delta in self.deltas]
                # The newest: a state may come back, as when a plan switches on and off.
                first = len(before) - 1 - before[::-1].index(known)
                events = b",".join(delta.events for delta in list(self.deltas)[first:] if delta.events)
                self.bodies[key] = b'{"events":[%s]}' % events if events else b""
            return self.tag, self.bodies[key], is_everything

    def _follow(self, snapshot: Snapshot) -> None:
        last, self.snapshot = self.snapshot, snapshot
        if last is snapshot:
            return
        before, self.tag = self.tag, snapshot.features.tag.strip('"').encode()
        if before == self.tag:
            return
        self.bodies.clear()
        if last is not None:
            self.deltas.append(Delta(before, b",".join(_events(last, snapshot))))
        # A client that would read more than everything gets everything.
        room = len(snapshot.features.body)
        while self.deltas and (len(self.deltas) > _MAX_DELTAS or sum(len(each.events) for each in self.deltas) > room):
            self.deltas.popleft()


def _events(before: Snapshot, after: Snapshot) -> Iterator[bytes]:
    """Segments come before the flags that use them, and go after."""
    head = b'{"eventId":%d,"type":' % after.revision
    for pk in sorted(after.segments):
        segment = _segment(after, pk)
        if pk not in before.segments or _segment(before, pk) != segment:
            yield head + b'"segment-updated","segment":%s}' % segment
    for pk, entry in after.entries.items():
        known = before.entries.get(pk)
        if known is not entry and (known is None or known.feature != entry.feature):
            yield head + b'"feature-updated","feature":%s}' % entry.feature
    names = {entry.compiled.name for entry in after.entries.values()}
    for name in sorted({entry.compiled.name for entry in before.entries.values()} - names):
        yield head + b'"feature-removed","featureName":%s,"project":"default"}' % json_bytes(name)
    for pk in sorted(before.segments.keys() - after.segments.keys()):
        yield head + b'"segment-removed","segmentId":%d}' % pk


def _segment(snapshot: Snapshot, pk: int) -> bytes:
    return json_bytes({"id": pk, "name": snapshot.segment_names[pk], "constraints": snapshot.segments[pk]})


deltas = Deltas()
