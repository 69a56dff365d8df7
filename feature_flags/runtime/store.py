"""The current snapshot of this process (replaced by one assignment, read without lock, kept without a database), and
the thread that keeps it current: it reads changes, applies scheduled ones and writes usage.
"""

from __future__ import annotations

import gc
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error, connection, transaction
from django.utils import timezone

from feature_flags.runtime import snapshot as snapshots
from feature_flags.runtime import usage
from feature_flags.runtime.snapshot import Snapshot
from lib import background, metrics
from lib.background import BackgroundThread

if TYPE_CHECKING:
    import sqlite3

logger = logging.getLogger("switchboard.flags")

CHANNEL = "feature_flags"
#: How long the first reader of a process waits for the first snapshot.
FIRST_SECONDS = 5.0
#: Without contact to the database for this long, the process is not ready.
STALE_SECONDS = 30.0
LOG_SECONDS = 60.0
POLL_SECONDS = 1.0

#: Applies the scheduled changes that are due; set by `FeatureFlagsConfig.ready`, since services use this module.
apply_due: Callable[[datetime], object] | None = None

#: Read it, never write it: readers take this name at every evaluation.
snapshot: Snapshot | None = None

metrics.Gauge(
    "flags_snapshot_age_seconds",
    "For how long no database has confirmed the flags.",
    lambda: stale_seconds(),
    across="livemax",
)
metrics.Gauge(
    "flags_revision", "Of the flags answered with.", lambda: snapshot.revision if snapshot else 0, across="livemin"
)
_lock = threading.Lock()
_listeners: set[Callable[[Snapshot], None]] = set()
_confirmed_at = 0.0
_log_at = 0.0


def current() -> Snapshot | None:
    """The newest snapshot this process has. The first call of a process waits for it; None: there was no database."""
    if snapshot is None:
        if settings.FLAGS_REBUILD == "write":
            refresh()
        else:
            # Read by the watcher's thread and on its connection: the caller may stand in an event loop.
            _watcher.thread.start()
            if settings.FLAGS_LISTEN != "off":
                background.subscribe(CHANNEL, _watcher.thread.wake)
            _watcher.thread.wait_for_first_try(FIRST_SECONDS)
    return snapshot


def refresh(*, due: bool = False) -> Snapshot | None:
    """Read what is committed if the revision has changed, or with `due` in any case; else keep the last one."""
    global _confirmed_at, _log_at
    with _lock:
        known = snapshot
        try:
            if known is not None and not due and snapshots.read_revision()[0] == known.revision:
                _confirmed_at = time.monotonic()
                return known
            if settings.FLAGS_REBUILD == "write":
                fresh = snapshots.build(None, timezone.now())
            else:
                fresh = snapshots.build(known, timezone.now())
                # Before the swap and in this thread: no request waits for a compressed document.
                fresh.warm()
        except Error as error:
            if time.monotonic() >= _log_at:
                _log_at = time.monotonic() + LOG_SECONDS
                # Only the kind: a driver's message may repeat addresses and names.
                details = {"error": type(error).__name__, "revision": known.revision if known else None}
                logger.error("flags cannot be read from the database, answering from memory", extra=details)
            return known
        except Exception:
            # The old snapshot stays; the next poll tries again.
            logger.exception("flags cannot be rebuilt", extra={"revision": known.revision if known else None})
            return known
        _confirmed_at = time.monotonic()
        _replace(fresh)
    for listener in list(_listeners):
        listener(fresh)
    return fresh


def changed() -> None:
    """A service has written: this process sees it at its commit, before the caller has its response."""
    if settings.FLAGS_REBUILD == "write":
        # Tests run in a transaction that never commits.
        refresh(due=True)
    elif snapshot is not None:
        transaction.on_commit(refresh)


def stale_seconds() -> int:
    """For how long the database has not confirmed the snapshot; 0 while it does. Reads nothing."""
    silent = time.monotonic() - _confirmed_at
    # Every answer asks: whether the thread lives is looked up when it matters.
    return int(silent) if silent > 5 and snapshot is not None and _watcher.thread.is_running else 0


