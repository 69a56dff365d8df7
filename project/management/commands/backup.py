"""`manage.py backup`: a copy of the database in one file, while it is in use."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from lib.commands import Command as BaseCommand
from project import backups


class Command(BaseCommand):
    help = "Write a consistent copy of the database to a new file; others go on writing meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="a new file, or a directory that gets one named after the time")

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        file = backups.make(path)
        self.stdout.write(f"{file} written, {file.stat().st_size:,} bytes. It holds no secret of the settings.")
