from argparse import ArgumentParser
from typing import Any

from feature_flags.services import editing
from lib.commands import Command as BaseCommand
from lib.commands import add_reason


class Command(BaseCommand):
    help = "Switch a feature flag to its other state."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("codename", metavar="NAME")
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        flag = editing.get(options["codename"])
        editing.switch(flag, on=not flag.is_active, actor=self.actor, reason=options["reason"])
        self.stdout.write(f"{flag.codename} new active status: {flag.is_active}")
