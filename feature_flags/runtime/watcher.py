"""The thread that keeps this process's flags current: it reads changes, applies scheduled ones and writes usage.

PostgreSQL notifies it of changes; it asks for the revision once a second all the same. Where notifications do not
arrive, and on SQLite, it asks every FLAGS_POLL_MS.
"""

from __future__ import annotations

import gc
import os
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.conf import settings
from django.db import Error, connection

from feature_flags.runtime import store, usage
from lib import listen
from lib.background import BackgroundThread

#: Applies the scheduled changes that are due; set by `FeatureFlagsConfig.ready`, since services use the store.
apply_due: Callable[[datetime], object] | None = None

POLL_SECONDS = 1.0


class Watcher:
    """The work of the thread, and what it remembers between two rounds."""

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
        if self.has_loaded and _is_due():
            _apply_due()
        elif self._may_have_changed() or now - self.asked_at >= POLL_SECONDS:
            self.asked_at = now
            self._refresh()
        if now >= self.flush_at:
            if self.flush_at:
                usage.flush()
            self.flush_at = now + settings.FLAGS_USAGE_FLUSH_SECONDS
        trusts = settings.FLAGS_LISTEN == "on" or (settings.FLAGS_LISTEN == "auto" and listen.is_heard())
        is_notified = connection.vendor == "postgresql" and trusts
        poll: float = POLL_SECONDS if is_notified else settings.FLAGS_POLL_MS / 1000
        due = store.snapshot.next_due if store.snapshot else None
        return poll if due is None else min(poll, due - time.time())

    def _may_have_changed(self) -> bool:
        """On SQLite `data_version` moves when any other connection has committed; reading it reads no page."""
        if connection.vendor != "sqlite":
            return True
        if self.link is None:
            name = str(connection.settings_dict["NAME"])
            # A thread that died is replaced by another one.
            self.link = sqlite3.connect(name, timeout=20, check_same_thread=False)
        before, self.version = self.version, self.link.execute("PRAGMA data_version").fetchone()[0]
        return self.version != before

    def _refresh(self) -> None:
        # A lost connection is not repaired by Django outside of requests.
        connection.close_if_unusable_or_obsolete()
        if store.refresh() is None:
            raise Error("no snapshot yet")
        if not self.has_loaded:
            self.has_loaded = True
            # The first flags stay: a collection that walks 10,000 of them each time would delay every request.
            gc.collect()
            gc.freeze()

    def finish(self) -> None:
        usage.flush()
        if self.link is not None:
            self.link.close()
            self.link = None


_watcher = Watcher()
os.register_at_fork(after_in_child=_watcher.reset)


def start() -> None:
    """Watch from now on, unless tests read at each write."""
    if settings.FLAGS_REBUILD == "commit":
        _watcher.thread.start()
        if settings.FLAGS_LISTEN != "off":
            listen.subscribe(store.CHANNEL, _watcher.thread.wake)


def stop(timeout: float = 1.0) -> None:
    """End the thread; what was counted is written first."""
    listen.unsubscribe(store.CHANNEL)
    _watcher.thread.stop(timeout)


def wait_until_loaded(seconds: float) -> None:
    """Wait until the first snapshot is there, or the first try has failed."""
    _watcher.thread.wait_for_first_try(seconds)


def is_running() -> bool:
    return _watcher.thread.is_running


def _is_due() -> bool:
    known = store.snapshot
    return known is not None and (bool(known.due) or (known.next_due is not None and known.next_due <= time.time()))


def _apply_due() -> None:
    """The snapshot first, so that all processes switch in the same moment; then the rows, by the first process."""
    store.refresh(due=True)
    if apply_due is not None:
        apply_due(datetime.now(UTC))
    store.refresh(due=True)
