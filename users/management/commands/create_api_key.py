"""Make an API key for a service account or a person, and print it: it is not kept."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from lib.commands import Command as Base
from lib.commands import storable_text, whole_number_from
from users.models import SERVICE_DOMAIN
from users.services import api_keys, staff


class Command(Base):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("owner", help="the name of a service account, or an address")
        parser.add_argument("--scope", action="append", required=True, help="once for each, as `flags:switch`")
        parser.add_argument("--name", default="command line", type=storable_text, help="what uses it")
        parser.add_argument("--network", action="append", default=[], help="once for each it may be used from")
        days = whole_number_from(1, api_keys.MOST_DAYS)
        parser.add_argument("--days", type=days, default=api_keys.DAYS, help="how long it lasts")

    def handle(self, *args: Any, **options: Any) -> None:
        owner = options["owner"]
        given = {"name": options["name"], "scopes": options["scope"], "networks": options["network"]}
        ends_at = timezone.now() + timedelta(days=options["days"])
        user = staff.find(owner if "@" in owner else f"{owner}@{SERVICE_DOMAIN}")
        _key, secret = api_keys.create(user, **given, expires_at=ends_at, actor=self.actor)
        self.stdout.write(secret)
