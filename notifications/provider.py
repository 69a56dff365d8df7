"""The way out: one connection of Django's e-mail backend, kept while there is something to send."""

from __future__ import annotations

import smtplib
from typing import Any

from django.core.mail import EmailMultiAlternatives, get_connection

from notifications import outcomes
from notifications.models import Attempt
from notifications.outcomes import Result, TransportDown

#: Servers limit the messages of one connection, commonly at 100.
PER_CONNECTION = 100


class Provider:
    """Belongs to one thread."""

    def __init__(self) -> None:
        self.backend: Any = None
        self.sent = 0

    def ready(self) -> None:
        """Have a connection that answers, or raise TransportDown: so a dead one is never taken for a lost message."""
        if self.backend is not None and (self.sent >= PER_CONNECTION or not self._answers()):
            self.close()
        if self.backend is None:
            self.backend, self.sent = get_connection(fail_silently=False), 0
            try:
                self.backend.open()
            except Exception as error:
                # Name, route, TLS, greeting, login: whatever it was, the next message would meet it too.
                self.close()
                raise TransportDown(error) from None

    def send(self, mail: EmailMultiAlternatives) -> Result:
        """Hand the mail over and tell what came of it; never raises."""
        try:
            self.backend.send_messages([mail])
        except Exception as error:
            result = outcomes.of_sending(error)
            if result.outcome not in {Attempt.Outcome.TEMPORARY, Attempt.Outcome.PERMANENT}:
                self.close()
            return result
        self.sent += 1
        return Result(Attempt.Outcome.ACCEPTED)

    def close(self) -> None:
        backend, self.backend = self.backend, None
        if backend is not None:
            backend.fail_silently = True
            backend.close()

    def _answers(self) -> bool:
        link = getattr(self.backend, "connection", None)
        if not isinstance(link, smtplib.SMTP):
            return True  # console, file and memory have nobody at the other end
        try:
            return link.rset()[0] == 250
        except (smtplib.SMTPException, OSError):
            return False
