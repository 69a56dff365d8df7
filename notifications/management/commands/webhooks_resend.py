"""`manage.py webhooks_resend`: send failed deliveries of webhooks again."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from lib import commands, db
from lib.errors import ProductError
from notifications.models import WebhookDelivery
from notifications.services import endpoints


class Command(commands.Command):
    help = "Send failed deliveries of webhooks again, with the webhook-id they had."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add, ended = parser.add_argument, "only those that failed since (2h, 3d, a date)"
        numbers = commands.whole_number_from(1, 2**62)
        add("--endpoint", type=numbers, metavar="NUMBER", help="only to this one, by its number in webhooks_list")
        add("--since", type=commands.past_time, metavar="TIME", help=ended)
        add("--dry-run", action="store_true", help="say how many, change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        rows = WebhookDelivery.objects.filter(state="failed", endpoint__deleted_at=None).select_related("endpoint")
        if options["endpoint"]:
            rows = rows.filter(endpoint=options["endpoint"])
        if options["since"]:
            rows = rows.filter(finished_at__gte=options["since"])
        pks = list(rows.order_by("pk").values_list("pk", flat=True))
        if not options["dry_run"]:
            pks = [row.pk for part in db.batches(pks) for row in rows.filter(pk__in=part) if self._resend(row)]
        verb = "would be sent again" if options["dry_run"] else "queued again"
        self.stdout.write(f"{len(pks)} deliver{'y' if len(pks) == 1 else 'ies'} {verb}.")

    def _resend(self, row: WebhookDelivery) -> bool:
        try:
            endpoints.resend(row, actor=self.actor)
        except ProductError:
            # Staff were quicker.
            return False
        return True
