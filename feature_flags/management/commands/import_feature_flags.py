import gc
import sys
from argparse import ArgumentParser
from collections.abc import Iterable
from typing import Any

from django.core.management.base import CommandError

from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.services import importing
from lib.actors import Actor
from lib.commands import Command as BaseCommand
from lib.commands import add_reason
from lib.text import printable

MAX_BYTES = 50 * 2**20
PROBLEMS_SHOWN = 50


class Command(BaseCommand):
    help = (
        "Make flags and segments what a file says, and print the difference. What cannot be taken is left as it is and "
        "named line by line; then the exit code is 3."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", metavar="FILE", help="- reads from stdin")
        parser.add_argument("--format", choices=importing.FORMATS, required=True)
        parser.add_argument("--strict", action="store_true", help="take nothing unless all of it can be taken")
        parser.add_argument("--dry-run", action="store_true", help="print the difference and write nothing")
        parser.add_argument("--prune", action="store_true", help="archive the flags that the file lacks")
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        # All that is read stays until the end: to look for garbage in it takes a third of the time.
        gc.disable()
        try:
            notes: list[str] = []
            contents = importing.read(options["format"], _read(options["file"]), notes.append)
            report = importing.import_flags(
                *contents,
                strict=options["strict"],
                dry_run=options["dry_run"],
                prune=options["prune"],
                actor=Actor("import", label=self.label),
                reason=options["reason"],
            )
        except InvalidFlag as error:
            lines = _sentences(error.problems)
            more = [f"… and {len(lines) - PROBLEMS_SHOWN} more."] if len(lines) > PROBLEMS_SHOWN else []
            raise CommandError("\n".join([*lines[:PROBLEMS_SHOWN], *more])) from error
        finally:
            gc.enable()
        for note in notes:
            self.stderr.write(printable(f"Note: {note}."))
        for line in report.lines:
            self.stdout.write(printable(line))
        counts = f"{report.created} created, {report.changed} changed, {report.archived} archived"
        refused = len({problem.place[:1] for problem in report.problems})
        summary = f"{counts}, {report.unchanged} as before{f', {refused} not taken' if refused else ''}."
        self.stdout.write(f"{'Dry run, nothing is written: ' if options['dry_run'] else ''}{summary}")
        if report.problems:
            lines = [f"Not taken: {line}" for line in _sentences(report.problems)]
            raise CommandError("\n".join(lines), returncode=3)


def _sentences(problems: Iterable[Problem]) -> list[str]:
    """`FF_A: rules.0.rollout_percent: …`: the first word of a place is the flag."""
    found = []
    for place, message in problems:
        name, inner = (str(place[0]), ".".join(map(str, place[1:]))) if place else ("", "")
        found.append(printable(": ".join(filter(None, (name, inner, message)))))
    return found


def _read(name: str) -> str:
    try:
        if name == "-":
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file has such a name"
        raise CommandError(printable(f"{name} cannot be read: {reason}.")) from error
    if len(data) > MAX_BYTES:
        raise CommandError(f"The file is larger than {MAX_BYTES // 2**20} MB.")
    try:
        # Editors on Windows put a mark in front.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CommandError(f"The file is not UTF-8 (byte {error.start + 1}).") from error
