"""The current snapshot of this process: replaced by one assignment, read without lock, kept without a database."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from django.conf import settings
from django.db import Error, transaction
from django.utils import timezone

from feature_flags.runtime import snapshot as snapshots
from feature_flags.runtime.snapshot import Snapshot

logger = logging.getLogger("switchboard.flags")

CHANNEL = "feature_flags"
#: How long the first reader of a process waits for the first snapshot.
FIRST_SECONDS = 5.0
#: Without contact to the database for this long, the process is not ready.
STALE_SECONDS = 30.0
LOG_SECONDS = 60.0


class Watcher(Protocol):
    """The thread that refreshes the snapshot."""

    def start(self) -> None: ...

    def wait_until_loaded(self, seconds: float) -> None: ...

    def is_running(self) -> bool: ...


#: Set by `FeatureFlagsConfig.ready`: the watcher itself works on this module.
watcher: Watcher | None = None

#: Read it, never write it: readers take this name at every evaluation.
snapshot: Snapshot | None = None

_lock = threading.Lock()
_listeners: set[Callable[[Snapshot], None]] = set()
_confirmed_at = 0.0
_log_at = 0.0


def current() -> Snapshot | None:
    """The newest snapshot this process has. The first call of a process waits for it; None: there was no database."""
    if snapshot is None:
        if _rebuilds_on_write() or watcher is None:
            refresh()
        else:
            # Read by the watcher's thread and on its connection: the caller may stand in an event loop.
            watcher.start()
            watcher.wait_until_loaded(FIRST_SECONDS)
    return snapshot


def refresh(*, due: bool = False) -> Snapshot | None:
    """Read what is committed if the revision has changed, or with `due` in any case; else keep the last one."""
    with _lock:
        try:
            known = snapshot
            if known is not None and not due and snapshots.read_revision()[0] == known.revision:
                confirm()
                return known
            if _rebuilds_on_write():
                fresh = snapshots.build(None, timezone.now())
            else:
                fresh = snapshots.build(known, timezone.now())
                # Before the swap and in this thread: no request waits for a compressed document.
                fresh.warm()
        except Error as error:
            _log_lost(error)
            return snapshot
        except Exception:
            # The old snapshot stays; the next poll tries again.
            logger.exception("flags cannot be rebuilt", extra={"revision": known.revision if known else None})
            return snapshot
        confirm()
        _replace(fresh)
    for listener in list(_listeners):
        listener(fresh)
    return fresh


def changed() -> None:
    """A service has written: this process sees it at its commit, before the caller has its response."""
    if _rebuilds_on_write():
        # Tests run in a transaction that never commits.
        refresh(due=True)
    elif snapshot is not None:
        transaction.on_commit(refresh)


def confirm() -> None:
    """The database has just confirmed the snapshot's revision."""
    global _confirmed_at
    _confirmed_at = time.monotonic()


def stale_seconds() -> int:
    """For how long the database has not confirmed the snapshot; 0 while it does. Reads nothing."""
    if snapshot is None or watcher is None or not watcher.is_running():
        return 0
    silent = time.monotonic() - _confirmed_at
    return int(silent) if silent > 5 else 0


def listen(listener: Callable[[Snapshot], None]) -> None:
    """Call `listener` with every new snapshot, in the thread that made it: it must not block."""
    _listeners.add(listener)


def put(known: Snapshot | None) -> None:
    """Go on from this snapshot, or from none: the database is another one than before."""
    global snapshot, _log_at
    with _lock:
        snapshot, _log_at = known, 0.0


def forget() -> None:
    put(None)


def _replace(fresh: Snapshot) -> None:
    global snapshot
    broken = [name for name, flag in fresh.flags.items() if flag.error]
    known = {name for name, flag in snapshot.flags.items() if flag.error} if snapshot else set()
    snapshot = fresh
    for name in broken:
        if name not in known:
            logger.error("flag cannot be compiled", extra={"flag": name, "reason": fresh.flags[name].error})


def _rebuilds_on_write() -> bool:
    return settings.FLAGS_REBUILD == "write"


def _log_lost(error: Error) -> None:
    global _log_at
    now = time.monotonic()
    if now >= _log_at:
        _log_at = now + LOG_SECONDS
        # Only the kind: a driver's message may repeat addresses and names.
        logger.error(
            "flags cannot be read from the database, answering from memory",
            extra={"error": type(error).__name__, "revision": snapshot.revision if snapshot else None},
        )
