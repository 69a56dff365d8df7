"""Threads that repeat one piece of work for as long as the process lives; and PostgreSQL's notifications (LISTEN)."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from django.db import DEFAULT_DB_ALIAS, connection, connections

from lib import metrics
from lib.db import libpq_parameters

if TYPE_CHECKING:
    import psycopg

logger = logging.getLogger("switchboard.background")

_threads: weakref.WeakSet[BackgroundThread] = weakref.WeakSet()


class BackgroundThread:
    """A daemon thread that calls `work` until it is stopped; `work` returns the seconds to wait before the next call.

    `wake` ends the wait at once. An error of `work` is logged and its database connection closed; the next call comes
    after `retry` seconds, which double up to `longest_retry` until a call succeeds. `finish` runs when the thread ends.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], float],
        *,
        finish: Callable[[], object] = lambda: None,
        retry: float = 0.1,
        longest_retry: float = 5.0,
    ) -> None:
        self.name, self.work, self.finish = name, work, finish
        self.retry, self.longest_retry = retry, longest_retry
        self.reset()
        _threads.add(self)

    def reset(self) -> None:
        """Forget the thread. A forked child inherits the memory of a thread and its locks, but not the thread."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping, self._due, self._tried = threading.Event(), threading.Event(), threading.Event()

    @property
    def is_running(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread unless it runs; one that died is replaced."""
        with self._lock:
            if not self.is_running or self.is_stopping():
                # Its own events: a thread that did not end in time must still see that it was stopped.
                self._stopping, self._due, self._tried = threading.Event(), threading.Event(), threading.Event()
                events = (self._stopping, self._due, self._tried)
                self._thread = threading.Thread(target=self._run, args=events, name=self.name, daemon=True)
                self._thread.start()

    def wake(self) -> None:
        """Call `work` now, or once more if it is being called."""
        self._due.set()

    def wait_for_first_try(self, seconds: float) -> None:
        """Wait until `work` has been called once, whether it succeeded or not."""
        self._tried.wait(seconds)

    def stop(self, timeout: float) -> None:
        stop([self], timeout)

    def _run(self, stopping: threading.Event, due: threading.Event, tried: threading.Event) -> None:
        retry = self.retry
        try:
            while not stopping.is_set():
                try:
                    seconds, retry = self.work(), self.retry
                except Exception as error:
                    log_failure(self.name, error)
                    connections[DEFAULT_DB_ALIAS].close()
                    seconds, retry = retry, min(retry * 2, self.longest_retry)
                tried.set()
                due.wait(max(0.0, seconds))
                due.clear()
            self.finish()
        except Exception as error:
            log_failure(self.name, error)
        finally:
            connections.close_all()


def stop(threads: Sequence[BackgroundThread], timeout: float) -> list[BackgroundThread]:
    """Ask all threads to stop, then wait `timeout` seconds for them altogether; return those that still run."""
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread._stopping.set()
        thread._due.set()
    for thread in threads:
        if thread._thread is not None:
            thread._thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in threads if thread.is_running]


def log_failure(what: str, error: Exception) -> None:
    """Log the kind of an error and where it rose: the messages of database drivers repeat rows and addresses."""
    metrics.FAILURES.add(what)
    where = traceback.extract_tb(error.__traceback__)[-1]
    details = {"error": type(error).__name__, "where": f"{where.filename}:{where.lineno}"}
    logger.error(f"{what} failed", extra=details)


# --- Notifications: one connection and one thread a process, whatever the number of channels --------------------------

SELF_TEST_CHANNEL = "switchboard_self_test"
SELF_TEST_SECONDS = 2.0
#: How long a new or dropped channel may take to be noticed.
WAIT_SECONDS = 1.0


class _Listener:
    """The connection, its thread, and the function to call for each channel."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[], None]] = {}
        self.listened: set[str] = set()
        self.link: psycopg.Connection[Any] | None = None
        self.is_heard = False
        self.heard_by = 0.0
        self.thread = BackgroundThread("listen", self._receive, finish=self._disconnect)

    def _receive(self) -> float:
        try:
            link = self.link = self.link or self._connect()
            for channel, callback in list(self.callbacks.items()):
                if channel not in self.listened:
                    link.execute(f"LISTEN {channel}")
                    self.listened.add(channel)
                    callback()  # something may have changed before
            for notification in link.notifies(timeout=WAIT_SECONDS, stop_after=1):
                self.is_heard, self.heard_by = True, float("inf")
                if (wake := self.callbacks.get(notification.channel)) is not None:
                    wake()
        except Exception:
            self._disconnect()
            raise
        if time.monotonic() > self.heard_by:
            self.heard_by = float("inf")
            logger.warning("notifications do not arrive (a pooler in transaction mode?): the database is polled")
        return 0.0

    def _connect(self) -> psycopg.Connection[Any]:
        import psycopg

        # Past a pooler in transaction mode, where DATABASE_LISTEN_URL leads there.
        alias = "listen" if "listen" in connections.settings else DEFAULT_DB_ALIAS
        link = psycopg.connect(**libpq_parameters(alias), autocommit=True)
        link.execute(f"LISTEN {SELF_TEST_CHANNEL}")
        # From another connection: what a pooler's server connection tells itself comes back through any pooler.
        with psycopg.connect(**libpq_parameters(alias), autocommit=True) as other:
            other.execute(f"NOTIFY {SELF_TEST_CHANNEL}")
        self.listened, self.is_heard, self.heard_by = set(), False, time.monotonic() + SELF_TEST_SECONDS
        return link

    def _disconnect(self) -> None:
        if self.link is not None:
            self.link.close()
        self.link, self.is_heard = None, False


_listener_lock = threading.Lock()
_listener: _Listener | None = None


def subscribe(channel: str, callback: Callable[[], None]) -> None:
    """Call `callback`, in the listener's thread, at each notification of PostgreSQL and after each new connection.

    What is notified while there is no connection is lost, so subscribers poll as well. A connection pooler in
    transaction mode drops all notifications; then `is_heard` stays False. On other databases nothing is ever heard.
    """
    global _listener
    if connection.vendor != "postgresql":
        return
    with _listener_lock:
        if _listener is None:
            _listener = _Listener()
        _listener.callbacks[channel] = callback
        _listener.thread.start()


def unsubscribe(channel: str) -> None:
    """Listen to this channel no more; thread and connection end with the last channel, within WAIT_SECONDS."""
    global _listener
    with _listener_lock:
        if _listener is not None:
            _listener.callbacks.pop(channel, None)
            if not _listener.callbacks:
                _listener.thread.stop(0)
                _listener = None


def is_heard() -> bool:
    """Whether notifications are known to arrive in this process at the moment."""
    return _listener is not None and _listener.is_heard


def _reset_after_fork() -> None:
    """A forked child has no such threads; the listener's connection is the parent's, and psycopg leaves it open."""
    global _listener_lock, _listener
    for thread in list(_threads):
        thread.reset()
    _listener_lock, _listener = threading.Lock(), None


os.register_at_fork(after_in_child=_reset_after_fork)
