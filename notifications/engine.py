"""Who sends, and when: the threads inside a web process, the loop they share with the worker command, the wake-up."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.db import DEFAULT_DB_ALIAS, close_old_connections, connection, connections

from notifications import checks, metrics
from notifications.models import Message
from notifications.services import chores, workers
from notifications.services.delivery import Courier

logger = logging.getLogger("switchboard.notifications")

CHANNEL = "notifications"
#: With the engine `tasks` the threads are sweepers: they take what the task should have sent by now.
OVERDUE = timedelta(seconds=5)
WATCH = 1.0

CourierMaker = Callable[[Callable[[], bool]], Courier]


class Deliverer(threading.Thread):
    """One thread that delivers until told to stop."""

    def __init__(self, stopping: threading.Event, courier: CourierMaker) -> None:
        super().__init__(name="notifications", daemon=True)
        self.stopping, self.due = stopping, threading.Event()
        self.make = courier
        self.courier: Courier | None = None

    def run(self) -> None:
        self.courier = self.make(self.stopping.is_set)
        try:
            deliver_until(self.stopping, self.courier, self._wait)
        finally:
            connections.close_all()

    def _wait(self, seconds: float) -> None:
        self.due.wait(seconds)
        self.due.clear()


class Crew:
    """The threads of one process that deliver, and the keeper that replaces them when they die.

    The keeper also gives the process's sign of life and does the regular chores.
    """

    def __init__(
        self, size: int, courier: CourierMaker, *, engine: str, stopping: threading.Event | None = None
    ) -> None:
        self.size, self.courier = size, courier
        self.stopping, self.lock = stopping or threading.Event(), threading.Lock()
        self.deliverers: list[Deliverer] = []
        self.keeper: threading.Thread | None = None
        self.heart = workers.Heart(engine)
        self.next_beat = 0.0

    def muster(self) -> None:
        """Start whoever is missing."""
        with self.lock:
            if self.stopping.is_set():
                return
            alive = [deliverer for deliverer in self.deliverers if deliverer.is_alive()]
            new = [Deliverer(self.stopping, self.courier) for _ in range(self.size - len(alive))]
            self.deliverers = alive + new
            for deliverer in new:
                deliverer.start()
            if self.keeper is None or not self.keeper.is_alive():
                self.keeper = threading.Thread(target=self._keep, name="notifications-keeper", daemon=True)
                self.keeper.start()

    def wake(self) -> None:
        for deliverer in self.deliverers:
            deliverer.due.set()

    def stop(self, timeout: float) -> None:
        """End the threads: the messages in hand get `timeout` seconds, the others are given back."""
        deadline = time.monotonic() + timeout
        with self.lock:
            self.stopping.set()
        self.wake()
        for thread in (*self.deliverers, self.keeper):
            if thread is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        for deliverer in self.deliverers:
            if deliverer.is_alive() and deliverer.courier is not None:
                # It hangs on a mail server. What it has not begun need not wait for the end of the lease.
                deliverer.courier.give_back()

    def _keep(self) -> None:
        while not self.stopping.wait(self._watch()):
            self.muster()
        guarded("leaving", self.heart.stop)
        connections.close_all()

    def _watch(self) -> float:
        if time.monotonic() >= self.next_beat:
            guarded("sign of life", self._beat)
            guarded("chores", partial(chores.run_due, self._go_on))
            # One connection less that idles between two beats.
            connections.close_all()
        return WATCH

    def _go_on(self) -> bool:
        """Between two slices of a chore, which may be many."""
        if time.monotonic() >= self.next_beat:
            self._beat()
        return not self.stopping.is_set()

    def _beat(self) -> None:
        self.next_beat = time.monotonic() + workers.BEAT
        self.heart.beat()


class Engine:
    """The crew of this process, if it has one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A forked child inherits the memory of the threads, not the threads."""
        self.lock = threading.Lock()
        self.crew: Crew | None = None
        self.serves = False

    def start(self) -> None:
        with self.lock:
            if self.crew is None:
                overdue = OVERDUE if settings.NOTIFICATIONS_ENGINE == "tasks" else timedelta(0)
                self.crew = Crew(
                    settings.NOTIFICATIONS_THREADS,
                    partial(Courier, overdue=overdue),
                    engine=settings.NOTIFICATIONS_ENGINE,
                )
            self.crew.muster()

    def stop(self, timeout: float) -> None:
        with self.lock:
            crew, self.crew = self.crew, None
        if crew is not None:
            crew.stop(timeout)

    def wake(self) -> None:
        if self.serves:
            self.start()
        if (crew := self.crew) is not None:
            crew.wake()


_engine = Engine()
os.register_at_fork(after_in_child=_engine.forget)


def has_threads() -> bool:
    """Whether web processes send by themselves, be it as sweepers."""
    return settings.NOTIFICATIONS_ENGINE in {"embedded", "tasks"} and settings.NOTIFICATIONS_THREADS > 0


def start() -> None:
    """Start this process's threads; does nothing unless NOTIFICATIONS_ENGINE is `embedded` or `tasks`."""
    if settings.NOTIFICATIONS_ENGINE in {"embedded", "tasks"}:
        refuse_mistakes()
    if has_threads():
        _engine.start()


