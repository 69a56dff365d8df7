"""Counters of this process, in the text format of Prometheus. No row is read here."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.conf import settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_lock = threading.Lock()

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class Counter:
    """Something that only grows, one figure per combination of label values."""

    name: str
    text: str
    labels: tuple[str, ...] = ()
    values: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, *of: str) -> None:
        with _lock:
            self.values[of] = self.values.get(of, 0) + 1

    def forget(self) -> None:
        self.values = {}

    def lines(self, extra: Labels) -> Iterator[str]:
        values = dict(self.values) or ({} if self.labels else {(): 0})
        samples = [("", (*zip(self.labels, of, strict=True), *extra), value) for of, value in sorted(values.items())]
        return family(self.name, "counter", self.text, samples)


@dataclass(slots=True)
class Histogram:
    """How long something takes."""

    name: str
    text: str
    counts: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS) + 1))
    total: float = 0.0

    @contextmanager
    def time(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            bucket = next((n for n, bound in enumerate(_BOUNDS) if seconds <= bound), len(_BOUNDS))
            with _lock:
                self.counts[bucket] += 1
                self.total += seconds

    def forget(self) -> None:
        self.counts, self.total = [0] * (len(_BOUNDS) + 1), 0.0

    def lines(self, extra: Labels) -> Iterator[str]:
        with _lock:
            counts, total = list(self.counts), self.total
        so_far, samples = 0, []
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
            so_far += count
            samples.append(("_bucket", (("le", bound), *extra), so_far))
        return family(self.name, "histogram", self.text, [*samples, ("_sum", extra, total), ("_count", extra, so_far)])


ENQUEUED = Counter("notifications_enqueued_total", "Messages put into the outbox.", ("type", "channel"))
OUTCOMES = Counter("notifications_outcome_total", "What tries came to.", ("outcome", "provider"))
RETRIES = Counter("notifications_retries_total", "Tries that will be repeated.")
LOST_LEASES = Counter("notifications_lost_lease_total", "Messages that another worker had taken, or staff had stopped.")
DUPLICATES = Counter("notifications_duplicate_key_total", "Events that were queued before.")
LOST_WAKE_UPS = Counter("notifications_wake_up_failed_total", "Tasks that could not be enqueued; the sweeper sends.")
_ABOUT = "Reports of the provider: their kind, or ignored, repeated, ping."
REPORTS = Counter("notifications_reports_total", _ABOUT, ("provider", "kind"))
SENDING = Histogram("notifications_send_seconds", "Seconds the mail server took for a message.")
RENDERING = Histogram("notifications_render_seconds", "Seconds to render a message and build its MIME form.")

_ALL = (ENQUEUED, OUTCOMES, RETRIES, LOST_LEASES, DUPLICATES, LOST_WAKE_UPS, REPORTS, SENDING, RENDERING)
# By final state, for the row of this worker.
_finished: dict[str, int] = {}


def count_attempt(outcome: str, state: str | None, provider: str | None = None) -> None:
    """An attempt has ended with `outcome` and left the message in `state`; None: it was no longer this worker's."""
    via = settings.EMAIL_URL.partition(":")[0] if provider is None else provider
    OUTCOMES.add("lost_lease" if state is None else outcome, via)
    if state is None:
        LOST_LEASES.add()
    elif state != "queued":
        with _lock:
            _finished[state] = _finished.get(state, 0) + 1
    elif outcome != "transport_down":
        RETRIES.add()


def finished(state: str) -> int:
    """How many messages this process has brought into a final state."""
    return _finished.get(state, 0)


def forget() -> None:
    """A forked child has done nothing yet."""
    global _lock
    _lock = threading.Lock()
    _finished.clear()
    for each in _ALL:
        each.forget()


os.register_at_fork(after_in_child=forget)


def text(gauges: Iterable[tuple[str, str, Mapping[Labels, float]]] = ()) -> str:
    """Everything, `gauges` (name, help, values by labels) included."""
    # Where several processes answer at one address, a scrape meets any of them: each then has series of its own.
    extra: Labels = (("process", str(os.getpid())),) if settings.WEB_CONCURRENCY > 1 else ()
    lines = [line for each in _ALL for line in each.lines(extra)]
    for name, about, values in gauges:
        lines += family(name, "gauge", about, [("", labels, value) for labels, value in values.items()])
    return "\n".join(lines) + "\n"


def family(name: str, kind: str, about: str, samples: Sequence[tuple[str, Labels, float]]) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for suffix, labels, value in samples:
        escaped = [(label, of.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for label, of in labels]
        inner = ",".join(f'{label}="{of}"' for label, of in escaped)
        yield f"{name}{suffix}{{{inner}}} {value}" if inner else f"{name}{suffix} {value}"
