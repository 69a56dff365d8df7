"""Figures for Prometheus. Whoever counts something counts it here, in memory, by a few operations on a dictionary; when
a scrape or the clock asks, prometheus_client takes what has come. It is loaded by what is scraped alone: `serve` with
METRICS_TOKEN, and the worker with METRICS_PORT."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
import tomllib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

Values = tuple[str, ...]
Labels = tuple[tuple[str, str], ...]
#: Name, help, values by labels: what only a database knows, asked for by each scrape.
Asked = tuple[str, str, Mapping[Labels, float]]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Seconds between two looks where several processes answer at one address: a scrape meets one, which reads the others'.
INTERVAL = 1.0
_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
#: Bytes that must be free there. The files are mapped and sparse: on a full disk a write is no error, it ends the
#: process (SIGBUS).
_ROOM = 4 * 1024 * 1024

logger = logging.getLogger("switchboard.metrics")
_all: list[Counter | Histogram | Gauge] = []
_lock = threading.Lock()


class Counter:
    """Something that only grows, one figure for each combination of values of its labels."""

    kind = "Counter"

    def __init__(self, name: str, text: str, labels: Values = ()) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.values: dict[Values, float] = {}
        self.written: dict[Values, float] = {}
        _all.append(self)

    def add(self, *of: str, number: float = 1) -> None:
        with _lock:
            self.values[of] = self.values.get(of, 0) + number

    def forget(self) -> None:
        self.values, self.written = {}, {}

    def write(self, to: Any) -> None:
        for of, value in list(self.values.items()):
            (to.labels(*of) if self.labels else to).inc(value - self.written.get(of, 0))
            self.written[of] = value


class Histogram:
    """How long something takes, for each combination of values of its labels."""

    kind = "Histogram"

    def __init__(self, name: str, text: str, labels: Values = (), *, bounds: tuple[float, ...] = SECONDS) -> None:
        self.name, self.text, self.labels, self.bounds = name, text, labels, bounds
        #: The count of each bucket, and the sum of all at the end.
        self.values: dict[Values, list[float]] = {}
        self.written: dict[Values, list[float]] = {}
        _all.append(self)

    def row(self, *of: str) -> list[float]:
        row = self.values.get(of)
        return self.values.setdefault(of, [0.0] * (len(self.bounds) + 2)) if row is None else row

    def observe(self, seconds: float, *of: str) -> None:
        row = self.row(*of)
        with _lock:
            row[bisect_left(self.bounds, seconds)] += 1
            row[-1] += seconds

    @contextmanager
    def time(self) -> Iterator[None]:
        started = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - started)

    def forget(self) -> None:
        # Rows stay: others hold them.
        for row in self.values.values():
            row[:] = [0.0] * len(row)
        self.written = {}

    def write(self, to: Any) -> None:
        for of, row in list(self.values.items()):
            now = list(row)
            before = self.written.get(of, [0.0] * len(now))
            child = to.labels(*of) if self.labels else to
            # What its `observe` does, for many at once.
            for bucket, count, known in zip(child._buckets, now, before, strict=False):
                if count != known:
                    bucket.inc(count - known)
            child._sum.inc(now[-1] - before[-1])
            self.written[of] = now


class Gauge:
    """Something that goes up and down. `read` returns it, by values of its labels if it has any; None: unknown.

    `across`: what several processes make of it, as prometheus_client's `multiprocess_mode` has it.
    """

    kind = "Gauge"

    def __init__(
        self, name: str, text: str, read: Callable[[], Any], labels: Values = (), *, across: str = "livesum"
    ) -> None:
        self.name, self.text, self.labels, self.read, self.across = name, text, labels, read, across
        _all.append(self)

    def forget(self) -> None:
        pass

    def write(self, to: Any) -> None:
        found = self.read()
        for of, value in (found if self.labels else {(): found}).items():
            if value is not None:
                (to.labels(*of) if self.labels else to).set(value)


class _Export:
    """The same figures as prometheus_client knows them, from the first scrape on."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, disable_created_metrics
        from prometheus_client import metrics as theirs

        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.lock = threading.Lock()
        self.has_room = True
        self.known: dict[str, Any] = {}
        self.kinds: dict[str, Any] = {"Counter": theirs.Counter, "Histogram": theirs.Histogram, "Gauge": theirs.Gauge}

    def write(self) -> None:
        with self.lock:
            had_room, self.has_room = self.has_room, _has_room()
            if had_room and not self.has_room:
                logger.error("figures stand still: the disk of PROMETHEUS_MULTIPROC_DIR is full, or it is gone")
            for each in list(_all) if self.has_room else ():
                if (to := self.known.get(each.name)) is None:
                    more: dict[str, Any] = {"registry": self.registry}
                    if isinstance(each, Histogram):
                        more["buckets"] = each.bounds
                    elif isinstance(each, Gauge):
                        more["multiprocess_mode"] = each.across
                    to = self.known[each.name] = self.kinds[each.kind](each.name, each.text, each.labels, **more)
                each.write(to)


