"""What answers are made of and a snapshot does not hold: bytes of results, ready answers, tokens by what was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeVar

from feature_flags import usage
from feature_flags.answers import pieces
from feature_flags.answers.wire import JSON, PRIVATE, PUBLIC, SECURITY, VARY, Answer, Header, Refused, length
from feature_flags.engine import CompiledFlag, Result
from feature_flags.engine.model import Context, Flags
from feature_flags.snapshot import Ready, Snapshot, Token

T = TypeVar("T")

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


class Sheet(Generic[T]):
    """The answers of many flags at once: what no context changes stands there already."""

    def __init__(self, flags: Iterable[CompiledFlag], pieces: Pieces[T]) -> None:
        listed = list(flags)
        self.pieces = pieces
        self.cells = [usage.cell(flag.name, app_name=usage.OFREP) for flag in listed]
        self.fixed = [pieces.of(flag, flag.constant) if flag.constant else None for flag in listed]
        self.open = [(index, flag, flag.evaluate) for index, flag in enumerate(listed) if flag.constant is None]

    def filled(self, context: Context, flags: Flags) -> list[Any]:
        """One piece a flag, in their order."""
        filled, made = self.fixed.copy(), self.pieces.made
        for index, flag, evaluate in self.open:
            result = evaluate(context, flags)
            found = made.get(id(result))
            filled[index] = self.pieces.of(flag, result) if found is None else found[1]
        return filled


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
    def all_evaluations(self) -> Sheet[pieces.Evaluation]:
        return Sheet(self.snapshot.flags.values(), self.evaluations)

    @cached_property
    def exposed_evaluations(self) -> Sheet[pieces.Evaluation]:
        return Sheet(self.snapshot.exposed, self.evaluations)

    @cached_property
    def exposed_toggles(self) -> Sheet[bytes]:
        return Sheet(self.snapshot.exposed, self.toggles)

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
