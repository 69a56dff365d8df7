"""What responses are made of and a snapshot does not hold: results as bytes, whole responses, tokens by header."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from django.conf import settings

from feature_flags.engine.constraints import CLOCK_FIELD
from feature_flags.engine.model import RANDOM, CompiledFlag, Context, Flags, Result
from feature_flags.http import wire
from feature_flags.http.wire import Refused, Response
from feature_flags.runtime.snapshot import Ready, Snapshot, Token, json_bytes
from feature_flags.runtime.usage import Results

#: Smaller groups of flags are quicker to evaluate than to look up.
_GROUP_SIZE = 4
#: Bytes that all groups of one bulk may hold.
_GROUP_BYTES = 4_000_000
#: Fields that differ with nearly every caller, or at every moment.
_PERSONAL = frozenset({"userId", "targetingKey", "sessionId", "remoteAddress", "email", CLOCK_FIELD, RANDOM})

_VARY_FEATURES: wire.Header = (b"vary", b"Accept-Encoding, Unleash-Client-Spec, Origin")


def evaluation(flag: CompiledFlag, result: Result) -> bytes:
    """OFREP's `{"key", "value"?, "reason", "variant"}`. No value means: the default in the caller's code."""
    variant = result.variant
    # Clients insist on a variant, also where a flag has none.
    name = variant.name if variant.enabled else "on" if result.enabled else "off"
    document: dict[str, Any] = {"key": flag.name}
    if result.value is not None:
        # 5 and 5.0 are two types to some clients, and one to some databases.
        document["value"] = float(result.value) if flag.definition.value_type == "float" else result.value
    # Every SDK knows DEFAULT; the protocol's schema does not list it.
    is_unlisted = result.reason == "DEFAULT" and settings.FLAGS_OFREP_STRICT_REASON
    document.update(reason="UNKNOWN" if is_unlisted else result.reason, variant=name)
    if result.error:
        document["metadata"] = {"error": result.error}
    return json_bytes(document)


def toggle(flag: CompiledFlag, result: Result) -> bytes:
    """Unleash's frontend toggle; empty for a flag that is off."""
    if not result.enabled:
        return b""
    variant: dict[str, Any] = {"name": result.variant.name, "enabled": result.variant.enabled}
    if result.variant.payload is not None:
        variant["payload"] = result.variant.payload
    variant.update(feature_enabled=True, featureEnabled=True)
    impression_data = bool(flag.definition.feature.get("impressionData"))
    return json_bytes({"name": flag.name, "enabled": True, "impressionData": impression_data, "variant": variant})


class ResultBytes(dict[Result, bytes]):
    """Each result as a protocol writes it, made at its first use. Results are made while compiling, so there are only
    so many; flags that did not change keep them, so what was made for the last snapshot serves the next one.
    """

    def __init__(
        self, make: Callable[[CompiledFlag, Result], bytes], flags: Flags, older: Mapping[Result, bytes]
    ) -> None:
        super().__init__()
        self.make, self.flags = make, flags
        self.older = dict(older)

    def __missing__(self, result: Result) -> bytes:
        piece = self.older.get(result)
        if piece is None:
            piece = self.make(self.flags[result.flag], result)
        self[result] = piece
        return piece

    def joined(self, results: Iterable[Result]) -> bytes:
        """With commas between those that are not empty: some protocols leave out a flag that is off."""
        return b",".join(filter(None, [self[result] for result in results]))


class Group:
    """Flags that depend on the same fields of a context, none of them personal: the bytes for one set of values serve
    every caller with these values.
    """

    def __init__(
        self, fields: Iterable[str], flags: Iterable[CompiledFlag], result_bytes: ResultBytes, room: int
    ) -> None:
        self.fields = sorted(fields)
        self.evaluates = [flag.evaluate for flag in flags]
        self.result_bytes = result_bytes
        self.known: dict[tuple[str | None, ...], tuple[Results, bytes]] = {}
        self.room = self.left = room

    def evaluate(self, context: Context, flags: Flags, results: list[Result | Results], written: list[bytes]) -> None:
        """Append to `results` and `written`."""
        values = tuple(map(context.get, self.fields))
        known = self.known.get(values)
        if known is not None:
            results.append(known[0])
            written.append(known[1])
            return
        found = [evaluate(context, flags) for evaluate in self.evaluates]
        body = self.result_bytes.joined(found)
        # Counted one by one: what is counted together lives until the counts are written.
        results.extend(found)
        written.append(body)
        self.left -= len(body) + sum(len(value) for value in values if value)
        if self.left < 0:
            self.known.clear()
            self.left = self.room
        else:
            self.known[values] = Results(found), body


