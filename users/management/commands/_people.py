"""The shape that commands about people share: some addresses, one verb, a line for each."""

import json
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError, CommandParser

from lib.commands import Command, add_reason, whole_number_from
from lib.errors import ProductError
from lib.text import printable
from users.models import User
from users.services import staff


class AccountCommand(Command):
    """A command about accounts; with `--json` it prints one object."""

    def create_parser(self, *args: Any, **kwargs: Any) -> CommandParser:
        parser = super().create_parser(*args, **kwargs)
        parser.add_argument("--json", action="store_true", help="one object on one line")
        return parser

    def say(self, options: dict[str, Any], facts: dict[str, Any], *lines: str) -> None:
        """The facts with `--json`, else the lines."""
        if options["json"]:
            lines = (json.dumps(facts, default=lambda it: it.isoformat() if isinstance(it, datetime) else str(it)),)
        for line in lines:
            self.stdout.write(line)
        self.stdout.flush()


class PeopleCommand(AccountCommand):
    """One verb for each EMAIL. All are tried; what was refused is printed at the end and exits 1.

    With `--json`: `{"done": [{"email", …}], "refused": [{"email", "code", "message"}]}`.
    """

    asks_reason = False

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="+", metavar="EMAIL")
        if self.asks_reason:
            add_reason(parser)

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        """Do it; return the line and, beside the address, the facts."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        done: list[dict[str, Any]] = []
        lines: list[str] = []
        refused: list[dict[str, str]] = []
        messages: list[str] = []
        for given in options["email"]:
            try:
                user = staff.find(given)
                line, facts = self.act(user, **options)
            except ProductError as error:
                email = printable(given)
                refused.append({"email": email, "code": error.slug, "message": error.message})
                is_named = email.strip() in error.message
                messages.append(error.message if is_named else f"{email.strip()}: {error.message}")
                continue
            lines.append(line)
            done.append({"email": user.email, **facts})
        self.say(options, {"done": done, "refused": refused}, *lines)
        if refused:
            raise CommandError(" ".join(messages))


def add_limit(parser: CommandParser) -> None:
    parser.add_argument(
        "--limit", type=whole_number_from(0, 999_999_999), default=1000, help="at most so many (default: %(default)s)"
    )
