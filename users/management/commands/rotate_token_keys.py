from typing import Any

from django.core.management.base import CommandError, CommandParser

from lib import encryption
from users.management.commands._people import AccountCommand
from users.models import MfaDevice


class Command(AccountCommand):
    help = "Encrypt the secrets of authenticator apps with the first key, so that the others can be taken away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        counts = encryption.rotate(MfaDevice, "secret", dry_run=options["dry_run"])
        verb = "would be encrypted anew" if options["dry_run"] else "encrypted anew"
        self.say(options, counts, f"{counts['resealed']} secrets {verb}.")
        if counts["unreadable"]:
            raise CommandError(f"{counts['unreadable']} secrets can be read with none of the keys.")
