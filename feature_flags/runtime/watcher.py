"""The thread that keeps this process's flags new: it hears of changes, applies what is due, and writes usage.

PostgreSQL tells (`LISTEN`, also asked once a second); SQLite is asked every FLAGS_POLL_MS whether anybody has written.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Protocol

import psycopg
from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, Error, connection, connections

from feature_flags.runtime import store, usage

logger = logging.getLogger("switchboard.flags")

#: Applies the scheduled changes that are due; set by `FeatureFlagsConfig.ready`, since services use the store.
apply_due: Callable[[datetime], object] | None = None

POLL_SECONDS = 1.0
SELF_TEST_SECONDS = 2.0
RETRY_SECONDS = (0.1, 5.0)


class Source(Protocol):
    """Where news comes from. `has_news` returns when there may be some, or after `timeout` seconds at the latest."""

    def has_news(self, bell: Bell, timeout: float) -> bool: ...


class Bell:
    """Ends a wait from another thread, whatever it waits for."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        for end in (self._reader, self._writer):
            end.setblocking(False)

    def ring(self) -> None:
        with contextlib.suppress(OSError):
            self._writer.send(b"!")

    def wait(self, timeout: float, *others: Any) -> bool:
        """Whether one of `others` (things with a fileno) can be read; the bell only ends the wait."""
        ready = select.select([self._reader, *others], [], [], max(0.0, timeout))[0]
        if self._reader in ready:
            with contextlib.suppress(OSError):
                self._reader.recv(1024)
        return any(other in ready for other in others)

    def close(self) -> None:
        self._reader.close()
        self._writer.close()


class Listening:
    """PostgreSQL: a connection of its own that hears every NOTIFY at its commit."""

    def __init__(self, link: psycopg.Connection[Any]) -> None:
        self.link = link

    def has_news(self, bell: Bell, timeout: float) -> bool:
        bell.wait(min(timeout, POLL_SECONDS), self.link)
        # Asked each second all the same: a change made while nobody listened is not told again.
        list(self.link.notifies(timeout=0))
        return True


class Asking:
    """PostgreSQL through a pooler that does not pass notifications on: the revision is asked at each poll."""

    def has_news(self, bell: Bell, timeout: float) -> bool:
        bell.wait(min(timeout, settings.FLAGS_POLL_MS / 1000))
        return True


class Counting:
    """SQLite: `data_version` moves when any other connection has committed; asking reads no page."""

    def __init__(self, link: sqlite3.Connection) -> None:
        self.link, self.version = link, -1

    def has_news(self, bell: Bell, timeout: float) -> bool:
        bell.wait(min(timeout, settings.FLAGS_POLL_MS / 1000))
        before, self.version = self.version, self.link.execute("PRAGMA data_version").fetchone()[0]
        return self.version != before


@contextlib.contextmanager
def _source(bell: Bell) -> Iterator[Source]:
    if connection.vendor != "postgresql":
        with contextlib.closing(sqlite3.connect(str(connection.settings_dict["NAME"]), timeout=20)) as link:
            yield Counting(link)
    elif settings.FLAGS_LISTEN == "off":
        yield Asking()
    else:
        with psycopg.connect(**_parameters(), autocommit=True) as link:
            link.execute(f"LISTEN {store.CHANNEL}")
            yield Listening(link) if settings.FLAGS_LISTEN == "on" or _hears(link, bell) else Asking()


def _parameters() -> dict[str, Any]:
    # Django's own, so that sockets, passwords and certificates are read in one place.
    parameters = connection.get_connection_params()
    return {key: value for key, value in parameters.items() if key not in {"cursor_factory", "context"}}


def _hears(link: psycopg.Connection[Any], bell: Bell) -> bool:
    """Whether a notification arrives that was sent by the same door: a pooler in transaction mode drops them."""
    link.execute("SELECT pg_notify(%s, 'self-test')", [store.CHANNEL])
    until = time.monotonic() + SELF_TEST_SECONDS
    while time.monotonic() < until:
        if any(True for _ in link.notifies(timeout=0.05, stop_after=1)):
            return True
    logger.warning("notifications do not arrive (a pooler in transaction mode?): the database is polled instead")
    return False


