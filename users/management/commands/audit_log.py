import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from lib.commands import past_time
from lib.text import printable
from users.audit_events import EVENTS
from users.management.commands._people import AccountCommand, add_limit
from users.models import AuditEvent
from users.services import audit

_FIELDS = ("at", "event", "outcome", "user_id", "actor", "door", "session_id", "ip", "user_agent", "request_id", "data")


class Command(AccountCommand):
    help = "What happened to accounts, newest first. An address without an account can be asked about too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--user", metavar="EMAIL", help="events about one address")
        since_help = "2026-11-24, 2026-11-24T13:00, or an age: 90m, 36h, 7d"
        parser.add_argument("--since", type=past_time, metavar="WHEN", help=since_help)
        parser.add_argument("--event", metavar="NAME", help="such as login.failed, or the beginning of one: login")
        parser.add_argument("--outcome", choices=AuditEvent.Outcome.values)
        parser.add_argument("--door", choices=AuditEvent.Door.values)
        add_limit(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        found = AuditEvent.objects.order_by("-id")
        if options["user"] is not None:
            found = audit.about(options["user"])
        if (name := options["event"]) is not None:
            names = [event for event in EVENTS if event == name or event.startswith(f"{name}.")]
            if not names:
                raise CommandError(f"No event {printable(name)}.", returncode=2)
            found = found.filter(event__in=names)
        if options["since"] is not None:
            found = found.filter(at__gte=options["since"])
        for field in ("outcome", "door"):
            if options[field]:
                found = found.filter(**{field: options[field]})
        rows = list(found[: options["limit"]])
        facts = [{name: getattr(row, name) for name in _FIELDS} for row in rows]
        lines = []
        for row in rows:
            whose = row.user_id.hex if row.user_id else "-"
            actor = "" if row.actor == whose else f" by {row.actor}" if row.actor else ""
            data = f" {json.dumps(row.data)}" if row.data else ""
            what = f"{row.event} {row.outcome}  {whose}{actor}  {row.door} {row.ip or '-'}{data}"
            lines.append(f"{row.at:%Y-%m-%d %H:%M:%S} UTC  {what}")
        self.say(options, {"events": facts}, *lines)
