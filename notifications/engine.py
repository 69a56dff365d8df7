"""Who sends, and when: the thread inside a web process, the loop it shares with the worker command, the wake-up."""

from __future__ import annotations

import logging
import os
import threading
import traceback
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connection, connections

from notifications import checks
from notifications.services.delivery import Courier

logger = logging.getLogger("switchboard.notifications")

POLL = 1.0
CHANNEL = "notifications"


class Engine:
    """The delivery thread of this process, if it has one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A forked child inherits the memory of the thread, not the thread."""
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.due = threading.Event()
        self.thread: threading.Thread | None = None
        self.courier: Courier | None = None
        self.serves = False

    def start(self) -> None:
        with self.lock:
            if self.thread is not None and self.thread.is_alive():
                return
            self.stopping, self.due = threading.Event(), threading.Event()
            self.thread = threading.Thread(target=self._run, args=(self.stopping,), name="notifications", daemon=True)
            self.thread.start()

    def stop(self, timeout: float) -> None:
        with self.lock:
            thread, self.thread = self.thread, None
        if thread is None:
            return
        self.stopping.set()
        self.due.set()
        thread.join(timeout)
        if thread.is_alive() and self.courier is not None:
            # It hangs on a mail server. What it has not begun need not wait for the end of the lease.
            self.courier.give_back()

    def wake(self) -> None:
        self.due.set()
        if self.serves:
            self.start()

    def _run(self, stopping: threading.Event) -> None:
        due = self.due
        self.courier = Courier(stopping.is_set)

        def wait(seconds: float) -> None:
            due.wait(seconds)
            due.clear()

        try:
            deliver_until(stopping, self.courier, wait)
        finally:
            connections.close_all()


_engine = Engine()
os.register_at_fork(after_in_child=_engine.forget)


def start() -> None:
    """Start this process's delivery thread; does nothing unless NOTIFICATIONS_ENGINE is `embedded`."""
    if settings.NOTIFICATIONS_ENGINE == "embedded":
        refuse_short_lease()
        _engine.start()


def stop(timeout: float = 1.0) -> None:
    """End the thread: the message in hand gets `timeout` seconds, the others are given back."""
    _engine.stop(timeout)


def wake() -> None:
    """Something is due: look now, not at the next poll. A server process without a thread gets one."""
    if settings.NOTIFICATIONS_ENGINE == "embedded":
        _engine.wake()


def committed(pk: int) -> None:
    """A message was committed by this thread."""
    if settings.NOTIFICATIONS_ENGINE == "inline":
        Courier().deliver_these([pk])
    elif settings.NOTIFICATIONS_ENGINE == "worker" and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    else:
        wake()


def request_started(sender: type[object], **kwargs: Any) -> None:
    """A process that answers WSGI requests is a server: it may start the thread at its first queuing commit.

    Commands, shells and test clients never get here, and ASGI servers call `start` at their lifespan.
    """
    if isinstance(sender, type) and issubclass(sender, WSGIHandler):
        _engine.serves = True


def refuse_short_lease() -> None:
    if errors := checks.refuse_start():
        raise ImproperlyConfigured(errors[0].msg)


def deliver_until(stopping: threading.Event, courier: Courier, wait: Callable[[float], None]) -> None:
    """Deliver and wait in turn until told to stop; no error ends it, a lost database least of all."""
    while not stopping.is_set():
        try:
            close_old_connections()
            courier.deliver_due()
            if not stopping.is_set():
                wait(min(courier.rest() or POLL, POLL))
        except Exception as error:
            # Neither message nor traceback values: a driver repeats rows in them.
            where = traceback.extract_tb(error.__traceback__)[-1]
            logger.error(
                "delivery stumbles", extra={"error": type(error).__name__, "where": f"{where.filename}:{where.lineno}"}
            )
            connections[DEFAULT_DB_ALIAS].close()
            stopping.wait(POLL)
