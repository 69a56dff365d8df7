import getpass
import secrets
import sys
from typing import Any

from django.core.management.base import CommandError, CommandParser

from users.management.commands._people import AccountCommand
from users.services import staff


class Command(AccountCommand):
    help = "Set a password, activate the account and end its sessions. Without PASSWORD it is asked for on a terminal."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        way = parser.add_mutually_exclusive_group()
        way.add_argument("password", nargs="?", metavar="PASSWORD", help="stays in the shell's history")
        way.add_argument("--stdin", action="store_true", help="read the password from the first line of stdin")
        way.add_argument("--generate", action="store_true", help="make a random password and print it")
        way.add_argument("--send-link", action="store_true", help="mail a reset link instead; ends no session")

    def handle(self, *args: Any, **options: Any) -> None:
        user = staff.find(options["email"])
        if options["send_link"]:
            staff.send_reset(user, actor=self.actor)
            self.say(options, {"email": user.email, "link_sent": True}, f"{user.email} gets a reset link.")
            return
        password = self._password(options)
        ended = staff.reset_password(user, password, actor=self.actor)
        made = {"password": password} if options["generate"] else {}
        lines = (f"{user.email} reset, {ended} sessions ended.", *made.values())
        self.say(options, {"email": user.email, "ended": ended, **made}, *lines)

    def _password(self, options: dict[str, Any]) -> str:
        if options["password"] is not None:
            self.stderr.write("A password given as an argument stays in the shell's history; prefer --stdin.")
            return str(options["password"])
        if options["stdin"]:
            return sys.stdin.readline().rstrip("\r\n")
        if options["generate"]:
            return secrets.token_urlsafe(15)
        if not sys.stdin.isatty():
            raise CommandError("Give PASSWORD, --stdin, --generate or --send-link.", returncode=2)
        try:
            password, again = getpass.getpass("New password: "), getpass.getpass("Again: ")
        except EOFError:
            raise CommandError("No password was given.") from None
        if again != password:
            raise CommandError("The two passwords differ.")
        return password
