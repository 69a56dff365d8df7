"""`manage.py rehearse_restore`: whether a backup leads back."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from lib.commands import Command as BaseCommand
from lib.commands import whole_number_from
from project import backups


class Command(BaseCommand):
    help = (
        "Restore a backup into a database of its own, migrate that, compare its rows with those of today, drop it. "
        "Nothing else is touched."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "path", type=Path, help="the file, or a directory, of which the newest *.backup or *.dump is taken"
        )
        text = "how many rows in a hundred of today's there must be (default: %(default)s)"
        parser.add_argument("--least", type=whole_number_from(0, 100), default=90, metavar="PERCENT", help=text)

    def handle(self, *args: Any, path: Path, least: int, **options: Any) -> None:
        file, counts = backups.rehearse(path)
        made = datetime.fromtimestamp(file.stat().st_mtime, UTC)
        self.stdout.write(f"{file}, of {made:%Y-%m-%d %H:%M} UTC, was restored and migrated.")
        self.stdout.write(f"{'':36}{'restored':>12}{'today':>12}")
        for model, restored, live in counts:
            self.stdout.write(f"{model:36}{restored:>12,}{live:>12,}")
        if lacking := [model for model, restored, live in counts if restored * 100 < live * least]:
            raise CommandError(f"Of these the backup has less than {least} in a hundred: {', '.join(lacking)}.")
