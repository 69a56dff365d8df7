"""The threads that send mail in a web process or in the worker command, and what wakes them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.db import close_old_connections, connection, connections, transaction

from lib import background
from lib.background import BackgroundThread
from notifications import checks, metrics
from notifications.models import Message, WebhookDelivery
from notifications.services import health, periodic_jobs
from notifications.services.delivery import QueueWorker
from notifications.services.webhook_delivery import Dispatcher, deliver_these

logger = logging.getLogger("switchboard.notifications")

CHANNEL = "notifications"
#: With the engine `tasks` the threads are sweepers: they take what the task should have sent by now.
OVERDUE = timedelta(seconds=5)
#: Seconds between two looks at whether all threads are alive.
WATCH = 1.0

MakeWorker = Callable[[Callable[[], bool]], QueueWorker]


class WorkerPool:
    """The threads of one process that send mail, the one of webhooks, and a supervisor that replaces those that died.

    The supervisor also writes the process's heartbeat and runs the periodic jobs. At each turn, with or without a
    database, it touches `alive_file`, for those who look whether this process still turns.
    """

    def __init__(self, size: int, make_worker: MakeWorker, *, engine: str, alive_file: Path | None = None) -> None:
        self.alive_file = alive_file
        self.stopping, self.lock = threading.Event(), threading.Lock()
        self.workers = [make_worker(self.stopping.is_set) for _ in range(size)]
        poll = settings.NOTIFICATIONS_POLL
        self.threads = [
            BackgroundThread("notifications", partial(_deliver, worker), retry=poll, longest_retry=poll)
            for worker in self.workers
        ]
        self.dispatcher = Dispatcher(self.stopping.is_set, overdue=OVERDUE if engine == "tasks" else timedelta(0))
        self.webhooks = BackgroundThread("webhooks", partial(_dispatch, self.dispatcher), retry=poll)
        self.heartbeat = health.Heartbeat(engine)
        self.next_beat = 0.0
        self.supervisor = BackgroundThread("notifications-supervisor", self._supervise, finish=self.heartbeat.stop)

    def start(self) -> None:
        """Start the threads that do not run."""
        with self.lock:
            if not self.stopping.is_set():
                for thread in (*self.threads, self.webhooks, self.supervisor):
                    thread.start()

    def wake(self) -> None:
        for thread in (*self.threads, self.webhooks):
            thread.wake()
        self.dispatcher.wake()

    def beat_now(self) -> None:
        """Look at the periodic jobs now, not at the next heartbeat."""
        self.next_beat = 0.0
        self.supervisor.wake()

    def stop(self, timeout: float) -> None:
        """End the threads: the messages in hand get `timeout` seconds, the others are given back."""
        with self.lock:
            self.stopping.set()
        running = background.stop([*self.threads, self.webhooks, self.supervisor], timeout)
        for thread, worker in zip(self.threads, self.workers, strict=True):
            if thread in running:
                # It waits for a mail server. What it has not begun need not wait for the end of the lease.
                worker.give_back()

    def _supervise(self) -> float:
        self._show_alive()
        self.start()
        if time.monotonic() >= self.next_beat:
            try:
                self._beat()
                periodic_jobs.run_due(self._go_on)
            finally:
                # One connection less that idles between two beats.
                connections.close_all()
        return WATCH

    def _go_on(self) -> bool:
        """Whether a periodic job may do its next slice of work; it may have many."""
        self._show_alive()
        if time.monotonic() >= self.next_beat:
            self._beat()
        return not self.stopping.is_set()

    def _show_alive(self) -> None:
        if self.alive_file is not None:
            self.alive_file.touch()

    def _beat(self) -> None:
        self.next_beat = time.monotonic() + health.BEAT
        self.heartbeat.beat()


class Engine:
    """What this process has: a pool or none, and whether it is a server, which may start one."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """A forked child inherits the memory of the threads, not the threads."""
        self.lock = threading.Lock()
        self.pool: WorkerPool | None = None
        self.serves = False


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
        _start()


def _start() -> None:
    with _engine.lock:
        if _engine.pool is None:
            engine = settings.NOTIFICATIONS_ENGINE
            make_worker = partial(QueueWorker, overdue=OVERDUE if engine == "tasks" else timedelta(0))
            _engine.pool = WorkerPool(settings.NOTIFICATIONS_THREADS, make_worker, engine=engine)
        _engine.pool.start()


def stop(timeout: float = 1.0) -> None:
    """End the threads: the messages in hand get `timeout` seconds, the others are given back."""
    with _engine.lock:
        pool, _engine.pool = _engine.pool, None
    if pool is not None:
        pool.stop(timeout)


def wake() -> None:
    """Something is due: look now, not at the next poll. A server process without threads gets them."""
    if has_threads():
        if _engine.serves:
            _start()
        if (pool := _engine.pool) is not None:
            pool.wake()


def committed(pk: int) -> None:
    """A message was committed by this thread."""
    if settings.NOTIFICATIONS_ENGINE == "inline":
        QueueWorker().deliver_these([pk])
    elif settings.NOTIFICATIONS_ENGINE == "tasks":
        _enqueue(Message.objects.filter(pk=pk).values_list("uid", flat=True))
        wake()
    elif settings.NOTIFICATIONS_ENGINE == "worker" and connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")
    else:
        wake()


def committed_many(uids: Sequence[UUID]) -> None:
    """New messages of nothing but these uids were committed by this thread."""
    if settings.NOTIFICATIONS_ENGINE == "inline":
        QueueWorker().deliver_these(list(Message.objects.filter(uid__in=uids).values_list("pk", flat=True)))
    elif settings.NOTIFICATIONS_ENGINE == "tasks":
        _enqueue(uids)
        wake()
    else:
        committed(0)


def published(pks: Sequence[int]) -> None:
    """New deliveries of webhooks were committed by this thread."""
    if settings.NOTIFICATIONS_ENGINE == "inline":
        deliver_these(pks)
    elif settings.NOTIFICATIONS_ENGINE == "tasks":
        _enqueue(WebhookDelivery.objects.filter(pk__in=pks).values_list("uid", flat=True), task="deliver_webhook")
        wake()
    else:
        committed(0)


def hasten(job: str) -> None:
    """Run a periodic job once the caller's transaction is committed: in this process if it has workers, else at the
    next heartbeat of another."""
    periodic_jobs.hasten(job)
    transaction.on_commit(partial(_hastened, job), robust=True)


def _hastened(job: str) -> None:
    if settings.NOTIFICATIONS_ENGINE == "inline":
        periodic_jobs.run_due(only=job)
        return
    wake()
    if (pool := _engine.pool) is not None:
        pool.beat_now()


def _enqueue(uids: Iterable[UUID], task: str = "deliver") -> None:
    """Enqueue a task for each. If one is lost, the message is still due, and a sweeper sends it."""
    try:
        from notifications import tasks

        for uid in uids:
            getattr(tasks, task).enqueue(str(uid))
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
    """Raise ImproperlyConfigured for settings that would send copies, send inside a transaction, or send nothing."""
    if errors := checks.refuse_start():
        raise ImproperlyConfigured(errors[0].msg)


def _deliver(worker: QueueWorker) -> float:
    """Deliver what is due; return the seconds until the next look."""
    close_old_connections()
    worker.deliver_due()
    poll: float = settings.NOTIFICATIONS_POLL
    return min(worker.rest() or poll, poll)


def _dispatch(dispatcher: Dispatcher) -> float:
    """Send the webhooks that are due; return the seconds until the next look."""
    close_old_connections()
    dispatcher.deliver_due()
    if not dispatcher.has_endpoints:
        # Most processes have none: one connection less that idles.
        connections.close_all()
    return dispatcher.rest()
