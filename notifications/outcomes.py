"""What a try came to, told from what the mail server or the library said, and how long to wait after it."""

from __future__ import annotations

import html
import random
import smtplib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

from notifications.models import Attempt
from notifications.registry import Backoff

MASK = "••••••"
TEXT_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Result:
    outcome: Attempt.Outcome
    code: str = ""
    text: str = ""


class TransportDown(Exception):
    """The mail server cannot be used at all; no message is to blame."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(type(cause).__name__)
        self.result = Result(Attempt.Outcome.TRANSPORT_DOWN, _code(cause), _text(cause))


def of_sending(error: Exception) -> Result:
    """Classify what sending one message raised, once the connection stood."""
    reply = _reply(error)
    if reply is None:
        # Closed, timed out or something unforeseen: the message may have been accepted all the same.
        return Result(Attempt.Outcome.AMBIGUOUS, _code(error), _text(error))
    outcome = Attempt.Outcome.PERMANENT
    if reply == 421:
        outcome = Attempt.Outcome.TRANSPORT_DOWN
    elif 400 <= reply < 500:
        outcome = Attempt.Outcome.TEMPORARY
    return Result(outcome, _code(error), _text(error))


def _reply(error: BaseException) -> int | None:
    """The SMTP reply code; of several refused recipients the first, as each message has one."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return next((int(code) for code, _ in error.recipients.values()), None)
    if isinstance(error, smtplib.SMTPResponseException) and error.smtp_code >= 400:
        return error.smtp_code
    return None


def _code(error: BaseException) -> str:
    reply = _reply(error)
    return type(error).__name__ if reply is None else str(reply)


def _text(error: BaseException) -> str:
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return " ".join(_readable(words) for _, words in error.recipients.values())
    if isinstance(error, smtplib.SMTPResponseException):
        return _readable(error.smtp_error)
    return str(error)


def _readable(words: bytes | str) -> str:
    return words.decode("utf-8", "replace") if isinstance(words, bytes) else str(words)


def scrub(text: str, secrets: Iterable[str]) -> str:
    """The text as it may be stored: no secret in any spelling it was sent in, no NUL, at most 500 characters."""
    for secret in secrets:
        values = (value for _, value in parse_qsl(urlsplit(secret).query))
        for spelling in (secret, html.escape(secret), *values):
            if spelling:
                text = text.replace(spelling, MASK)
    return text.replace("\x00", "")[:TEXT_LIMIT]


def wait_after(attempt: int, backoff: Backoff) -> timedelta:
    """How long to wait after the n-th attempt, give or take a fifth so that a crowd does not return as one."""
    if backoff == "prompt":
        seconds = min(5.0 * 3 ** (attempt - 1), 6 * 3600)
    else:
        seconds = min(30.0 * 4 ** (attempt - 1), 6 * 3600)
    return timedelta(seconds=seconds * random.uniform(0.8, 1.2))  # noqa: S311  (spreads load, hides nothing)
