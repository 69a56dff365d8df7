"""The Unleash client and frontend APIs, and the seed's own list."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

import mmh3

from feature_flags.conf import live
from feature_flags.http.cache import prepared
from feature_flags.http.callers import (
    FRONTEND,
    SERVER,
    authorised,
    find_token,
    given_context,
    has_expired,
    read_object,
    shared,
    told,
)
from feature_flags.http.deltas import deltas
from feature_flags.http.wire import (
    COMMON,
    EMPTY,
    Answer,
    Header,
    Refused,
    Request,
    answer,
    dumped,
    house_refusal,
    is_unchanged,
    knows_segments,
    shared_with,
    shared_with_house,
    takes_gzip,
)
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Snapshot

_MAX_FIELDS = 1000


def seed_list(request: Request, snapshot: Snapshot | None) -> Answer:
    """Public: exposed flags with their stored switch."""
    return _for_house(prepared(snapshot).seed_list, request)


def client_features(request: Request, snapshot: Snapshot | None) -> Answer:
    known = prepared(snapshot)
    authorised(request, known, SERVER)
    headers = request.headers
    document = known.features if knows_segments(headers.get(b"unleash-client-spec")) else known.features_inlined
    if is_unchanged(request, document.tag):
        return _for_house(document.unchanged, request)
    found = document.zipped if takes_gzip(headers.get(b"accept-encoding")) else document.plain
    return _for_house(found, request)


def client_delta(request: Request, snapshot: Snapshot | None) -> Answer:
    """Everything, or with the entity tag of an earlier answer the changes since."""
    known = prepared(snapshot)
    authorised(request, known, SERVER)
    seen = (request.headers.get(b"if-none-match") or b"").removeprefix(b"W/").strip(b'"')
    tag, body, _ = deltas.since(known.snapshot, seen)
    if not body:
        return _for_house(Answer(304, [*COMMON, (b"etag", b'"%s"' % tag)]), request)
    return _for_house(answer(200, body, (b"etag", b'"%s"' % tag)), request)


def validate(request: Request, snapshot: Snapshot | None) -> Answer:
    """Which of the tokens in the body are good, and for what: as Unleash Edge asks. Of the others nothing is said."""
    known = prepared(snapshot)
    asked = read_object(request.body).get("tokens")
    if not isinstance(asked, list) or not all(isinstance(secret, str) for secret in asked):
        raise Refused(400)
    found = [(secret, find_token(known.snapshot, secret.encode(errors="replace"))) for secret in asked]
    good = [
        {
            "token": secret,
            "type": "client" if token.kind == SERVER else FRONTEND,
            "environment": live.environment,
            "projects": ["*"],
        }
        for secret, token in found
        if token is not None and not has_expired(token)
    ]
    return answer(200, dumped({"tokens": good}))


def client_register(request: Request, snapshot: Snapshot | None) -> Answer:
    authorised(request, prepared(snapshot), SERVER)
    return _accepted(shared_with_house(request.headers.get(b"origin")))


def client_metrics(request: Request, snapshot: Snapshot | None) -> Answer:
    _report(request, snapshot, SERVER)
    return _accepted(shared_with_house(request.headers.get(b"origin")))


def client_metrics_bulk(request: Request, snapshot: Snapshot | None) -> Answer:
    """What many SDKs have counted, collected by one proxy: `{"metrics": [{"featureName", "appName", "yes", "no"}]}`."""
    known = prepared(snapshot)
    token = authorised(request, known, SERVER)
    metrics = read_object(request.body).get("metrics") or []
    if not isinstance(metrics, list):
        raise Refused(400)
    for metric in metrics:
        if isinstance(metric, dict) and isinstance(metric.get("featureName"), str):
            usage.report(metric.get("appName"), {metric["featureName"]: metric}, known.all_variants, token)
    return _accepted(shared_with_house(request.headers.get(b"origin")))


def frontend_register(request: Request, snapshot: Snapshot | None) -> Answer:
    authorised(request, prepared(snapshot), FRONTEND)
    return _accepted(shared(request))


def frontend_metrics(request: Request, snapshot: Snapshot | None) -> Answer:
    _report(request, snapshot, FRONTEND)
    return _accepted(shared(request))


def frontend(request: Request, snapshot: Snapshot | None) -> Answer:
    """The flags that are on for one context, with their variants. SDKs count for themselves: nothing is counted."""
    known = prepared(snapshot)
    token = authorised(request, known, FRONTEND)
    given = given_context(request.body) if request.method == "POST" else _query_context(request.query)
    context = told(given, token, request.peer)
    sheet = known.exposed_toggles
    _, toggles = sheet.filled(context, known.snapshot.flags)
    body = b'{"toggles":[%s]}' % toggles
    tag = b'"%s"' % mmh3.hash_bytes(body).hex().encode()
    if is_unchanged(request, tag):
        return Answer(304, [*COMMON, (b"etag", tag), *shared(request)])
    return answer(200, body, (b"etag", tag), *shared(request))


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


def _report(request: Request, snapshot: Snapshot | None, kind: str) -> None:
    known = prepared(snapshot)
    token = authorised(request, known, kind)
    document = read_object(request.body)
    bucket = document.get("bucket")
    toggles = bucket.get("toggles") if isinstance(bucket, dict) else None
    if isinstance(toggles, dict):
        variants = known.all_variants if kind == SERVER else known.exposed_variants
        usage.report(document.get("appName"), toggles, variants, token)


def _accepted(cors: tuple[Header, ...]) -> Answer:
    """202: reports are taken, and nothing is said about them."""
    return Answer(202, [*COMMON, EMPTY, *cors])


def _for_house(found: Answer, request: Request) -> Answer:
    origin = request.headers.get(b"origin")
    return found if origin is None else found._replace(headers=[*found.headers, *shared_with_house(origin)])


def refuse(request: Request, refused: Refused) -> Answer:
    # Unleash's clients know one word for a body that cannot be read.
    if refused.status == 400:
        refused = Refused(400, "PARSE_ERROR")
    return house_refusal(request, refused, shared_with)


def refuse_house(request: Request, refused: Refused) -> Answer:
    if refused.status == 400:
        refused = Refused(400, "PARSE_ERROR")
    return house_refusal(request, refused, shared_with_house)
