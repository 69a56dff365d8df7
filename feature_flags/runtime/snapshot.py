"""Everything that answers are made of, at one revision: compiled flags, segments, tokens, ready bytes. Immutable."""

from __future__ import annotations

import gc
import gzip
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Q

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import CompiledFlag
from feature_flags.flag_document import Document
from feature_flags.runtime import usage
from feature_flags.unleash_feature import UNREADABLE, definition, wire_constraint


@dataclass(frozen=True, slots=True)
class Token:
    """What a presented secret may do. Origins empty: any."""

    id: int
    name: str
    kind: str
    origins: frozenset[str]
    expires_at: float | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One flag in a snapshot, with its pieces of the ready documents."""

    pk: int
    compiled: CompiledFlag
    is_active: bool
    seed: bytes
    feature: bytes


@dataclass(frozen=True, slots=True)
class Ready:
    """A document as it is sent: the bytes, the same compressed, and their entity tag (quoted)."""

    body: bytes
    zipped: bytes
    tag: str


@dataclass(frozen=True)
class Snapshot:
    """`flags` holds every flag that is not archived, in codename order; `built_at` and `next_due` are Unix times."""

    revision: int
    full_revision: int
    built_at: float
    entries: Mapping[int, Entry]
    flags: Mapping[str, CompiledFlag]
    segments: Mapping[int, list[Document]]
    segment_names: Mapping[int, str]
    tokens: Mapping[bytes, Token]
    next_due: float | None
    #: Flags whose answer the clock has already changed; their rows follow.
    due: frozenset[int] = field(default_factory=frozenset)

    @cached_property
    def ordered(self) -> list[Entry]:
        return sorted(self.entries.values(), key=lambda entry: entry.compiled.name)

    @cached_property
    def exposed(self) -> list[CompiledFlag]:
        """What frontend tokens see."""
        return [flag for flag in self.flags.values() if flag.exposed]

    @cached_property
    def seed_list(self) -> bytes:
        """The seed's list: exposed flags with their stored switch."""
        return b"[" + b",".join(entry.seed for entry in self.ordered if entry.compiled.exposed) + b"]"

    @cached_property
    def features(self) -> Ready:
        """The Unleash client document, segments apart (clients of specification 4.2.0 and newer)."""
        segments = [
            {"id": pk, "name": self.segment_names[pk], "constraints": constraints}
            for pk, constraints in sorted(self.segments.items())
        ]
        return self._ready([entry.feature for entry in self.ordered], segments)

    @cached_property
    def features_inlined(self) -> Ready:
        """The same for older clients: the constraints of segments stand in the strategies."""
        features = [self._inlined(entry.compiled.definition.feature) for entry in self.ordered]
        return self._ready(list(map(json_bytes, features)), None)

    def warm(self) -> None:
        """Make what the next request would wait for."""
        self.seed_list, self.features, self.exposed  # noqa: B018

    def _ready(self, features: list[bytes], segments: list[Document] | None) -> Ready:
        body = b'{"version":2,"features":[' + b",".join(features) + b"]"
        if segments is not None:
            body += b',"segments":' + json_bytes(segments)
        body += b',"query":' + json_bytes({"environment": settings.FLAGS_ENVIRONMENT})
        # Of the content, not of the revision: a restored database counts from where it was.
        tag = f'"{self.revision}:{blake2b(body, digest_size=16).hexdigest()}"'
        body += b',"meta":' + json_bytes({"revisionId": self.revision, "etag": tag}) + b"}"
        return Ready(body, gzip.compress(body, 6 if len(body) < 2**20 else 1, mtime=0), tag)

    def _inlined(self, feature: Mapping[str, Any]) -> Document:
        strategies = []
        for given in feature["strategies"]:
            strategy = {key: value for key, value in given.items() if key != "segments"}
            shared = (constraint for pk in given["segments"] for constraint in self.segments.get(pk, _NOBODY))
            strategies.append({**strategy, "constraints": [*given["constraints"], *shared]})
        return {**feature, "strategies": strategies}


# A missing segment breaks its flag; inlined, it is a constraint that no context meets.
_NOBODY = [wire_constraint({"field": "userId", "operator": "IN", "values": []})]


