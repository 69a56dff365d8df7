"""`manage.py restore`: a backup into an empty database."""

from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from lib.commands import Command as BaseCommand
from project import backups


class Command(BaseCommand):
    help = "Fill the empty database that DATABASE_URL names with what `backup` has written."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("path", type=Path, help="the file")

    def handle(self, *args: Any, path: Path, **options: Any) -> None:
        backups.restore(path)
        self.stdout.write(f"{path} restored. Next: `manage.py migrate`, then start web and worker.")