def stop(timeout: float = 1.0) -> None:
    """End the threads: the messages in hand get `timeout` seconds, the others are given back."""
    _engine.stop(timeout)


def wake() -> None:
    """Something is due: look now, not at the next poll. A server process without threads gets them."""
    if has_threads():
        _engine.wake()


def committed(pk: int) -> None:
    """A message was committed by this thread."""
    if settings.NOTIFICATIONS_ENGINE == "inline":
        Courier().deliver_these([pk])
    elif settings.NOTIFICATIONS_ENGINE == "tasks":
        _enqueue(pk)
        wake()
    elif settings.NOTIFICATIONS_ENGINE == "worker" and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    else:
        wake()


def _enqueue(pk: int) -> None:
    """The task only wakes: whatever becomes of it, the message stays due, and the sweeper looks after it."""
    try:
        from notifications import tasks

        uid = Message.objects.values_list("uid", flat=True).get(pk=pk)
        tasks.deliver.enqueue(str(uid))
    except Exception as error:
        # A broker's message may repeat its address, which holds a password.
        metrics.LOST_WAKE_UPS.add()
        logger.error("task not enqueued", extra={"error": type(error).__name__})


def request_started(sender: type[object], **kwargs: Any) -> None:
    """A process that answers WSGI requests is a server: it may start the threads at its first queuing commit.

    Commands, shells and test clients never get here, and ASGI servers call `start` at their lifespan.
    """
    if isinstance(sender, type) and issubclass(sender, WSGIHandler):
        _engine.serves = True


def refuse_mistakes() -> None:
    """Not start with settings that would send copies, send inside the caller's transaction, or send nothing."""
    if errors := checks.refuse_start():
        raise ImproperlyConfigured(errors[0].msg)


def deliver_until(stopping: threading.Event, courier: Courier, wait: Callable[[float], None]) -> None:
    """Deliver and wait in turn until told to stop; no error ends it, a lost database least of all."""
    while not stopping.is_set():
        if not guarded("delivery", partial(_turn, stopping, courier, wait)):
            stopping.wait(settings.NOTIFICATIONS_POLL)


def _turn(stopping: threading.Event, courier: Courier, wait: Callable[[float], None]) -> None:
    close_old_connections()
    courier.deliver_due()
    if not stopping.is_set():
        poll: float = settings.NOTIFICATIONS_POLL
        wait(min(courier.rest() or poll, poll))


def guarded(what: str, act: Callable[[], Any]) -> bool:
    """Do it; whatever goes wrong is logged, and the connection closed. Returns whether all went well."""
    try:
        act()
    except Exception as error:
        # Neither message nor traceback values: a driver repeats rows in them.
        where = traceback.extract_tb(error.__traceback__)[-1]
        logger.error(
            f"{what} stumbles", extra={"error": type(error).__name__, "where": f"{where.filename}:{where.lineno}"}
        )
        connections[DEFAULT_DB_ALIAS].close()
        return False
    return True
