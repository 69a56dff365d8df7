from typing import Any

from django.core.management.base import CommandParser

from lib.commands import Command as BaseCommand
from lib.commands import add_reason
from users import services
from users.services import Actor


class Command(BaseCommand):
    help = "Sign people out everywhere and let them in no more, until they are activated."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="+", metavar="EMAIL")
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        for email in options["email"]:
            user = services.find(email)
            services.deactivate(user, by=Actor(self.label), reason=options["reason"])
            self.stdout.write(f"{user.email} is deactivated")
