"""Create an account for a program, with the rights of groups."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import CommandError, CommandParser

from lib.commands import Command as Base
from lib.commands import storable_text
from users.services import api_keys


class Command(Base):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="lower-case letters, digits and hyphens")
        parser.add_argument("--group", action="append", default=[], type=storable_text, help="once for each group")
        parser.add_argument("--description", default="", help="what it is for")

    def handle(self, *args: Any, **options: Any) -> None:
        groups = list(Group.objects.filter(name__in=options["group"]))
        if missing := set(options["group"]) - {group.name for group in groups}:
            raise CommandError(f"There is no group {min(missing)}.")
        about = {"description": options["description"], "groups": groups}
        account = api_keys.create_service_account(name=options["name"], **about, actor=self.actor)
        names = ", ".join(sorted(group.name for group in groups)) or "no group"
        self.stdout.write(f"{account} created, in {names}.")
