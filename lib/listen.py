"""PostgreSQL's notifications (LISTEN): one connection and one thread a process, whatever the number of channels.

What is notified while there is no connection is lost, so subscribers poll as well. A connection pooler in transaction
mode drops all notifications; then `is_heard` stays False. On other databases nothing is ever heard.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.db import connection

from lib.background import BackgroundThread

logger = logging.getLogger("switchboard.background")

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
            self._listen(link)
            for notification in link.notifies(timeout=WAIT_SECONDS, stop_after=1):
                self.is_heard, self.heard_by = True, float("inf")
                if (callback := self.callbacks.get(notification.channel)) is not None:
                    callback()
        except Exception:
            self._disconnect()
            raise
        if time.monotonic() > self.heard_by:
            self.heard_by = float("inf")
            logger.warning("notifications do not arrive (a pooler in transaction mode?): the database is polled")
        return 0.0

    def _connect(self) -> psycopg.Connection[Any]:
        # Django's own parameters, so that sockets, passwords and certificates are read in one place.
        parameters = connection.get_connection_params()
        unknown = {"cursor_factory", "context"}
        link = psycopg.connect(**{k: v for k, v in parameters.items() if k not in unknown}, autocommit=True)
        link.execute(f"LISTEN {SELF_TEST_CHANNEL}")
        link.execute(f"NOTIFY {SELF_TEST_CHANNEL}")
        self.listened, self.is_heard, self.heard_by = set(), False, time.monotonic() + SELF_TEST_SECONDS
        return link

    def _listen(self, link: psycopg.Connection[Any]) -> None:
        for channel, callback in list(self.callbacks.items()):
            if channel not in self.listened:
                link.execute(f"LISTEN {channel}")
                self.listened.add(channel)
                callback()  # something may have changed before

    def _disconnect(self) -> None:
        if self.link is not None:
            self.link.close()
        self.link, self.is_heard = None, False


_lock = threading.Lock()
_listener: _Listener | None = None


def _reset() -> None:
    """A forked child has no such thread; the connection is the parent's, and psycopg leaves it open."""
    global _lock, _listener
    _lock, _listener = threading.Lock(), None


os.register_at_fork(after_in_child=_reset)


def subscribe(channel: str, callback: Callable[[], None]) -> None:
    """Call `callback`, in the listener's thread, at each notification and after each new connection."""
    global _listener
    if connection.vendor != "postgresql":
        return
    with _lock:
        if _listener is None:
            _listener = _Listener()
        _listener.callbacks[channel] = callback
        _listener.thread.start()


def unsubscribe(channel: str) -> None:
    """Listen to this channel no more; thread and connection end with the last channel, within WAIT_SECONDS."""
    global _listener
    with _lock:
        if _listener is not None:
            _listener.callbacks.pop(channel, None)
            if not _listener.callbacks:
                _listener.thread.stop(0)
                _listener = None


def is_heard() -> bool:
    """Whether notifications are known to arrive in this process at the moment."""
    return _listener is not None and _listener.is_heard
