from typing import Any

from django.core.management.base import CommandParser

from users.management.commands._people import AccountCommand
from users.services import deletion


class Command(AccountCommand):
    help = "Delete what is over: spent tokens, old counters and sessions, accounts never verified, due deletions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        counts = deletion.expired() if options["dry_run"] else deletion.purge()
        facts = {"dry_run": options["dry_run"], "deleted": counts}
        self.say(options, facts, *(f"{kind:<20} {count}" for kind, count in counts.items()))