def _has_room() -> bool:
    if not (directory := os.environ.get(_DIRECTORY)):
        return True
    with suppress(OSError):
        found = os.statvfs(directory)
        return found.f_bavail * found.f_frsize >= _ROOM
    return False


_export = cache(_Export)
_stopping = threading.Event()


def share() -> str:
    """Before processes start that answer at one address: make the directory where each finds the others' figures.

    Returns the directory, to be removed at the end; empty where the environment names one.
    """
    if os.environ.get(_DIRECTORY):
        return ""
    made = os.environ[_DIRECTORY] = mkdtemp(prefix="switchboard-metrics-")
    return made


def start() -> None:
    """Write what the other processes read, where there are such."""
    if os.environ.get(_DIRECTORY):
        threading.Thread(target=_write_for_others, name="metrics", daemon=True).start()


def stop() -> None:
    _stopping.set()


def _write_for_others() -> None:
    while not _stopping.wait(INTERVAL):
        _export().write()
    # What a process has counted outlives it.
    _export().write()


def text(asked: Iterable[Asked] = ()) -> str:
    """All figures of all processes at this address, in Prometheus' text format, and those just `asked` for."""
    from prometheus_client import CollectorRegistry, generate_latest

    export = _export()
    export.write()
    registry = export.registry
    if (directory := os.environ.get(_DIRECTORY)) and Path(directory).is_dir():
        registry = _of_all(Path(directory))
    own = CollectorRegistry()
    own.register(_Asked(asked))
    return (generate_latest(registry) + generate_latest(own)).decode()


class _Asked:
    """Families, and no Gauge: that would be written for the other processes, and outlive the scrape there."""

    def __init__(self, asked: Iterable[Asked]) -> None:
        self.asked = asked

    def collect(self) -> Iterator[Any]:
        from prometheus_client.metrics_core import GaugeMetricFamily

        for name, about, values in self.asked:
            family = GaugeMetricFamily(name, about, labels=[label for label, _ in next(iter(values), ())])
            for labels, value in values.items():
                family.add_metric([of for _, of in labels], value)
            yield family


def _of_all(directory: Path) -> CollectorRegistry:
    from prometheus_client import CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

    for pid in {path.stem.rpartition("_")[2] for path in directory.glob("gauge_live*.db")}:
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))  # type: ignore[no-untyped-call]
    return registry


def forget() -> None:
    """A forked child has done nothing yet; for tests."""
    global _lock
    _lock = threading.Lock()
    _export.cache_clear()
    for each in _all:
        each.forget()


os.register_at_fork(after_in_child=forget)


# --- Of every process -------------------------------------------------------------------------------------------------

REQUESTS = Histogram(
    "http_request_duration_seconds",
    "Seconds to answer, by route template.",
    ("method", "route", "status"),
    bounds=(0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)
FAILURES = Counter("switchboard_failures_total", "What failed beside requests, or for want of a database.", ("what",))
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def row(method: str | None, route: str, status: int) -> list[float]:
    """Where answers are counted; `route` is one of ours, never a path."""
    return REQUESTS.row(method if method in _METHODS else "other", route, str(status))


def answered(method: str | None, route: str, status: int, seconds: float) -> None:
    """Count an answer; the arguments are those of `row`."""
    REQUESTS.observe(seconds, method if method in _METHODS else "other", route, str(status))


@cache
def build_info() -> Asked:
    about = tomllib.loads((Path(settings.BASE_DIR) / "pyproject.toml").read_text())
    labels = (
        ("version", about["project"]["version"]),
        ("release", settings.RELEASE),
        ("python", platform.python_version()),
        ("django", django.get_version()),
    )
    return "switchboard_build_info", "What runs here.", {labels: 1}


def _stat() -> list[str]:
    return Path("/proc/self/stat").read_text().rpartition(")")[2].split()


def _of_linux(read: Callable[[], float]) -> Callable[[], float | None]:
    """Unknown on other systems."""

    def reading() -> float | None:
        with suppress(OSError):
            return read()
        return None

    return reading


def _started() -> float:
    booted = next(int(line.split()[1]) for line in Path("/proc/stat").read_text().splitlines() if line[:5] == "btime")
    return booted + int(_stat()[19]) / os.sysconf("SC_CLK_TCK")


def _descriptor_limit() -> float:
    import resource

    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


class _Processor(Counter):
    """Filled when it is written."""

    def write(self, to: Any) -> None:
        used = os.times()
        self.values = {(): used.user + used.system}
        super().write(to)


_Processor("process_cpu_seconds_total", "User and system CPU time.")
Gauge(
    "process_resident_memory_bytes",
    "Resident memory.",
    _of_linux(lambda: int(_stat()[21]) * os.sysconf("SC_PAGE_SIZE")),
    across="liveall",
)
Gauge(
    "process_open_fds", "Open file descriptors.", _of_linux(lambda: len(os.listdir("/proc/self/fd"))), across="liveall"
)
Gauge("process_max_fds", "How many there may be.", _of_linux(_descriptor_limit), across="liveall")
Gauge("process_start_time_seconds", "When the process started, since the epoch.", _of_linux(_started), across="liveall")
