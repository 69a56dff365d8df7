from typing import Any

from django.core.management.base import CommandParser

from lib.commands import add_reason
from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import staff


class Command(PeopleCommand):
    help = "Sign people out everywhere and let them in no more, until they are activated."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        add_reason(parser)

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        changed = staff.deactivate(user, actor=self.actor, reason=options["reason"])
        return f"{user.email} is deactivated", {"changed": changed}
