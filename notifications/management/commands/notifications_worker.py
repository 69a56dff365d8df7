"""`manage.py notifications_worker`: send what is due until SIGTERM or SIGINT."""

from __future__ import annotations

import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import connections

from lib import background, commands, metrics_server
from notifications import engine
from notifications.models import Message
from notifications.services import endpoints, health, periodic_jobs
from notifications.services.delivery import QueueWorker
from notifications.services.webhook_delivery import Dispatcher

_STOPS = (signal.SIGTERM, signal.SIGINT)


class Command(commands.Command):
    requires_system_checks = "__all__"
    help = "Deliver queued messages until SIGTERM or SIGINT; any number of workers may run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="deliver until nothing is due, then exit")
        threads, batch = max(1, settings.NOTIFICATIONS_THREADS), settings.NOTIFICATIONS_BATCH
        text = "how many messages at a time (default: %(default)s, NOTIFICATIONS_THREADS)"
        parser.add_argument("--threads", type=commands.whole_number_from(1, 64), default=threads, help=text)
        text = "how many a thread takes at a time (default: %(default)s, NOTIFICATIONS_BATCH)"
        parser.add_argument("--batch", type=commands.whole_number_from(1, 1000), default=batch, help=text)
        text = "touch this file every second or so: an old one means a process that hangs"
        parser.add_argument("--alive-file", type=Path, metavar="PATH", help=text)
        parser.add_argument("--channel", choices=Message.Channel.values, help="only this one (default: all)")

    def handle(
        self,
        *args: Any,
        once: bool,
        threads: int,
        batch: int,
        alive_file: Path | None = None,
        channel: str | None = None,
        **options: Any,
    ) -> None:
        if settings.NOTIFICATIONS_ENGINE == "off":
            raise CommandError("Mail is off: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.")
        try:
            engine.refuse_mistakes()
        except ImproperlyConfigured as error:
            raise CommandError(str(error)) from None
        stopping = threading.Event()

        def stop(*_: Any) -> None:
            stopping.set()
            self.stdout.write("Finishing the message in hand.")
            self.stdout.flush()

        before = {number: signal.signal(number, stop) for number in _STOPS}
        make_worker = partial(QueueWorker, batch=batch, channel=channel)
        try:
            if once:
                # What was resumed is due then, too.
                periodic_jobs.run_due(only=endpoints.JOB)
                workers = [make_worker(stopping.is_set) for _ in range(threads)]
                with ThreadPoolExecutor(threads + 1) as pool:
                    tried = sum(pool.map(_deliver_due, [*workers, Dispatcher(stopping.is_set)]))
                self.stdout.write(f"{tried} tried")
                if any(worker.rest() for worker in workers):
                    raise CommandError("The mail server is away; what waits will be sent later.")
            else:
                self._deliver(stopping, engine.WorkerPool(threads, make_worker, engine="worker", alive_file=alive_file))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _deliver(self, stopping: threading.Event, pool: engine.WorkerPool) -> None:
        pool.start()
        if settings.METRICS_PORT:
            metrics_server.start(health.figures)
        background.subscribe(engine.CHANNEL, pool.wake)
        self.stdout.write("Delivering until stopped.")
        self.stdout.flush()
        try:
            stopping.wait()
        finally:
            background.unsubscribe(engine.CHANNEL)
            pool.stop(settings.NOTIFICATIONS_TIMEOUT)


def _deliver_due(worker: QueueWorker | Dispatcher) -> int:
    try:
        return worker.deliver_due()
    finally:
        connections.close_all()
