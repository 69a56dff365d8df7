from argparse import ArgumentParser, ArgumentTypeError
from datetime import UTC, date, datetime, time
from typing import Any

from feature_flags.models import FlagToken
from feature_flags.services import tokens
from lib.commands import Command as BaseCommand
from lib.commands import add_reason


class Command(BaseCommand):
    help = "Create a token for readers of flags and print its secret, which cannot be shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--name", required=True, help="who will hold it")
        parser.add_argument("--kind", required=True, choices=FlagToken.Kind.values)
        parser.add_argument("--expires", type=_end_of, metavar="DATE", help="its last day, as in 2027-01-31 (UTC)")
        parser.add_argument(
            "--origin",
            nargs="+",
            action="extend",
            default=[],
            metavar="URL",
            help="web origins that may use it, as in https://app.example.org; none given: any",
        )
        add_reason(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        _, secret = tokens.create_token(
            options["name"],
            kind=options["kind"],
            allowed_origins=options["origin"],
            expires_at=options["expires"],
            actor=self.actor,
            reason=options["reason"],
        )
        self.stdout.write(secret)


def _end_of(text: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(text), time(23, 59, 59), UTC)
    except ValueError:
        raise ArgumentTypeError(f"“{text}” is no date like 2027-01-31") from None
