"""The shape that commands about people share: some addresses, one verb, a line for each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from lib.commands import Command, whole_number_from
from lib.errors import ProductError
from lib.text import printable, whole_number
from users.models import User
from users.services import staff


def add_json(parser: CommandParser) -> None:
    parser.add_argument("--json", action="store_true", help="one object on one line")


def add_limit(parser: CommandParser) -> None:
    parser.add_argument(
        "--limit", type=whole_number_from(0, 999_999_999), default=1000, help="at most so many (default: %(default)s)"
    )


class AccountCommand(Command):
    """A command about accounts; with `--json` it prints one object."""

    def say(self, options: dict[str, Any], facts: dict[str, Any], *lines: str) -> None:
        """The facts with `--json`, else the lines."""
        if options["json"]:
            self.stdout.write(json.dumps(facts, default=_plain))
        else:
            for line in lines:
                self.stdout.write(line)
        self.stdout.flush()


class PeopleCommand(AccountCommand):
    """One verb for each EMAIL. All are tried; what was refused is told at the end and exits 1.

    With `--json`: `{"done": [{"email", …}], "refused": [{"email", "code", "message"}]}`.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="+", metavar="EMAIL")
        add_json(parser)

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        """Do it; return the line and, beside the address, the facts."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        done: list[dict[str, Any]] = []
        lines: list[str] = []
        refused: list[dict[str, str]] = []
        for email in options["email"]:
            try:
                user = staff.find(email)
                line, facts = self.act(user, **options)
            except ProductError as error:
                refused.append({"email": printable(email), "code": error.slug, "message": error.message})
                continue
            lines.append(line)
            done.append({"email": user.email, **facts})
        self.say(options, {"done": done, "refused": refused}, *lines)
        if refused:
            raise CommandError(" ".join(_told(refusal) for refusal in refused))


def _told(refusal: dict[str, str]) -> str:
    """The message, and whose it is unless it says so."""
    message, email = refusal["message"], refusal["email"].strip()
    return message if email in message else f"{email}: {message}"


def since(text: str) -> datetime:
    """A moment for `--since`: `2026-11-24`, `2026-11-24T13:00`, or an age like `90m`, `36h`, `7d`."""
    units = {"m": "minutes", "h": "hours", "d": "days"}
    number, unit = text[:-1], text[-1:]
    try:
        if unit in units and (count := whole_number(number)) is not None:
            return timezone.now() - timedelta(**{units[unit]: count})
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)):
            found = datetime(day.year, day.month, day.day)
        if found is not None:
            # At either end of time a zone leads beyond it: better found out here than by the database.
            return (found if timezone.is_aware(found) else timezone.make_aware(found)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise CommandError("--since takes 2026-11-24, 2026-11-24T13:00 or an age such as 90m, 36h, 7d.", returncode=2)


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