class Watcher:
    """The thread of this process, if it has one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A forked child inherits the memory of the thread, not the thread."""
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.loaded = threading.Event()
        self.thread: threading.Thread | None = None
        self.bell: Bell | None = None

    def start(self) -> None:
        with self.lock:
            if self.thread is not None and self.thread.is_alive():
                return
            self.stopping, self.loaded, self.bell = threading.Event(), threading.Event(), Bell()
            arguments = (self.stopping, self.loaded, self.bell)
            self.thread = threading.Thread(target=_run, args=arguments, name="feature-flags", daemon=True)
            self.thread.start()

    def stop(self, timeout: float) -> None:
        with self.lock:
            thread, bell, self.thread, self.bell = self.thread, self.bell, None, None
        if thread is None or bell is None:
            return
        self.stopping.set()
        bell.ring()
        thread.join(timeout)
        if not thread.is_alive():
            bell.close()


_watcher = Watcher()
os.register_at_fork(after_in_child=_watcher.forget)


def start() -> None:
    """Watch from now on, unless tests read at each write."""
    if settings.FLAGS_REBUILD == "commit":
        _watcher.start()


def stop(timeout: float = 1.0) -> None:
    """End the thread; what was counted is written first."""
    _watcher.stop(timeout)


def wait_until_loaded(seconds: float) -> None:
    """Until the first snapshot is there, or the first try has failed."""
    _watcher.loaded.wait(seconds)


def is_running() -> bool:
    return _watcher.thread is not None and _watcher.thread.is_alive()


def _run(stopping: threading.Event, loaded: threading.Event, bell: Bell) -> None:
    pause, longest = RETRY_SECONDS
    try:
        while not stopping.is_set():
            try:
                with _source(bell) as source:
                    # After listening has begun, so that no change falls between.
                    if store.refresh() is not None:
                        pause = RETRY_SECONDS[0]
                        if not loaded.is_set():
                            _leave_to_stay()
                    loaded.set()
                    _watch(stopping, bell, source)
            except Exception as error:
                # No error ends the watch. Of a driver's only the kind: its message may repeat addresses and names.
                is_lost = isinstance(error, (Error, psycopg.Error, sqlite3.Error, OSError))
                logger.warning(
                    "the watch over flags broke off",
                    extra={"error": type(error).__name__},
                    exc_info=None if is_lost else error,
                )
                loaded.set()
                connections[DEFAULT_DB_ALIAS].close()
                bell.wait(pause)
                pause = min(pause * 2, longest)
        usage.flush()
    finally:
        connections.close_all()


def _leave_to_stay() -> None:
    """The first flags are there: a collector that walks 10,000 of them each time holds everybody up for long."""
    gc.collect()
    gc.freeze()


def _watch(stopping: threading.Event, bell: Bell, source: Source) -> None:
    flush_at = time.monotonic() + settings.FLAGS_USAGE_FLUSH_SECONDS
    asked_at = time.monotonic()
    while not stopping.is_set():
        news = source.has_news(bell, _until_due())
        if stopping.is_set():
            return
        now = time.monotonic()
        if _is_due():
            _apply_due()
        elif news or now - asked_at >= POLL_SECONDS:
            asked_at = now
            _refresh()
        if now >= flush_at:
            flush_at = now + settings.FLAGS_USAGE_FLUSH_SECONDS
            usage.flush()


def _refresh() -> None:
    # A lost connection is not repaired by Django outside of requests.
    connection.close_if_unusable_or_obsolete()
    if store.refresh() is None:
        raise Error("no snapshot yet")


def _until_due() -> float:
    known = store.snapshot
    return POLL_SECONDS if known is None or known.next_due is None else known.next_due - time.time()


def _is_due() -> bool:
    known = store.snapshot
    return known is not None and (bool(known.due) or (known.next_due is not None and known.next_due <= time.time()))


def _apply_due() -> None:
    """The snapshot first, so that all processes switch in the same moment; then the rows, by the first process."""
    store.refresh(due=True)
    if apply_due is not None:
        apply_due(datetime.now(UTC))
    store.refresh(due=True)
