"""`manage.py notifications_cancel`: stop messages that no mail server was given yet."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q, QuerySet

from lib import commands
from lib.db import batches, slices
from notifications.models import Message
from notifications.services.outbox import cancel_open


class Command(commands.Command):
    help = "Cancel messages by uid, or all waiting ones of a type, made before a time, or at all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("uids", nargs="*", type=uuid.UUID, metavar="UID")
        # Not looked up: those of a type that is declared no more are the ones to get rid of.
        add("--type", type=commands.storable_text, metavar="TYPE", help="all waiting ones of this type")
        add("--before", type=commands.past_time, metavar="TIME", help="all made before (2h, 3d, a date)")
        add("--all-queued", action="store_true", help="all that wait")
        add("--dry-run", action="store_true", help="say how many, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        uids: list[uuid.UUID] = options["uids"]
        asked = {"type": options["type"], "created_at__lt": options["before"]}
        broad = Q(**{name: value for name, value in asked.items() if value is not None})
        if bool(uids) == bool(options["all_queued"] or broad):
            raise CommandError("Give uids, or else --type, --before or --all-queued.", returncode=2)
        which = [Q(uid__in=some) for some in batches(uids)] or [broad]
        if options["dry_run"]:
            done = sum(_waiting(each).count() for each in which)
        else:
            done = sum(
                cancel_open(Q(pk__in=keys), reason="staff")
                for each in which
                for keys in slices(_waiting(each), by="pk")
            )
        if not done:
            raise CommandError("No message that waits matches.")
        would_be = "would be " if options["dry_run"] else ""
        self.stdout.write(f"{done} message{'' if done == 1 else 's'} {would_be}cancelled.")


def _waiting(which: Q) -> QuerySet[Message]:
    return Message.objects.filter(which, state__in=Message.OPEN, handed_at=None)
