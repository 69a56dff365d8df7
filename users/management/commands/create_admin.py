from typing import Any

from django.core.management.base import CommandParser

from users.management.commands._people import AccountCommand
from users.services import passwords, staff


class Command(AccountCommand):
    help = "Make a verified superuser, or one of an account that exists, and print the link that sets it up."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        parser.add_argument("--no-input", "--noinput", action="store_true", help="ask nothing (it never does)")

    def handle(self, *args: Any, **options: Any) -> None:
        user, created = staff.create_admin(options["email"], actor=self.actor)
        link = passwords.invitation_link(user)
        facts = {"email": user.email, "created": created, "link": link}
        what = "created" if created else "is a superuser"
        self.say(options, facts, f"{user.email} {what}.", "Set a password and a second factor within 24 hours:", link)
