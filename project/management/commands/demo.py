"""A playground for a look around: `demo` fills it, `demo --remove` takes it away."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from lib.commands import Command as BaseCommand
from project import demo


class Command(BaseCommand):
    help = "Fill a playground: 60 people, 40 flags with history and usage, mails in every state. Only with DEBUG=1."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--remove", action="store_true", help="take it away again, without a trace")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError(
                "A demo is no part of a product in use: it comes and goes with DEBUG=1 only.", returncode=1
            )
        if options["remove"]:
            self.stdout.write("The demo is gone." if demo.remove() else "There is no demo.")
            return
        if demo.is_filled():
            raise CommandError("There is a demo already: manage.py demo --remove takes it away.", returncode=1)
        made = demo.fill(actor=self.actor)
        self.stdout.write(
            f"Made {made['people']} people at {demo.DOMAIN}, {made['flags']} flags named {demo.FLAG}… and"
            f" {made['mails']} mails. None of them can sign in, nothing is sent."
        )
