"""What answers are made of and a snapshot does not hold: bytes of results, ready answers, tokens by what was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from feature_flags.engine.constraints import CLOCK_FIELD
from feature_flags.engine.context import RANDOM
from feature_flags.engine.model import CompiledFlag, Context, Flags, Result
from feature_flags.http import pieces
from feature_flags.http.wire import JSON, PRIVATE, PUBLIC, SECURITY, VARY, Answer, Header, Refused, length
from feature_flags.runtime.snapshot import Ready, Snapshot, Token
from feature_flags.runtime.usage import Together

#: Flags with fewer of their kind are quicker to ask than to remember.
_GROUP_SIZE = 4
#: Bytes that all groups of a sheet may remember.
_ROOM = 4_000_000
#: Fields that are another's with nearly every caller, or at every moment.
_PERSONAL = frozenset({"userId", "targetingKey", "sessionId", "remoteAddress", "email", CLOCK_FIELD, RANDOM})

_VARY_FEATURES: Header = (b"vary", b"Accept-Encoding, Unleash-Client-Spec, Origin")


class Pieces(dict[Result, bytes]):
    """What is written for a result, made at its first use: results are made while compiling, so there are only so
    many. Flags that did not change keep their results, so what was made for the last snapshot serves the next one.
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
        """With commas between those that have something to say: a flag that is off is nothing to some protocols."""
        return b",".join(filter(None, [self[result] for result in results]))


class Group:
    """Flags that look at the same fields of a context, none of which tells people apart: what is written for one set of
    values serves everybody who has them.
    """

    def __init__(self, fields: Iterable[str], flags: Iterable[CompiledFlag], pieces: Pieces, room: int) -> None:
        self.fields = sorted(fields)
        self.evaluates = [flag.evaluate for flag in flags]
        self.pieces = pieces
        self.known: dict[tuple[str | None, ...], tuple[Together, bytes]] = {}
        self.room = self.left = room

    def fill(self, context: Context, flags: Flags, given: list[Result | Together], written: list[bytes]) -> None:
        values = tuple(map(context.get, self.fields))
        known = self.known.get(values)
        if known is not None:
            given.append(known[0])
            written.append(known[1])
            return
        results = [evaluate(context, flags) for evaluate in self.evaluates]
        body = self.pieces.joined(results)
        # Counted one by one: whatever is counted together lives until the counts are written.
        given.extend(results)
        written.append(body)
        self.left -= len(body) + sum(len(value) for value in values if value)
        if self.left < 0:
            self.known.clear()
            self.left = self.room
        else:
            self.known[values] = Together(results), body


class Sheet:
    """The answers of many flags at once: first those that no context changes, then groups, then the others."""

    def __init__(self, flags: Iterable[CompiledFlag], pieces: Pieces) -> None:
        self.pieces = pieces
        constants: list[Result] = []
        alike: dict[frozenset[str], list[CompiledFlag]] = {}
        for flag in flags:
            if flag.constant:
                constants.append(flag.constant)
            else:
                alike.setdefault(_PERSONAL if flag.has_parents else flag.fields, []).append(flag)
        grouped = {
            fields: members
            for fields, members in alike.items()
            if len(members) >= _GROUP_SIZE and not fields & _PERSONAL
        }
        self.constants, self.head = Together(constants), pieces.joined(constants)
        room = _ROOM // max(len(grouped), 1)
        self.groups = [Group(fields, members, pieces, room) for fields, members in grouped.items()]
        self.others = [flag.evaluate for fields, members in alike.items() if fields not in grouped for flag in members]

    def filled(self, context: Context, flags: Flags) -> tuple[list[Result | Together], bytes]:
        """What is given, to be counted, and as it is written."""
        given: list[Result | Together] = [self.constants]
        written = [self.head]
        for group in self.groups:
            group.fill(context, flags, given, written)
        results = [evaluate(context, flags) for evaluate in self.others]
        given += results
        written += map(self.pieces.__getitem__, results)
        return given, b",".join(filter(None, written))


class Document(NamedTuple):
    """The features document as it may be sent."""

    tag: bytes
    unchanged: Answer
    plain: Answer
    zipped: Answer


class Prepared:
    def __init__(self, snapshot: Snapshot, older: Prepared | None) -> None:
        self.snapshot = snapshot
        self.tokens = {token.id: token for token in snapshot.tokens.values()}
        #: Tokens by the header they came in, so that a secret is hashed once.
        self.presented: dict[bytes, Token] = {}
        self.evaluations: Pieces = Pieces(pieces.evaluation, snapshot.flags, older.evaluations if older else {})
        self.toggles: Pieces = Pieces(pieces.toggle, snapshot.flags, older.toggles if older else {})

    @cached_property
    def all_evaluations(self) -> Sheet:
        return Sheet(self.snapshot.flags.values(), self.evaluations)

    @cached_property
    def exposed_evaluations(self) -> Sheet:
        return Sheet(self.snapshot.exposed, self.evaluations)

    @cached_property
    def exposed_toggles(self) -> Sheet:
        return Sheet(self.snapshot.exposed, self.toggles)

    @cached_property
    def all_variants(self) -> dict[str, frozenset[str]]:
        """The names of each flag's variants."""
        return {name: _variants(flag) for name, flag in self.snapshot.flags.items()}

    @cached_property
    def exposed_variants(self) -> dict[str, frozenset[str]]:
        return {flag.name: _variants(flag) for flag in self.snapshot.exposed}

    @cached_property
    def seed_list(self) -> Answer:
        body = self.snapshot.seed_list
        return Answer(200, [*SECURITY, PUBLIC, VARY, JSON, length(body)], body)

    @cached_property
    def features(self) -> Document:
        return _document(self.snapshot.features)

    @cached_property
    def features_inlined(self) -> Document:
        return _document(self.snapshot.features_inlined)


def _variants(flag: CompiledFlag) -> frozenset[str]:
    feature = flag.definition.feature
    groups = [feature["variants"], *(strategy["variants"] for strategy in feature["strategies"])]
    return frozenset(variant["name"] for group in groups for variant in group)


def _document(ready: Ready) -> Document:
    tag = ready.tag.encode()
    headers: list[Header] = [*SECURITY, PRIVATE, _VARY_FEATURES, (b"etag", tag)]
    return Document(
        tag,
        Answer(304, headers),
        Answer(200, [*headers, JSON, length(ready.body)], ready.body),
        Answer(200, [*headers, JSON, length(ready.zipped), (b"content-encoding", b"gzip")], ready.zipped),
    )


_last: Prepared | None = None


def prepared(snapshot: Snapshot | None) -> Prepared:
    """What belongs to this snapshot; Refused (503) before there is one."""
    global _last
    known = _last
    if known is not None and known.snapshot is snapshot:
        return known
    if snapshot is None:
        raise Refused(503)
    _last = known = Prepared(snapshot, known)
    return known


def forget() -> None:
    """For tests that change settings: begin anew."""
    global _last
    _last = None
