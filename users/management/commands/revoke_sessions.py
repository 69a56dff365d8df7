from typing import Any

from django.core.management.base import CommandError, CommandParser

from users.management.commands._people import PeopleCommand
from users.models import User
from users.services import staff


class Command(PeopleCommand):
    help = "Sign people out everywhere: their access ends at the next call."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", nargs="*", metavar="EMAIL")
        parser.add_argument("--all", action="store_true", help="everybody, staff too; needs --yes")
        parser.add_argument("--yes", action="store_true", help="mean it")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["all"] == bool(options["email"]):
            raise CommandError("Give addresses, or --all.", returncode=2)
        if not options["all"]:
            return super().handle(*args, **options)
        if not options["yes"]:
            raise CommandError("--all signs everybody out: add --yes.", returncode=2)
        ended = staff.sign_out_all(actor=self.actor)
        return self.say(options, {"ended": ended}, f"{_sessions(ended)} ended.")

    def act(self, user: User, **options: Any) -> tuple[str, dict[str, Any]]:
        ended = staff.sign_out(user, actor=self.actor)
        return f"{user.email}: {_sessions(ended)} ended", {"ended": ended}


def _sessions(count: int) -> str:
    return f"{count} session{'' if count == 1 else 's'}"