def listen(listener: Callable[[Snapshot], None]) -> None:
    """Call `listener` with every new snapshot, in the thread that made it: it must not block."""
    _listeners.add(listener)


def put(known: Snapshot | None) -> None:
    """Go on from this snapshot, or from none: the database is another one than before."""
    global snapshot, _log_at
    with _lock:
        snapshot, _log_at = known, 0.0


def stop(timeout: float = 1.0) -> None:
    """End the thread; what was counted is written first."""
    background.unsubscribe(CHANNEL)
    _watcher.thread.stop(timeout)


def _replace(fresh: Snapshot) -> None:
    global snapshot
    known = {name for name, flag in snapshot.flags.items() if flag.error} if snapshot else set()
    snapshot = fresh
    for name, flag in fresh.flags.items():
        if flag.error and name not in known:
            logger.error("flag cannot be compiled", extra={"flag": name, "reason": flag.error})


class _Watcher:
    """The work of the thread, and what it remembers between two rounds.

    PostgreSQL notifies it of changes; it asks for the revision once a second all the same. Where notifications do not
    arrive, and on SQLite, it asks every FLAGS_POLL_MS.
    """

    def __init__(self) -> None:
        self.thread = BackgroundThread("feature-flags", self.work, finish=self.finish)
        self.reset()

    def reset(self) -> None:
        """A forked child must not use the connection of its parent."""
        self.link: sqlite3.Connection | None = None
        self.version = 0
        self.asked_at = self.flush_at = 0.0
        self.has_loaded = False

    def work(self) -> float:
        """Do what is due; return the seconds until something may be due again."""
        now = time.monotonic()
        due = snapshot.next_due if snapshot else None
        if self.has_loaded and snapshot and (snapshot.due or (due is not None and due <= time.time())):
            # The snapshot first, so that all processes switch in the same moment; then the rows, by the first process.
            refresh(due=True)
            if apply_due is not None:
                apply_due(datetime.now(UTC))
            refresh(due=True)
        elif self._may_have_changed() or now - self.asked_at >= POLL_SECONDS:
            self.asked_at = now
            self._refresh()
        if now >= self.flush_at:
            if self.flush_at:
                usage.flush()
            self.flush_at = now + settings.FLAGS_USAGE_FLUSH_SECONDS
        trusts = settings.FLAGS_LISTEN == "on" or (settings.FLAGS_LISTEN == "auto" and background.is_heard())
        is_notified = connection.vendor == "postgresql" and trusts
        poll: float = POLL_SECONDS if is_notified else settings.FLAGS_POLL_MS / 1000
        due = snapshot.next_due if snapshot else None
        return poll if due is None else min(poll, due - time.time())

    def _may_have_changed(self) -> bool:
        """On SQLite `data_version` moves when any other connection has committed; reading it reads no page."""
        if connection.vendor != "sqlite":
            return True
        if self.link is None:
            # Two MiB with its library, for nothing on PostgreSQL.
            import sqlite3

            name = str(connection.settings_dict["NAME"])
            # A thread that died is replaced by another one.
            self.link = sqlite3.connect(name, timeout=20, check_same_thread=False)
        before, self.version = self.version, self.link.execute("PRAGMA data_version").fetchone()[0]
        return self.version != before

    def _refresh(self) -> None:
        # A lost connection is not repaired by Django outside of requests.
        connection.close_if_unusable_or_obsolete()
        if refresh() is None:
            raise Error("no snapshot yet")
        if not self.has_loaded:
            self.has_loaded = True
            # The first flags stay, and all that was loaded with them: a collection that walks 10,000 of them each time
            # would delay every request.
            gc.freeze()

    def finish(self) -> None:
        usage.flush()
        if self.link is not None:
            self.link.close()
            self.link = None


_watcher = _Watcher()
os.register_at_fork(after_in_child=_watcher.reset)
