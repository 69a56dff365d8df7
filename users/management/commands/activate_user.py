from typing import Any

from django.core.management.base import CommandParser

from lib.commands import Command as BaseCommand
from users import services
from users.services import Actor


class Command(BaseCommand):
    help = "Let people sign in again and lift the pause after wrong passwords. Does not verify the address."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="+", metavar="EMAIL")

    def handle(self, *args: Any, **options: Any) -> None:
        for email in options["email"]:
            user = services.find(email)
            services.activate(user, by=Actor(self.label))
            note = "" if user.is_verified else " (address not verified)"
            self.stdout.write(f"{user.email} is active{note}")
