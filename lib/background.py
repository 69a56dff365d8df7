"""Threads that repeat one piece of work for as long as the process lives."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Sequence

from django.db import DEFAULT_DB_ALIAS, connections

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
    where = traceback.extract_tb(error.__traceback__)[-1]
    details = {"error": type(error).__name__, "where": f"{where.filename}:{where.lineno}"}
    logger.error(f"{what} failed", extra=details)


def _reset_threads() -> None:
    for thread in list(_threads):
        thread.reset()


os.register_at_fork(after_in_child=_reset_threads)
