from collections import Counter
from typing import Any

from django.core.management.base import CommandError, CommandParser

from lib import encryption
from notifications.models import WebhookEndpoint
from users.management.commands._people import AccountCommand
from users.models import MfaDevice

#: All that is encrypted.
_SEALED = ((MfaDevice, "secret"), (WebhookEndpoint, "secret"), (WebhookEndpoint, "old_secret"))


class Command(AccountCommand):
    help = "Encrypt the secrets that are read again with the first key, so that the others can be taken away."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="only count")

    def handle(self, *args: Any, **options: Any) -> None:
        counts: Counter[str] = Counter()
        for model, column in _SEALED:
            counts.update(encryption.rotate(model, column, dry_run=options["dry_run"]))
        verb = "would be encrypted anew" if options["dry_run"] else "encrypted anew"
        self.say(options, counts, f"{counts['resealed']} secrets {verb}.")
        if counts["unreadable"]:
            raise CommandError(f"{counts['unreadable']} secrets can be read with none of the keys.")
