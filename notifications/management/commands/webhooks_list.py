"""`manage.py webhooks_list`: the endpoints of webhooks, and how they are doing."""

from __future__ import annotations

from typing import Any

from django.db.models import Count, Q

from lib import commands
from lib.text import printable
from notifications.models import WebhookEndpoint


class Command(commands.Command):
    help = "List the endpoints of webhooks: number, state, what waits and what failed, name, address, events."

    def handle(self, *args: Any, **options: Any) -> None:
        counts = {
            "waits": Count("deliveries", filter=Q(deliveries__due_at__isnull=False)),
            "failed": Count("deliveries", filter=Q(deliveries__state="failed")),
        }
        rows: Any = WebhookEndpoint.objects.annotate(**counts).order_by("pk")
        for row in rows:
            state = f"paused ({row.paused_reason})" if row.paused_at else "failing" if row.failures else "open"
            about = f"{row.pk}  {state}, {row.waits} wait, {row.failed} failed  {row.name}  {row.url}"
            self.stdout.write(printable(f"{about}  {','.join(row.events)}"))
