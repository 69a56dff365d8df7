"""The result of an attempt, and how long to wait after it. The providers translate their answers into these."""

from __future__ import annotations

import html
import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings

from lib.text import clean_text, whole_number
from notifications.models import Attempt, Refusal
from notifications.registry import Backoff

MASK = "••••••"
TEXT_LIMIT = 500
LONGEST_WAIT = timedelta(hours=6)

UNVERIFIED = "unverified"


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


class Answer(Exception):
    """Ends a try before anything was handed over."""

    def __init__(self, result: Result) -> None:
        super().__init__(result.code)
        self.result = result


class TransportDown(Answer):
    """The way out cannot be used at all; no message is to blame."""

    def __init__(self, code: str, text: str, *, needs_staff: bool = False) -> None:
        super().__init__(Result(Attempt.Outcome.TRANSPORT_DOWN, code, text, needs_staff=needs_staff))


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text as it may be stored: no secret in any spelling it was sent in, no NUL, at most 500 characters."""
    for secret in secrets:
        for spelling in (secret, html.escape(secret), *_query_values(secret)):
            if spelling:
                text = text.replace(spelling, MASK)
    return clean_text(text)[:TEXT_LIMIT]


def _query_values(secret: str) -> list[str]:
    """A link is also known by the token in it."""
    try:
        return [value for _, value in parse_qsl(urlsplit(secret).query)]
    except ValueError:
        return []


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
