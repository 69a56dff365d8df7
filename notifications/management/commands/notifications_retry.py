"""`manage.py notifications_retry`: queue again what could not be sent."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any

from lib.actors import Actor
from lib.commands import Command as BaseCommand
from lib.errors import ProductError
from notifications.management.commands import _shared
from notifications.models import Message
from notifications.services import staff_actions

_SLICE = 500


class Command(BaseCommand):
    help = "Queue failed messages again, or unknown ones, of which the recipient may then get a second copy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--state", choices=("failed", "unknown"), default="failed", help="default: failed")
        parser.add_argument("--type", metavar="TYPE", help="only of this type")
        parser.add_argument(
            "--since", type=_shared.moment, metavar="TIME", help="only those that ended since (2h, 3d, a date)"
        )
        parser.add_argument(
            "--code",
            action="append",
            default=[],
            type=_shared.word,
            metavar="CODE",
            help="only those last answered so, such as 503; may be repeated",
        )
        parser.add_argument("--dry-run", action="store_true", help="say how many, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        retried = dead = 0
        for message in _matching(options):
            if _retry(message, is_trial=options["dry_run"]):
                retried += 1
            else:
                dead += 1
        verb = "would be queued again" if options["dry_run"] else "queued again"
        rest = f"; {dead} left, as there is nothing to say any more" if dead else ""
        self.stdout.write(f"{_shared.messages(retried)} {verb}{rest}.")


def _retry(message: Message, *, is_trial: bool) -> bool:
    if is_trial:
        return staff_actions.is_alive(message)
    try:
        staff_actions.retry(message, actor=Actor.command("notifications_retry"))
    except ProductError:
        return False
    return True


def _matching(options: dict[str, Any]) -> Iterator[Message]:
    """By key and in slices: there may be many, and those retried leave the state that is asked for."""
    rows = Message.objects.filter(state=options["state"]).order_by("pk")
    if options["type"]:
        rows = rows.filter(type=staff_actions.kind_of(options["type"]).code)
    if options["code"]:
        rows = rows.filter(last_code__in=options["code"])
    if options["since"]:
        rows = rows.filter(finished_at__gte=options["since"])
    last = 0
    while found := list(rows.filter(pk__gt=last)[:_SLICE]):
        yield from found
        last = found[-1].pk
