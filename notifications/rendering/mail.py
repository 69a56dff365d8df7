"""From a row to the mail that leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.policy import EmailPolicy
from email.utils import format_datetime, formataddr, parseaddr
from typing import TYPE_CHECKING, Any

import django
from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from lib.addresses import ascii_form
from notifications import registry
from notifications.rendering.render import Rendered, of_message

if TYPE_CHECKING:
    from notifications.models import Message


class MailPolicy(EmailPolicy):
    """Folds no header that is ASCII and fits a line of 998 characters (RFC 5322, 2.1.1).

    Python would turn a word longer than its line, such as the address in List-Unsubscribe, into encoded words, which
    that header does not allow (RFC 8058).
    """

    def fold(self, name: str, value: Any) -> str:
        return f"{name}: {value}{self.linesep}" if _fits(name, value) else super().fold(name, value)

    def fold_binary(self, name: str, value: Any) -> bytes:
        return self.fold(name, value).encode() if _fits(name, value) else super().fold_binary(name, value)


def _fits(name: str, value: Any) -> bool:
    line = f"{name}: {value}"
    return line.isascii() and len(line) <= 998


class Mail(EmailMultiAlternatives):
    """A mail that knows what it was made of."""

    rendered: Rendered

    def message(self, **options: Any) -> Any:
        """The MIME message: Python's EmailMessage from Django 6.0 on, its older kind before."""
        if django.VERSION >= (6, 0):
            options.setdefault("policy", MailPolicy())
        return super().message(**options)


def build(message: Message, secrets: Mapping[str, str], *, date: datetime) -> Mail:
    """The mail of a row: one recipient, text first, and the same Message-ID at every try."""
    return compose(message, of_message(message, secrets), date=date)


def compose(message: Message, body: Rendered, *, date: datetime) -> Mail:
    """The headers of a row around a body."""
    headers = {
        "Message-ID": message.message_id,
        "Date": format_datetime(date),
        "Auto-Submitted": "auto-generated",
    }
    if not registry.get(message.type).required:
        from notifications.services.preferences import list_unsubscribe_headers

        headers |= list_unsubscribe_headers(message)
    mail = Mail(
        subject=body.subject,
        body=body.text,
        from_email=_header(*parseaddr(settings.DEFAULT_FROM_EMAIL)),
        to=[_header(message.to_name, message.to_address)],
        headers=headers,
        reply_to=[_header(*parseaddr(reply_to))] if (reply_to := settings.NOTIFICATIONS_REPLY_TO) else None,
    )
    mail.attach_alternative(body.html, "text/html")
    mail.rendered = body
    return mail


def _header(name: str, address: str) -> str:
    """Name and address, the domain as mail servers know it."""
    address = ascii_form(address)
    return formataddr((name, address)) if address.isascii() else address
