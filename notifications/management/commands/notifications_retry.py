"""`manage.py notifications_retry`: queue again what could not be sent."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lib import commands
from lib.errors import ProductError
from notifications.models import Message
from notifications.services import staff_actions

_SLICE = 500


class Command(commands.Command):
    help = "Queue failed messages again, or unknown ones, of which the recipient may then get a second copy."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add, ended = parser.add_argument, "only those that ended since (2h, 3d, a date)"
        answered = "only those last answered so, such as 503; may be repeated"
        add("--state", choices=("failed", "unknown"), default="failed", help="default: failed")
        add("--type", metavar="TYPE", help="only of this type")
        add("--since", type=commands.past_time, metavar="TIME", help=ended)
        add("--code", action="append", default=[], type=commands.storable_text, metavar="CODE", help=answered)
        add("--dry-run", action="store_true", help="say how many, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = Message.objects.filter(state=options["state"]).order_by("pk")
        if options["type"]:
            rows = rows.filter(type=staff_actions.kind_of(options["type"]).code)
        if options["code"]:
            rows = rows.filter(last_code__in=options["code"])
        if options["since"]:
            rows = rows.filter(finished_at__gte=options["since"])
        retried = dead = last = 0
        # By key and in slices: there may be many, and those retried leave the state that is asked for.
        while found := list(rows.filter(pk__gt=last)[:_SLICE]):
            done = sum(self._retry(message, is_trial=options["dry_run"]) for message in found)
            retried, dead, last = retried + done, dead + len(found) - done, found[-1].pk
        verb = "would be queued again" if options["dry_run"] else "queued again"
        rest = f"; {dead} left, as there is nothing to say any more" if dead else ""
        self.stdout.write(f"{retried} message{'' if retried == 1 else 's'} {verb}{rest}.")

    def _retry(self, message: Message, *, is_trial: bool) -> bool:
        if is_trial:
            return staff_actions.is_alive(message)
        try:
            staff_actions.retry(message, actor=self.actor)
        except ProductError:
            return False
        return True
