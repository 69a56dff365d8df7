from django.core.management.base import CommandParser

from users.management.commands import reset_user_password


class Command(reset_user_password.Command):
    """In place of Django's, which would leave the sessions of the old password open and record nothing."""

    help = "Ask for a new password on a terminal, as `reset_user_password` does: activates, and ends the sessions."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("email", metavar="EMAIL")
        parser.set_defaults(password=None, stdin=False, generate=False, send_link=False)