def read_revision() -> tuple[int, int]:
    """The revision of the flag set, and the last one that must be read as a whole."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT revision, full_revision FROM feature_flags_flagsetstate WHERE id = 1")
        row = cursor.fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def build(previous: Snapshot | None, now: datetime) -> Snapshot:
    """The snapshot of what is committed; reads and compiles only what is newer than `previous`."""
    with one_view():
        revision, full_revision = read_revision()
        if previous is not None and full_revision <= previous.revision:
            return _build(previous, revision, full_revision, now)
        with _no_collection():
            return _build(None, revision, full_revision, now)


def _build(previous: Snapshot | None, revision: int, full_revision: int, now: datetime) -> Snapshot:
    from feature_flags.models import FeatureFlag

    segments, names, moved = _read_segments(previous)
    pending = _read_pending()
    due = frozenset(pk for pk, plans in pending.items() if plans[0]["at"] <= now)
    flags = FeatureFlag.objects.all()
    if previous is not None:
        flags = flags.filter(Q(changed_in__gt=previous.revision) | Q(pk__in=due | previous.due))
    entries: dict[int, Entry] = dict(previous.entries) if previous else {}
    ids = {name: pk for pk, name in names.items()}
    for pk, document in flags.documents().items():
        entries.pop(pk, None)
        if not document["is_archived"]:
            document = _by_the_clock(document, pending.get(pk, ()), now)
            made = definition(document, ids)
            compiled = replace(compile_flag(made, segments), cell=usage.cell(document["codename"]))
            seed = json_bytes({key: document[key] for key in ("codename", "label", "description", "is_active")})
            entries[pk] = Entry(pk, compiled, document["is_active"], seed, json_bytes(made.feature))
    if moved and previous is not None:
        # Flags whose own rows are as before, but not a segment they use.
        for pk, entry in entries.items():
            strategies = entry.compiled.definition.feature["strategies"]
            if any(moved.intersection(strategy["segments"]) for strategy in strategies):
                compiled = compile_flag(entry.compiled.definition, segments)
                entries[pk] = replace(entry, compiled=replace(compiled, cell=entry.compiled.cell))
    ordered = sorted(entries.values(), key=lambda entry: entry.compiled.name)
    later = [plan["at"] for plans in pending.values() for plan in plans if plan["at"] > now]
    return Snapshot(
        revision=revision,
        full_revision=full_revision,
        built_at=now.timestamp(),
        entries=entries,
        flags={entry.compiled.name: entry.compiled for entry in ordered},
        segments=segments,
        segment_names=names,
        tokens=_read_tokens(),
        next_due=min(later).timestamp() if later else None,
        due=due,
    )


def _by_the_clock(document: Document, plans: Collection[Document], now: datetime) -> Document:
    """The document as the plans that are due have made it; `apply_due` writes the same into the rows."""
    for plan in plans:
        if plan["at"] <= now:
            is_percent = plan["action"] == "percent"
            change = {"rollout_percent": plan["percent"]} if is_percent else {"is_active": plan["action"] == "on"}
            document = {**document, **change}
    return document


def _read_pending() -> dict[int, list[Document]]:
    """Pending plans by flag, earliest first."""
    from feature_flags.models import FlagSchedule

    plans: dict[int, list[Document]] = {}
    rows = FlagSchedule.objects.filter(state=FlagSchedule.State.PENDING).order_by("at", "pk")
    for row in rows.values("flag_id", "at", "action", "percent"):
        plans.setdefault(row["flag_id"], []).append(dict(row))
    return plans


def _read_segments(previous: Snapshot | None) -> tuple[dict[int, list[Document]], dict[int, str], frozenset[int]]:
    """Constraints and names by id, and the ids that are newer than `previous`."""
    from feature_flags.models import Segment

    segments = dict(previous.segments) if previous else {}
    names = dict(previous.segment_names) if previous else {}
    rows = Segment.objects.all() if previous is None else Segment.objects.filter(changed_in__gt=previous.revision)
    moved = set()
    for pk, name, constraints in rows.values_list("pk", "name", "constraints"):
        try:
            segments[pk] = [wire_constraint(constraint) for constraint in constraints]
        except (TypeError, KeyError, AttributeError):
            # Written past the verbs: the flags that use it are broken, no others.
            segments[pk] = [UNREADABLE]
        names[pk] = name
        moved.add(pk)
    return segments, names, frozenset(moved)


def _read_tokens() -> dict[bytes, Token]:
    from feature_flags.models import FlagToken

    tokens = {}
    rows = FlagToken.objects.filter(revoked_at=None)
    for pk, name, kind, digest, origins, expires_at in rows.values_list(
        "pk", "name", "kind", "secret_hash", "allowed_origins", "expires_at"
    ):
        if not isinstance(origins, list) or not all(isinstance(origin, str) for origin in origins):
            # Written past the verbs: allows no page at all, where empty would mean any.
            origins = ["unreadable"]
        expires = expires_at.timestamp() if expires_at else None
        tokens[bytes(digest)] = Token(pk, name, kind, frozenset(origins), expires)
    return tokens


@contextmanager
def _no_collection() -> Iterator[None]:
    """Everything made here stays: a collector that walks it again and again doubles the time of 10,000 flags."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def one_view() -> Iterator[None]:
    """All reads see the same moment: a flag switched on must not meet the rules it had before."""
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield
    else:
        # Not atomic(): that would take SQLite's write lock and wait for every writer.
        with connection.cursor() as cursor:
            cursor.execute("BEGIN DEFERRED")
        try:
            yield
        finally:
            with connection.cursor() as cursor:
                cursor.execute("ROLLBACK")


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8."""
    # Half a surrogate pair, which SQLite lets in past the verbs, must not stop all flags.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
