"""What answers are made of and a snapshot does not hold: bytes of results, ready answers, tokens by what was sent."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

from feature_flags import usage
from feature_flags.answers import pieces
from feature_flags.answers.wire import JSON, PRIVATE, PUBLIC, SECURITY, VARY, Answer, Header, Refused, length
from feature_flags.engine import CompiledFlag, Result
from feature_flags.snapshot import Ready, Snapshot, Token

T = TypeVar("T")
#: A flag and where its answers are counted.
Row = tuple[CompiledFlag, usage.Cell]

_VARY_FEATURES: Header = (b"vary", b"Accept-Encoding, Unleash-Client-Spec, Origin")


class Pieces(Generic[T]):
    """What is written for a result, made once: results are made while compiling, so there are only so many."""

    def __init__(self, make: Callable[[CompiledFlag, Result], T], older: Pieces[T] | None) -> None:
        self.make = make
        # By identity, which holds as long as the result is held. Flags that did not change keep their results, so
        # what was made for the last snapshot serves the next one.
        self.made: dict[int, tuple[Result, T]] = {}
        self.older = older.made if older else {}

    def of(self, flag: CompiledFlag, result: Result) -> T:
        found = self.made.get(id(result))
        if found is None:
            found = self.older.get(id(result)) or (result, self.make(flag, result))
            self.made[id(result)] = found
        return found[1]


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
        self.evaluations: Pieces[pieces.Evaluation] = Pieces(pieces.evaluation, older.evaluations if older else None)
        self.toggles: Pieces[bytes] = Pieces(pieces.toggle, older.toggles if older else None)

    @cached_property
    def rows(self) -> list[Row]:
        return [(flag, usage.cell(flag.name, app_name=usage.OFREP)) for flag in self.snapshot.flags.values()]

    @cached_property
    def exposed_rows(self) -> list[Row]:
        return [row for row in self.rows if row[0].exposed]

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
