from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from lib.commands import past_time
from users.management.commands._people import AccountCommand, add_limit
from users.models import UserSession
from users.services import staff

_FIELDS = ("id", "kind", "label", "ip", "amr", "created_at", "last_seen_at", "expires_at")


class Command(AccountCommand):
    help = "Who is signed in, where and since when: the live sessions, newest first."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", metavar="EMAIL", help="one person's alone")
        since_help = "seen since then: 2026-11-24, 2026-11-24T13:00, 36h, 7d"
        parser.add_argument("--since", type=past_time, metavar="WHEN", help=since_help)
        add_limit(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = UserSession.objects.live(timezone.now()).select_related("user").order_by("-created_at")
        if options["user"] is not None:
            found = found.filter(user=staff.find(options["user"]))
        if options["since"] is not None:
            found = found.filter(last_seen_at__gte=options["since"])
        rows = list(found[: options["limit"]])
        facts = [{"user": row.user.email, **{name: getattr(row, name) for name in _FIELDS}} for row in rows]
        lines = [
            f"{row.last_seen_at:%Y-%m-%d %H:%M} UTC  {row.kind:<5}  {row.ip or '-':<15}  {row.user.email}  {row.label}"
            for row in rows
        ]
        self.say(options, {"sessions": facts}, *lines)
