"""`manage.py notifications_check`: would mail arrive?"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any

from django.core.management.base import CommandError

from lib import commands
from lib.addresses import valid_email
from lib.text import printable
from notifications import inspection


class Command(commands.Command):
    help = "Look at the settings, the mail server and the records of the sending domain; exit 1 with findings."
    # The findings include what the checks say.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--send-to", type=_address, metavar="ADDRESS", help="send a mail there, too")

    def handle(self, *args: Any, send_to: str | None, **options: Any) -> None:
        findings = 0
        for line in inspection.look(send_to=send_to):
            findings += line.is_finding
            self.stdout.write(printable(f"{'!' if line.is_finding else ' '} {line.what}: {line.text}"))
        if findings:
            raise CommandError("1 finding." if findings == 1 else f"{findings} findings.")
        self.stdout.write("No findings.")


def _address(value: str) -> str:
    try:
        return valid_email(value)
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None
