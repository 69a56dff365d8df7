"""`manage.py notifications_worker`: send what is due until told to stop."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentTypeError
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import connection, connections

from lib import commands
from notifications import engine
from notifications.models import Message
from notifications.services import Courier

_STOPS = (signal.SIGTERM, signal.SIGINT)
_LISTEN_SECONDS = 1.0


def _number(maximum: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= maximum):
            raise ArgumentTypeError(f"a whole number from 1 to {maximum}")
        return int(text)

    return read


class Command(commands.Command):
    help = "Deliver queued messages until SIGTERM or SIGINT; any number of workers may run."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="deliver until nothing is due, then exit")
        parser.add_argument(
            "--threads",
            type=_number(64),
            default=max(1, settings.NOTIFICATIONS_THREADS),
            help="how many messages at a time (default: %(default)s, NOTIFICATIONS_THREADS)",
        )
        parser.add_argument(
            "--batch",
            type=_number(1000),
            default=settings.NOTIFICATIONS_BATCH,
            help="how many a thread takes at a time (default: %(default)s, NOTIFICATIONS_BATCH)",
        )
        parser.add_argument("--channel", choices=Message.Channel.values, help="only this one (default: all)")

    def handle(
        self, *args: Any, once: bool, threads: int, batch: int, channel: str | None = None, **options: Any
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
        courier = partial(Courier, batch=batch, channel=channel)
        try:
            if once:
                self._deliver_once([courier(stopping.is_set) for _ in range(threads)])
            else:
                self._deliver(stopping, engine.Crew(threads, courier, engine="worker", stopping=stopping))
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _deliver(self, stopping: threading.Event, crew: engine.Crew) -> None:
        crew.muster()
        self.stdout.write("Delivering until told to stop.")
        self.stdout.flush()
        wait = _waiter(stopping)
        try:
            while not stopping.is_set():
                # When nobody can tell, the threads find out at their next look.
                if not engine.guarded("listening", partial(_pass_on, wait, crew)):
                    stopping.wait(settings.NOTIFICATIONS_POLL)
        finally:
            crew.stop(settings.NOTIFICATIONS_TIMEOUT)

    def _deliver_once(self, couriers: list[Courier]) -> None:
        if len(couriers) == 1:
            tried = couriers[0].deliver_due()
        else:
            with ThreadPoolExecutor(len(couriers)) as pool:
                tried = sum(pool.map(_deliver_due, couriers))
        self.stdout.write(f"{tried} tried")
        if any(courier.rest() for courier in couriers):
            raise CommandError("The mail server is away; what waits will be sent later.")


def _deliver_due(courier: Courier) -> int:
    try:
        return courier.deliver_due()
    finally:
        connections.close_all()


def _pass_on(wait: Callable[[], bool], crew: engine.Crew) -> None:
    if wait():
        crew.wake()


def _waiter(stopping: threading.Event) -> Callable[[], bool]:
    """How to wait for news, and whether there was any: PostgreSQL tells, elsewhere the threads look by themselves."""
    if connection.vendor != "postgresql":
        return lambda: not stopping.wait(3600)
    heard: Any = None

    def listen() -> bool:
        nonlocal heard
        connection.ensure_connection()
        link: Any = connection.connection
        if link is not heard:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {engine.CHANNEL}")
            heard = link
            return True  # something may have been queued before we listened
        return any(True for _ in link.notifies(timeout=_LISTEN_SECONDS, stop_after=1))

    return listen
