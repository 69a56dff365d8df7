"""`manage.py notifications_cancel`: stop messages that no mail server was given yet."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q

from lib.commands import Command as BaseCommand
from lib.db import batches
from notifications.management.commands import _shared
from notifications.models import Message
from notifications.services.outbox import cancel_open


class Command(BaseCommand):
    help = "Cancel messages by uid, or all waiting ones of a type, made before a time, or at all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("uids", nargs="*", type=uuid.UUID, metavar="UID")
        # Not looked up: those of a type that is declared no more are the ones to get rid of.
        parser.add_argument("--type", type=_shared.word, metavar="TYPE", help="all waiting ones of this type")
        parser.add_argument("--before", type=_shared.moment, metavar="TIME", help="all made before (2h, 3d, a date)")
        parser.add_argument("--all-queued", action="store_true", help="all that wait")
        parser.add_argument("--dry-run", action="store_true", help="say how many, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        uids: list[uuid.UUID] = options["uids"]
        is_broad = options["all_queued"] or options["type"] is not None or options["before"] is not None
        if bool(uids) == is_broad:
            raise CommandError("Give uids, or else --type, --before or --all-queued.", returncode=2)
        which = [Q(uid__in=some) for some in batches(uids)] or [_broad(options)]
        if options["dry_run"]:
            done = sum(Message.objects.filter(each, state__in=Message.OPEN, handed_at=None).count() for each in which)
        else:
            done = sum(cancel_open(each, reason="staff") for each in which)
        if not done:
            raise CommandError("No message that waits matches.")
        self.stdout.write(f"{_shared.messages(done)} {'would be ' if options['dry_run'] else ''}cancelled.")


def _broad(options: dict[str, Any]) -> Q:
    which = Q()
    if options["type"] is not None:
        which &= Q(type=options["type"])
    if options["before"] is not None:
        which &= Q(created_at__lt=options["before"])
    return which