class Bulk:
    """The evaluation of many flags at once: first those that no context changes, then groups, then the others."""

    def __init__(self, flags: Iterable[CompiledFlag], result_bytes: ResultBytes) -> None:
        self.result_bytes = result_bytes
        constants: list[Result] = []
        by_fields: dict[frozenset[str], list[CompiledFlag]] = {}
        for flag in flags:
            if flag.constant:
                constants.append(flag.constant)
            else:
                by_fields.setdefault(_PERSONAL if flag.has_parents else flag.fields, []).append(flag)
        grouped = {
            fields: members
            for fields, members in by_fields.items()
            if len(members) >= _GROUP_SIZE and not fields & _PERSONAL
        }
        self.constants, self.head = Results(constants), result_bytes.joined(constants)
        room = _GROUP_BYTES // max(len(grouped), 1)
        self.groups = [Group(fields, members, result_bytes, room) for fields, members in grouped.items()]
        self.others = [
            flag.evaluate for fields, members in by_fields.items() if fields not in grouped for flag in members
        ]

    def evaluate(self, context: Context, flags: Flags) -> tuple[list[Result | Results], bytes]:
        """The results, to be counted, and their bytes."""
        results: list[Result | Results] = [self.constants]
        written = [self.head]
        for group in self.groups:
            group.evaluate(context, flags, results, written)
        others = [evaluate(context, flags) for evaluate in self.others]
        results += others
        written += map(self.result_bytes.__getitem__, others)
        return results, b",".join(filter(None, written))


class Document(NamedTuple):
    """The features document as it may be sent."""

    tag: bytes
    unchanged: Response
    plain: Response
    zipped: Response


class ResponseCache:
    """What belongs to one snapshot; results that did not change are taken over from the cache of the last one."""

    def __init__(self, snapshot: Snapshot, older: ResponseCache | None) -> None:
        self.snapshot = snapshot
        self.tokens = {token.id: token for token in snapshot.tokens.values()}
        #: Tokens by the header they came in, so that a secret is hashed once.
        self.presented: dict[bytes, Token] = {}
        self.evaluations: ResultBytes = ResultBytes(evaluation, snapshot.flags, older.evaluations if older else {})
        self.toggles: ResultBytes = ResultBytes(toggle, snapshot.flags, older.toggles if older else {})

    @cached_property
    def all_evaluations(self) -> Bulk:
        return Bulk(self.snapshot.flags.values(), self.evaluations)

    @cached_property
    def exposed_evaluations(self) -> Bulk:
        return Bulk(self.snapshot.exposed, self.evaluations)

    @cached_property
    def exposed_toggles(self) -> Bulk:
        return Bulk(self.snapshot.exposed, self.toggles)

    @cached_property
    def all_variants(self) -> dict[str, frozenset[str]]:
        """The names of each flag's variants."""
        names = {}
        for name, flag in self.snapshot.flags.items():
            feature = flag.definition.feature
            groups = [feature["variants"], *(strategy["variants"] for strategy in feature["strategies"])]
            names[name] = frozenset(variant["name"] for group in groups for variant in group)
        return names

    @cached_property
    def exposed_variants(self) -> dict[str, frozenset[str]]:
        return {flag.name: self.all_variants[flag.name] for flag in self.snapshot.exposed}

    @cached_property
    def seed_list(self) -> Response:
        body = self.snapshot.seed_list
        return Response(200, (*wire.SECURITY, wire.PUBLIC, wire.VARY, wire.JSON, wire.length(body)), body)

    @cached_property
    def features(self) -> Document:
        return _document(self.snapshot.features)

    @cached_property
    def features_inlined(self) -> Document:
        return _document(self.snapshot.features_inlined)


def _document(ready: Ready) -> Document:
    tag = ready.tag.encode()
    # As tuples: lib.protocol writes such a head once.
    headers = (*wire.SECURITY, wire.PRIVATE, _VARY_FEATURES, (b"etag", tag))
    zipped = (*headers, wire.JSON, wire.length(ready.zipped), (b"content-encoding", b"gzip"))
    return Document(
        tag,
        Response(304, headers),
        Response(200, (*headers, wire.JSON, wire.length(ready.body)), ready.body),
        Response(200, zipped, ready.zipped),
    )


_newest: ResponseCache | None = None


def cache_of(snapshot: Snapshot | None) -> ResponseCache:
    """The cache of this snapshot; Refused (503) before there is one."""
    global _newest
    cache = _newest
    if cache is not None and cache.snapshot is snapshot:
        return cache
    if snapshot is None:
        raise Refused(503)
    _newest = cache = ResponseCache(snapshot, cache)
    return cache


def forget() -> None:
    """For tests that change settings: begin anew."""
    global _newest
    _newest = None
