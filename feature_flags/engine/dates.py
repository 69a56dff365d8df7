"""Dates as moments on one line of integers, so that a comparison costs nothing and no year is out of reach."""

from __future__ import annotations

import re
from datetime import date

from feature_flags.engine.text import BLANKS

_SECOND = 2_000_000_000  # a leap second counts nanoseconds up to two billion
_EPOCH = 719_163 * 86_400  # 1970-01-01 from the ordinal 0
_CYCLE = 146_097  # days of 400 years

_VALUE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?(?:Z|[+-][0-9]{2}:[0-9]{2})")
_CONTEXT = re.compile(
    r"""B*([+-][0-9]+|[0-9]{1,4})B*-B*([0-9]{1,2})B*-B*([0-9]{1,2})[Tt ]
    B*([0-9]{1,2})B*:B*([0-9]{1,2})B*:B*([0-9]{1,2})(?:\.([0-9]+))?B*
    (?:[Uu][Tt][Cc]|[Zz]|([+\u2212-])([0-9]{2})[:b]*([0-5][0-9]))B*""".replace("B", f"[{BLANKS}]").replace("b", BLANKS),
    re.VERBOSE,
)


def looks_like_date(text: str) -> bool:
    """Whether a constraint's value is written as a date: RFC 3339, upper-case T and Z, no or three fraction digits."""
    return _VALUE.fullmatch(text) is not None


def now(seconds: float) -> int:
    """The moment of a clock, in whole seconds."""
    return (int(seconds) + _EPOCH) * _SECOND


def read_date(text: str) -> int | None:
    """The moment a text names; None when it names none. Blanks, other fractions and offsets without colon are fine."""
    found = _CONTEXT.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = found.groups()
    days = _days(year, int(month), int(day))
    seconds = _seconds(int(hour), int(minute), min(int(second), 59))
    if days is None or seconds is None or int(second) > 60:
        return None
    if sign:
        offset = _seconds(int(offset_hours), int(offset_minutes), 0)
        if offset is None:
            return None
        seconds -= offset if sign == "+" else -offset
    nanoseconds = int((fraction or "0")[:9].ljust(9, "0")) + (1_000_000_000 if int(second) == 60 else 0)
    return (days * 86_400 + seconds) * _SECOND + nanoseconds


def _days(year: str, month: int, day: int) -> int | None:
    if len(year) > 8 or not -262_143 <= int(year) <= 262_142:
        return None
    cycle, rest = divmod(int(year), 400)
    try:
        return date(rest + 400, month, day).toordinal() + (cycle - 1) * _CYCLE
    except ValueError:
        return None


def _seconds(hours: int, minutes: int, seconds: int) -> int | None:
    if hours > 23 or minutes > 59:
        return None
    return hours * 3600 + minutes * 60 + seconds
