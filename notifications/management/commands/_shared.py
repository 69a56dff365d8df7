"""What several commands of messages share."""

from __future__ import annotations

import argparse
import re
from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime

from lib.text import is_storable

_SPAN = re.compile(r"([1-9]\d{0,4})([mhd])", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def moment(text: str) -> datetime:
    """A type for argparse: `2h` ago, a date, or a date and time (UTC unless it says otherwise)."""
    try:
        if span := _SPAN.fullmatch(text):
            return timezone.now() - timedelta(**{_UNITS[span[2]]: int(span[1])})
        day = parse_date(text)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC) if day else parse_datetime(text)
        if at:
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        pass
    raise argparse.ArgumentTypeError("give a time such as 2h (ago), 2026-01-31 or 2026-01-31T12:00:00Z")


def word(text: str) -> str:
    """A type for argparse: a text that a database can compare."""
    if not is_storable(text):
        raise argparse.ArgumentTypeError("give readable text")
    return text


def messages(count: int) -> str:
    return f"{count} message{'' if count == 1 else 's'}"
