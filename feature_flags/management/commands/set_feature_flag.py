from argparse import ArgumentParser
from typing import Any

from feature_flags.services import editing
from lib.commands import Command as BaseCommand
from lib.commands import add_reason


class Command(BaseCommand):
    help = "Put a feature flag in the wanted state; repeating changes nothing."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("codename", metavar="NAME")
        parser.add_argument("state", choices=("on", "off"))
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        flag = editing.get(options["codename"])
        editing.switch(flag, on=options["state"] == "on", actor=self.actor, reason=options["reason"])
        self.stdout.write(f"{flag.codename} {'on' if flag.is_active else 'off'}")
