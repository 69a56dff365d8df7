import sys
from argparse import ArgumentParser
from io import TextIOWrapper
from typing import Any

from feature_flags.services import exporting
from lib.commands import Command as BaseCommand


class Command(BaseCommand):
    help = "Write all flags and segments to stdout: as our own format, or as the document Unleash clients read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--format", choices=exporting.FORMATS, default="switchboard")

    def handle(self, *args: Any, **options: Any) -> None:
        text = exporting.text(options["format"])
        if isinstance(sys.stdout, TextIOWrapper):
            # A file of ours is UTF-8, whatever the terminal speaks, and the same bytes everywhere.
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
        self.stdout.write(text, ending="")
