"""Mail that stays here: console, file, memory, nowhere."""

from __future__ import annotations

from django.core.mail import EmailMultiAlternatives

from lib import email_url
from notifications.models import Attempt
from notifications.outcomes import Result, TransportDown
from notifications.providers.base import Payload, Provider

LOCAL = {"console": "console", "filebased": "file", "locmem": "memory", "dummy": "dummy"}


class LocalProvider(Provider):
    def __init__(self, alias: str) -> None:
        super().__init__()
        self.alias = alias

    def pack(self, mail: EmailMultiAlternatives, *, uid: str, tag: str) -> Payload:
        mail.message()
        return Payload(mail)

    def ready(self) -> None:
        if self.backend is None:
            try:
                self.backend = email_url.create_backend()
                self.backend.open()
            except Exception as error:
                self.close()
                raise TransportDown(type(error).__name__, str(error)) from None

    def send(self, payload: Payload) -> Result:
        try:
            self.backend.send_messages([payload.mail])
        except Exception as error:
            # Half of it may have been written.
            self.close()
            return Result(Attempt.Outcome.AMBIGUOUS, type(error).__name__, str(error))
        return Result(Attempt.Outcome.ACCEPTED)
