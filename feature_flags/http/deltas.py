"""What has changed since a state, as events of Unleash's delta API: encoded once for every client."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

from feature_flags.runtime.snapshot import Snapshot, json_bytes

_MAX_STEPS = 64


class Step(NamedTuple):
    """Events that lead from one state to the next. States are named by their documents' entity tags: a revision alone
    would be two states where time changes answers, or where a database was restored and counts on."""

    before: bytes
    events: bytes


class Deltas:
    """Follows the snapshots from the first request on; a client with an older state is sent everything."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.tag = b""
        self.steps: deque[Step] = deque()
        self.lock = Lock()
        self.bodies: dict[bytes, bytes] = {}

    def since(self, snapshot: Snapshot, known: bytes) -> tuple[bytes, bytes, bool]:
        """The tag of the state, the document `{"events": […]}` for a client that knows the state `known`, and whether
        that is everything. Empty: nothing has changed."""
        with self.lock:
            self._follow(snapshot)
            if known == self.tag:
                return self.tag, b"", False
            is_everything = all(step.before != known for step in self.steps)
            key = b"" if is_everything else known
            if key not in self.bodies:
                self.bodies[key] = _hydration(snapshot) if is_everything else self._body(known)
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
            self.steps.append(Step(before, b",".join(_events(last, snapshot))))
        # A client that would read more than everything gets everything.
        room = len(snapshot.features.body)
        while self.steps and (len(self.steps) > _MAX_STEPS or sum(len(step.events) for step in self.steps) > room):
            self.steps.popleft()

    def _body(self, known: bytes) -> bytes:
        before = [step.before for step in self.steps]
        # The newest: a state may come back, as when a plan switches on and off.
        first = len(before) - 1 - before[::-1].index(known)
        events = b",".join(step.events for step in list(self.steps)[first:] if step.events)
        return b'{"events":[%s]}' % events if events else b""


def _hydration(snapshot: Snapshot) -> bytes:
    features = b",".join(entry.feature for entry in snapshot.ordered)
    segments = b",".join(_segment(snapshot, pk) for pk in sorted(snapshot.segments))
    return b'{"events":[{"eventId":%d,"type":"hydration","features":[%s],"segments":[%s]}]}' % (
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
        yield head + b'"feature-removed","featureName":%s,"project":"default"}' % json_bytes(name)
    for pk in sorted(before.segments.keys() - after.segments.keys()):
        yield head + b'"segment-removed","segmentId":%d}' % pk


def _segment(snapshot: Snapshot, pk: int) -> bytes:
    return json_bytes({"id": pk, "name": snapshot.segment_names[pk], "constraints": snapshot.segments[pk]})


deltas = Deltas()
