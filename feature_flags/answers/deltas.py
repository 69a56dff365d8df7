"""What has changed since a revision, in the events of Unleash's delta API: encoded once, for all who ask or listen."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

from feature_flags.snapshot import Snapshot

_MAX_STEPS = 64


class Step(NamedTuple):
    """Events that lead from one snapshot to the next. The clock changes answers without a new revision."""

    before: int
    after: int
    events: bytes


class Deltas:
    """Follows the snapshots from the first question on; what came before is told by sending everything."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.steps: deque[Step] = deque()
        #: Clients at this revision, or a later one, can be told by steps.
        self.base = 0
        self.lock = Lock()
        self.bodies: dict[int | None, tuple[bytes, bool]] = {}

    def since(self, snapshot: Snapshot, seen: int | None) -> tuple[bytes, bool]:
        """The document `{"events": […]}` for a client that knows `seen`, and whether it is everything.

        Empty: nothing has changed.
        """
        with self.lock:
            self._follow(snapshot)
            if seen is not None and not self.base <= seen <= snapshot.revision:
                seen = None
            if seen not in self.bodies:
                self.bodies[seen] = self._body(snapshot, seen)
            return self.bodies[seen]

    def _follow(self, snapshot: Snapshot) -> None:
        known, self.snapshot = self.snapshot, snapshot
        if known is snapshot:
            return
        self.bodies.clear()
        if known is None or snapshot.revision < known.revision:
            # A restored database counts from where it was: whoever knows its future starts anew.
            self.steps.clear()
            self.base = snapshot.revision
            return
        if events := b",".join(_events(known, snapshot)):
            self.steps.append(Step(known.revision, snapshot.revision, events))
        while len(self.steps) > _MAX_STEPS:
            gone = self.steps.popleft()
            self.base = max(gone.before + 1, gone.after)

    def _body(self, snapshot: Snapshot, seen: int | None) -> tuple[bytes, bool]:
        if seen is None:
            return b'{"events":[%s]}' % _hydration(snapshot), True
        events = b",".join(step.events for step in self.steps if step.before >= seen)
        return (b'{"events":[%s]}' % events if events else b""), False


def _hydration(snapshot: Snapshot) -> bytes:
    features = b",".join(entry.feature for entry in snapshot.ordered)
    segments = b",".join(_segment(snapshot, pk) for pk in sorted(snapshot.segments))
    return b'{"eventId":%d,"type":"hydration","features":[%s],"segments":[%s]}' % (
        snapshot.revision,
        features,
        segments,
    )


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
        yield head + b'"feature-removed","featureName":%s,"project":"default"}' % _json(name)
    for pk in sorted(before.segments.keys() - after.segments.keys()):
        yield head + b'"segment-removed","segmentId":%d}' % pk


def _segment(snapshot: Snapshot, pk: int) -> bytes:
    return _json({"id": pk, "name": snapshot.segment_names[pk], "constraints": snapshot.segments[pk]})


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


deltas = Deltas()
