from argparse import ArgumentParser
from typing import Any

from feature_flags.services import editing
from lib.commands import Command as BaseCommand
from lib.commands import add_reason


class Command(BaseCommand):
    help = "Create a feature flag, off."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("codename", metavar="NAME")
        parser.add_argument("--label")
        parser.add_argument("--description")
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        flag = editing.create(
            options["codename"],
            label=options["label"],
            description=options["description"],
            actor=self.actor,
            reason=options["reason"],
        )
        self.stdout.write(f"{flag.codename} created, off.")
