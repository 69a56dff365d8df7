"""`manage.py notifications_preview TYPE`: a mail as files, made of its sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from lib import commands
from notifications import registry
from notifications.models import Message
from notifications.registry import EMAIL
from notifications.rendering import engines, render
from notifications.rendering.render import compose
from notifications.services.outbox import sending_domain


class Command(commands.Command):
    help = "Write a mail as it would be sent: subject.txt, body.txt, body.html and message.eml, made of its sample."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("type", metavar="TYPE", help="such as users.welcome")
        parser.add_argument("--lang", choices=engines.languages(), default=engines.languages()[0])
        parser.add_argument("--out", metavar="DIR", required=True, type=Path, help="made when it is not there")

    def handle(self, *args: Any, **options: Any) -> None:
        if (kind := registry.find(options["type"])) is None:
            raise CommandError(f"{options['type']!r} is not a declared notification type.")
        if EMAIL not in kind.channels:
            raise CommandError(f"{kind.code} is not sent by mail.")
        files = _files(kind, options["lang"])
        folder: Path = options["out"]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (folder / name).write_bytes(content)
        except OSError as error:
            raise CommandError(f"{folder} cannot be written: {error.strerror}.") from None
        for name in files:
            self.stdout.write(str(folder / name))


def _files(kind: registry.NotificationType, language: str) -> dict[str, bytes]:
    recipient = {"to_name": "Ada Lovelace", "to_address": "ada@example.org"}
    message = Message(type=kind.code, category=kind.category, language=language, **recipient)
    message.message_id = f"<sample@{sending_domain()}>"
    try:
        body = render.render(kind, engines.sample(kind), language=language)
        mail = compose(message, body, date=timezone.now()).message()
    except Exception as error:
        # Whatever a template or sample does wrong; it holds made-up values only.
        raise CommandError(f"{kind.code} cannot be rendered: {type(error).__name__}: {error}") from None
    return {
        "subject.txt": f"{body.subject}\n".encode(),
        "body.txt": body.text.encode(),
        "body.html": body.html.encode(),
        "message.eml": mail.as_bytes(),
    }
