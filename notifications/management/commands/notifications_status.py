"""`manage.py notifications_status`: is mail flowing? For people, and with --json for monitoring."""

from __future__ import annotations

from json import dumps
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from lib import commands
from notifications.services import health


class Command(commands.Command):
    help = "Say what waits, who sends and which provider is paused; exit 1 when mail does not flow."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one object on one line")
        seconds, text = commands.whole_number_from(0, 999_999_999), "how long a message may have been due"
        parser.add_argument("--max-age", type=seconds, default=300, metavar="SECONDS", help=f"{text} (default: 300)")

    def handle(self, *args: Any, json: bool, max_age: int, **options: Any) -> None:
        status = health.status()
        self.stdout.write(dumps(status, separators=(", ", ": ")) if json else _text(status))
        self.stdout.flush()
        troubles = [f"The provider {row['alias']} is paused." for row in status["providers"] if row["paused"]]
        if status["oldest_due_seconds"] > max_age:
            troubles.append(f"A message has been due for more than {max_age} seconds.")
        if troubles:
            raise CommandError(" ".join(troubles))


def _text(status: dict[str, Any]) -> str:
    lines = [
        f"engine     {settings.NOTIFICATIONS_ENGINE}",
        *(f"{state:<10} {count}" for state, count in status["states"].items()),
        f"oldest due {status['oldest_due_seconds']:g} s",
    ]
    for row in status["providers"]:
        until = f" until {row['paused_until'] or 'staff resume'}: {row['reason']}" if row["paused"] else ""
        lines.append(f"provider   {row['alias']} {'paused' if row['paused'] else 'ok'}{until}")
    for row in status["workers"]:
        lines.append(
            f"worker     {row['host']}:{row['pid']} {row['engine']}, last sign of life {row['beat_seconds']:g} s ago, "
            f"{row['sent']} sent, {row['failed']} failed"
        )
    return "\n".join(lines)
