"""The base of our commands: 0 done, 1 refused, 2 wrong arguments; one line on stderr, never a traceback."""

import errno
import os
import re
import select
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from io import TextIOWrapper
from typing import Any, Literal, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseFailure
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from lib.actors import Actor
from lib.errors import ProductError
from lib.private import is_from_shell
from lib.text import is_storable, whole_number

#: The tag of checks that are quick and say what no command should run with.
SETTINGS = "settings"


class _Parser(CommandParser):
    def error(self, message: str) -> NoReturn:
        if not self.called_from_command_line:
            raise CommandError(f"Error: {message}", returncode=2)
        self.exit(2, f"{self.prog}: {message}\n")


class Command(BaseCommand):
    """Subclasses call verbs and print what came of them; a ProductError is printed and exits 1.

    Before each the checks of settings run. All others load every address and fill every mail, which takes longer than
    most commands and than a start: those are left to the worker, `migrate` and `check`.
    """

    requires_system_checks: tuple[str, ...] | Literal["__all__"] = (SETTINGS,)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # BaseCommand names its parser class itself, so the usage error is set on what it made.
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.__class__ = _Parser
        return parser

    @property
    def actor(self) -> Actor:
        """The actor of the command, for `created_by`, `updated_by` and history rows."""
        return Actor.command(type(self).__module__.rsplit(".", 1)[-1])

    @property
    def label(self) -> str:
        return self.actor.label

    def execute(self, *args: Any, **options: Any) -> str | None:
        shell = _stdout() if is_from_shell(self) else None
        try:
            output = self._execute(*args, **options)
            if shell:
                shell.flush()
            return output
        except OSError as error:
            if not shell or not (_is_gone(shell) or error.errno == errno.ENOSPC):
                raise
            # Python writes once more at its end, and not there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), shell.fileno())
            if error.errno != errno.ENOSPC:
                return None
            self.stderr.write("No space is left to write to.")
            sys.exit(1)
        except CommandError as error:
            # `called_from_command_line` is the shell; call_command() callers get the exception.
            if not is_from_shell(self) or options.get("traceback"):
                raise
            self.stderr.write(str(error))
            sys.exit(error.returncode)

    def _execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except ProductError as error:
            raise CommandError(error.message) from error
        except DatabaseFailure as error:
            # Only the kind: a driver's message may repeat the values of a row.
            raise CommandError(
                f"The database refused ({type(error).__name__}): is it there, and has `migrate` been run?"
            ) from error


def _stdout() -> TextIOWrapper | None:
    """What the shell gave us. What is done is done: a terminal that lacks a sign must not end it in a traceback."""
    if not isinstance(sys.stdout, TextIOWrapper):
        return None
    sys.stdout.reconfigure(errors="backslashreplace")
    return sys.stdout


def _is_gone(stdout: TextIOWrapper) -> bool:
    """Whether the reader has seen enough (`| head`). Asked of the pipe: what a failed write held may be lost by now."""
    watch = select.poll()
    watch.register(stdout.fileno(), select.POLLOUT)
    return any(seen & (select.POLLERR | select.POLLHUP) for _, seen in watch.poll(0))


def whole_number_from(least: int, most: int) -> Callable[[str], int]:
    """A `type=` for argparse."""

    def read(text: str) -> int:
        if (number := whole_number(text)) is None or not least <= number <= most:
            raise ArgumentTypeError(f"give a whole number from {least} to {most}")
        return number

    return read


def past_time(text: str) -> datetime:
    """A `type=` for argparse: `2h` ago, a date, or a date and time (UTC unless it says otherwise)."""
    try:
        if span := re.fullmatch(r"([1-9]\d{0,8})([mhd])", text, re.ASCII):
            unit = {"m": "minutes", "h": "hours", "d": "days"}[span[2]]
            return timezone.now() - timedelta(**{unit: int(span[1])})
        day = parse_date(text)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(text)
        if at:
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise ArgumentTypeError("give a time such as 2h (ago), 2026-01-31 or 2026-01-31T12:00:00Z")


def storable_text(text: str) -> str:
    """A `type=` for argparse: a text that a database can compare."""
    if not is_storable(text):
        raise ArgumentTypeError("give readable text")
    return text


def add_reason(parser: ArgumentParser) -> None:
    parser.add_argument("--reason", default="command line", help="why, for the history")
