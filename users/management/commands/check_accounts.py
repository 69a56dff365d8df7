from typing import Any

from django.core.management.base import CommandError, CommandParser

from users.management.commands._people import AccountCommand, add_json
from users.services import account_checks


class Command(AccountCommand):
    help = "Look for what makes accounts less safe than they could be; exit 1 on findings."

    def add_arguments(self, parser: CommandParser) -> None:
        add_json(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = account_checks.findings()
        facts = {"findings": [{"code": finding.code, "message": finding.message} for finding in found]}
        lines = [f"{finding.code}: {finding.message}" for finding in found] or ["Nothing found."]
        self.say(options, facts, *lines)
        if found:
            raise CommandError(f"{len(found)} finding{'' if len(found) == 1 else 's'}.")
