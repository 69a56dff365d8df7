"""`manage.py notifications_worker`: send what is due until told to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.db import connection

from lib import commands
from notifications import engine
from notifications.services import Courier

_STOPS = (signal.SIGTERM, signal.SIGINT)


class Command(commands.Command):
    help = "Deliver queued messages until SIGTERM or SIGINT; any number of workers may run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="deliver what is due now, then exit")

    def handle(self, *args: Any, once: bool, **options: Any) -> None:
        if settings.NOTIFICATIONS_ENGINE == "off":
            raise CommandError("Mail is off: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.")
        engine.refuse_short_lease()
        stopping = threading.Event()

        def stop(*_: Any) -> None:
            stopping.set()
            self.stdout.write("Finishing the message in hand.")
            self.stdout.flush()

        before = {number: signal.signal(number, stop) for number in _STOPS}
        try:
            self._deliver(stopping, once=once)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _deliver(self, stopping: threading.Event, *, once: bool) -> None:
        courier = Courier(stopping.is_set)
        if not once:
            self.stdout.write("Delivering until told to stop.")
            self.stdout.flush()
            engine.deliver_until(stopping, courier, _waiter(stopping))
            return
        self.stdout.write(f"{courier.deliver_due()} tried")
        if courier.rest():
            raise CommandError("The mail server is away; what waits will be sent later.")


def _waiter(stopping: threading.Event) -> Callable[[float], None]:
    """How to sleep until something is due: PostgreSQL tells, elsewhere the clock does."""
    if connection.vendor != "postgresql":
        return _sleeper(stopping)
    heard: Any = None

    def listen(seconds: float) -> None:
        nonlocal heard
        connection.ensure_connection()
        link: Any = connection.connection
        if link is not heard:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {engine.CHANNEL}")
            heard = link
            return  # something may have been queued before we listened: look first
        for _ in link.notifies(timeout=seconds, stop_after=1):
            pass

    return listen


def _sleeper(stopping: threading.Event) -> Callable[[float], None]:
    def sleep(seconds: float) -> None:
        stopping.wait(seconds)

    return sleep
