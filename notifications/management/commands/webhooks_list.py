"""`manage.py webhooks_list`: the endpoints of webhooks, and how they are doing."""

from __future__ import annotations

from typing import Any

from lib import commands
from lib.text import printable
from notifications.models import WebhookDelivery, WebhookEndpoint


class Command(commands.Command):
    help = "List the endpoints of webhooks: number, state, what waits and what failed, name, address, events."

    def handle(self, *args: Any, **options: Any) -> None:
        for row in WebhookEndpoint.objects.order_by("pk"):
            # Each by its index; together they would read all that was delivered.
            waits = row.deliveries.filter(due_at__isnull=False).count()
            failed = row.deliveries.filter(state=WebhookDelivery.State.FAILED).count()
            state = f"paused ({row.paused_reason})" if row.paused_at else "failing" if row.failures else "open"
            about = f"{row.pk}  {state}, {waits} wait, {failed} failed  {row.name}  {row.url}"
            self.stdout.write(printable(f"{about}  {','.join(row.events)}"))
