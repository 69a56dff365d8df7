"""The interface of all providers, and what they can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.mail import EmailMultiAlternatives

from notifications.outcomes import Result


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a provider takes: nothing else is sent to it. The defaults are those of a mail server."""

    metadata: bool = False
    tags: bool = False
    custom_headers: bool = True
    keeps_message_id: bool = True
    keeps_date: bool = True
    #: How long it knows a message again by its uid, so that a second hand-over is not a second copy.
    remembers_for: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Payload:
    """A mail encoded for one provider."""

    mail: EmailMultiAlternatives
    uid: str = ""
    envelope: tuple[str, str] = ("", "")
    data: bytes = b""


class Provider(ABC):
    """Belongs to one thread. `alias` is what rows and metrics call it."""

    alias: str
    capabilities = Capabilities()

    def __init__(self) -> None:
        self.backend: Any = None

    @abstractmethod
    def pack(self, mail: EmailMultiAlternatives, *, uid: str, tag: str) -> Payload:
        """Encode it; raises what is wrong with the mail."""

    @abstractmethod
    def ready(self) -> None:
        """Have a connection that answers, or raise TransportDown: so a dead one is never taken for a lost message."""

    @abstractmethod
    def send(self, payload: Payload) -> Result:
        """Hand it over and return the result; never raises."""

    def close(self) -> None:
        backend, self.backend = self.backend, None
        if backend is not None:
            backend.fail_silently = True
            backend.close()
