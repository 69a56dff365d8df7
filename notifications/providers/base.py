"""The interface of all providers, the result into which they translate their answers, and how long to wait after it."""

from __future__ import annotations

import html
import random
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives

from lib import email_url
from lib.mail_providers import Capabilities
from lib.text import clean_text, printable, whole_number
from notifications.models import Attempt, Refusal
from notifications.registry import MASK, Backoff

TEXT_LIMIT = 500
LONGEST_WAIT = timedelta(hours=6)
#: What rows call them, by the name of Django's backend.
LOCAL = {"console": "console", "filebased": "file", "locmem": "memory", "dummy": "dummy"}


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Attempt.Outcome
    code: str = ""
    text: str = ""
    #: Of an accepted message: what is odd about it.
    reason: str = ""
    provider_message_id: str = ""
    #: The provider asked for this wait (Retry-After); it replaces the backoff.
    wait: timedelta | None = None
    #: Whether the attempt is held against the message; one that failed through the connection alone is not.
    counts: bool = True
    #: It may concern all mail: met by several recipients in a row, it pauses the channel.
    is_doubtful: bool = False
    #: The login or key was refused: trying again will not help, staff must act.
    needs_staff: bool = False
    #: An ambiguous one may be sent again: its type allows a second copy, or the provider would know it again.
    may_repeat: bool = True
    #: Of a refused recipient: what it means for the address.
    refusal: Refusal | None = None


class NotHandedOver(Exception):
    """Ends a try before anything was handed over."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.code)
        self.result = result


class ProviderDown(NotHandedOver):
    """The way out cannot be used at all; no message is to blame."""

    def __init__(self, code: str, text: str, *, needs_staff: bool = False) -> None:
        super().__init__(Result(Attempt.Outcome.TRANSPORT_DOWN, code, text, needs_staff=needs_staff))


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

    def ready(self) -> None:
        """Have a connection that answers, or raise ProviderDown: so a dead one is never taken for a lost message."""
        if self.backend is None:
            try:
                self.backend = email_url.create_backend()
                self.backend.open()
            except Exception as error:
                self.close()
                raise ProviderDown(type(error).__name__, str(error)) from None

    def takes_more(self) -> bool:
        """Whether `ready` has nothing to do."""
        return self.backend is not None

    @abstractmethod
    def send(self, payload: Payload) -> Result:
        """Hand it over and return the result; never raises."""

    def close(self) -> None:
        backend, self.backend = self.backend, None
        if backend is not None:
            backend.fail_silently = True
            backend.close()


class LocalProvider(Provider):
    """Mail that stays here: console, file, memory, nowhere."""

    def __init__(self, alias: str) -> None:
        super().__init__()
        self.alias = alias

    def pack(self, mail: EmailMultiAlternatives, *, uid: str, tag: str) -> Payload:
        mail.message()
        return Payload(mail)

    def send(self, payload: Payload) -> Result:
        try:
            if self.alias == "console" and sys.stdout.isatty():
                print(_for_a_terminal(payload.mail), flush=True)
            else:
                self.backend.send_messages([payload.mail])
        except Exception as error:
            # Half of it may have been written.
            self.close()
            return Result(Attempt.Outcome.AMBIGUOUS, type(error).__name__, str(error))
        return Result(Attempt.Outcome.ACCEPTED)


def _for_a_terminal(mail: EmailMultiAlternatives) -> str:
    """Subject, recipients and text. Names come from strangers: nothing in them moves the cursor."""
    lines = [f"Subject: {mail.subject}", f"To: {', '.join(mail.to)}", "", *str(mail.body).strip().splitlines()]
    rule = "-" * 72
    return "\n".join((rule, *map(printable, lines), rule))


# --- Text and waits ---------------------------------------------------------------------------------------------------


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text as it may be stored: no secret in any spelling it was sent in, no NUL, at most 500 characters."""
    for secret in secrets:
        try:
            # A link is also known by the token in it.
            tokens = [value for _, value in parse_qsl(urlsplit(secret).query)]
        except ValueError:
            tokens = []
        for spelling in (secret, html.escape(secret), *tokens):
            if spelling:
                text = text.replace(spelling, MASK)
    return clean_text(text)[:TEXT_LIMIT]


def wait_after(attempt: int, backoff: Backoff) -> timedelta:
    """How long to wait after the n-th attempt, plus or minus a fifth, so that many do not come at once."""
    first, factor = (5.0, 3) if backoff == "prompt" else (30.0, 4)
    seconds = min(first * factor ** min(attempt - 1, 20), LONGEST_WAIT.total_seconds())
    scale = settings.NOTIFICATIONS_BACKOFF_SCALE * random.uniform(0.8, 1.2)  # noqa: S311  (spreads load, hides nothing)
    return timedelta(seconds=seconds * scale)


def retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """The wait that a Retry-After header asks for, seconds or a date, never more than six hours."""
    text = (value or "").strip()
    if (seconds := whole_number(text, digits=100)) is not None:
        return timedelta(seconds=min(seconds, LONGEST_WAIT.total_seconds()))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(moment - (now or datetime.now(UTC)), timedelta(0)), LONGEST_WAIT)
