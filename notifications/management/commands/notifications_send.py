"""`manage.py notifications_send`: queue one mail, and see it leave."""

from __future__ import annotations

import argparse
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from lib.commands import Command as BaseCommand
from lib.text import printable, read_json
from notifications.models import Message
from notifications.services import staff_actions
from notifications.services.delivery import QueueWorker


def _object(text: str) -> dict[str, Any]:
    try:
        found = read_json(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('give a JSON object such as {"first_name": "Ada"}')
    return found


class Command(BaseCommand):
    help = "Queue one mail of a declared type; with --wait, which is the default on a terminal, deliver it now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("type", metavar="TYPE", help="such as users.welcome")
        parser.add_argument("--to", required=True, metavar="ADDRESS")
        parser.add_argument("--context", type=_object, default={}, metavar="JSON", help="the variables of the type")
        parser.add_argument("--event-key", metavar="KEY", help="what happened: the same event is sent once")
        parser.add_argument("--wait", action=BooleanOptionalAction, help="deliver it before the command ends")

    def handle(self, *args: Any, **options: Any) -> None:
        waits = sys.stdout.isatty() if options["wait"] is None else options["wait"]
        if waits and settings.NOTIFICATIONS_ENGINE == "off":
            raise CommandError("Mail is off: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.")
        given = {name: options[name] for name in ("to", "context", "event_key")}
        message = staff_actions.send(options["type"], **given, actor=self.actor)
        if waits:
            _deliver(message)
            if message.state != Message.State.SENT:
                details = " ".join(filter(None, (message.reason, message.last_code, printable(message.last_error))))
                text = f"{message.uid} is not sent: {message.state}" + (f", {details}." if details else ".")
                raise CommandError(text + (" It stays in the queue." if message.state in Message.OPEN else ""))
        self.stdout.write(f"{message.uid} {message.state}")


def _deliver(message: Message) -> None:
    """Try it once, or wait for another worker that claimed it first."""
    QueueWorker().deliver_these([message.pk])
    ends = time.monotonic() + settings.NOTIFICATIONS_LEASE
    message.refresh_from_db()
    while message.state == Message.State.SENDING and time.monotonic() < ends:
        time.sleep(0.1)
        message.refresh_from_db()
