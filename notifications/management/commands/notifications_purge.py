"""`manage.py notifications_purge`: the hourly purge of the workers, now."""

from __future__ import annotations

from collections import Counter
from typing import Any

from django.core.management.base import CommandParser

from lib import commands
from notifications.services import periodic_jobs


class Command(commands.Command):
    help = "Throw away what is past its time: messages, their contexts, delivery events, read notifications."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, dry_run: bool, **options: Any) -> None:
        counts: Counter[str] = Counter()
        for what, count in periodic_jobs.purge(is_trial=dry_run):
            counts[what] += count
        parts = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
        verb = "would be purged" if dry_run else "purged"
        self.stdout.write(f"{counts.total()} {verb}{': ' if parts else '.'}{parts}")
