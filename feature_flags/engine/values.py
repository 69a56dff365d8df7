"""What the texts of a flag and of a context stand for: numbers, dates, versions, networks, payloads. The reference
engine writes texts into a rule language of its own and refuses some: such a flag is off in every SDK built on it, so
it is off here too, and the `require_` functions raise Broken."""

from __future__ import annotations

import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any

from feature_flags.engine.model import Broken, Definition, Variant

# What counts as blank when lists are split: Unicode's White_Space. Python's own strip() also takes \x1c to \x1f.
BLANKS = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))

_BARE_QUOTE = re.compile(r'(?<!\\)"')


def require_text(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Broken(f"{what} is no text")
    return value


def require_entry(value: object, what: str) -> str:
    """A value of a list: any text without a backslash at its end."""
    text = require_text(value, what)
    if text.endswith("\\"):
        raise Broken(f"{what} ends with a backslash: {text}")
    return text


def require_name(value: object, what: str) -> str:
    """A name or group: no backslash at its end, and a backslash before every quote."""
    text = require_entry(value, what)
    if '"' in text and _BARE_QUOTE.search(text):
        raise Broken(f"{what} holds a quote: {text}")
    return text


def require_hashable(value: object, what: str) -> str:
    """A text with a UTF-8 form. Half a surrogate pair has none and would fail at the first evaluation, not here."""
    text = require_text(value, what)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Broken(f"{what} is no valid Unicode") from None
    return text


def split_list(value: str) -> list[str]:
    """The pieces between commas, trimmed; an empty text is one empty piece."""
    return [piece.strip(BLANKS) for piece in value.split(",")]


# --- Numbers: strict in a constraint, lenient in a context ------------------------------------------------------------

# No part of it can match the same digits in two ways: a caller's long number must not take quadratic time.
_CONTEXT_NUMBER = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII
)
_VALUE_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")


def read_number(text: str) -> float | None:
    """A number in a context; None when it is none. Python's float() alone would take blanks, `1_0` and other digits."""
    return float(text) if _CONTEXT_NUMBER.fullmatch(text) else None


def value_number(text: str) -> float | None:
    """A number in a constraint, already trimmed: a digit must come first."""
    return float(text) if _VALUE_NUMBER.fullmatch(text) else None


def equal(given: float, expected: float) -> bool:
    """Equal numbers may differ by less than epsilon."""
    return abs(given - expected) < sys.float_info.epsilon


# --- Dates: as whole numbers, so that they compare quickly and no year is out of range --------------------------------

_SECOND = 2_000_000_000  # a leap second counts nanoseconds up to two billion
_EPOCH = 719_163 * 86_400  # 1970-01-01 from the ordinal 0
_CYCLE = 146_097  # days of 400 years

#: A match where a constraint's value is written as a date: RFC 3339, upper-case T and Z, no or three fraction digits.
looks_like_date = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{3})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_CONTEXT_DATE = re.compile(
    r"""B*([+-][0-9]+|[0-9]{1,4})B*-B*([0-9]{1,2})B*-B*([0-9]{1,2})[Tt ]
    B*([0-9]{1,2})B*:B*([0-9]{1,2})B*:B*([0-9]{1,2})(?:\.([0-9]+))?B*
    (?:[Uu][Tt][Cc]|[Zz]|([+\u2212-])([0-9]{2})[:b]*([0-5][0-9]))B*""".replace("B", f"[{BLANKS}]").replace("b", BLANKS),
    re.VERBOSE,
)


def date_of(seconds: float) -> int:
    """The date of a Unix time, in whole seconds."""
    return (int(seconds) + _EPOCH) * _SECOND


def read_date(text: str) -> int | None:
    """The date a text stands for, or None. Blanks, other fractions and offsets without colon are allowed."""
    found = _CONTEXT_DATE.fullmatch(text)
    # Years of the reference engine; eight signs first, since int() refuses texts of some thousand.
    if found is None or len(found[1]) > 8 or not -262_143 <= int(found[1]) <= 262_142:
        return None
    hour, minute, second, offset_hours, offset_minutes = (int(part or 0) for part in found.group(4, 5, 6, 9, 10))
    if max(hour, offset_hours) > 23 or max(minute, offset_minutes) > 59 or second > 60:
        return None
    cycle, year = divmod(int(found[1]), 400)
    try:
        days = date(year + 400, int(found[2]), int(found[3])).toordinal() + (cycle - 1) * _CYCLE
    except ValueError:
        return None
    offset = (offset_hours * 60 + offset_minutes) * 60
    seconds = (days * 24 + hour) * 3600 + minute * 60 + min(second, 59) - (offset if found[8] == "+" else -offset)
    nanoseconds = int((found[7] or "0")[:9].ljust(9, "0")) + (1_000_000_000 if second == 60 else 0)
    return seconds * _SECOND + nanoseconds


# --- Semantic versions 2.0: as keys that compare ----------------------------------------------------------------------

Version = tuple[Any, ...]

#: A match where a constraint's value has the form of a version, leading zeros allowed.
looks_like_version = re.compile(
    r"[0-9]+\.[0-9]+\.[0-9]+(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
).fullmatch
_NUMBER = r"(0|[1-9][0-9]*)"
_PART = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_STRICT_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-({_PART}(?:\.{_PART})*))?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


def read_version(text: str) -> Version | None:
    """A key that sorts as versions do, without build metadata; None for a text that is no version."""
    found = _STRICT_VERSION.fullmatch(text)
    # Twenty digits first: int() refuses texts of some thousand.
    if found is None or max(map(len, found.group(1, 2, 3))) > 20:
        return None
    key = tuple(map(int, found.group(1, 2, 3)))
    if max(key) >= 2**64:
        return None
    if not found[4]:
        return *key, (1,)
    # Numbers below words, numbers by size (length first: they may be of any), words by ASCII, shorter lists first.
    parts = ((0, len(part), part) if part.isdigit() else (1, 0, part) for part in found[4].split("."))
    return *key, (0, *parts)


# --- Addresses and networks: a v4 address inside a v6 one stays a v6 address ------------------------------------------

_PREFIX = re.compile(r"\+?[0-9]+")


def _ones(length: int, v6: bool) -> int:
    width = 128 if v6 else 32
    return (1 << width) - (1 << (width - length))


_V4_MASKS = frozenset(_ones(length, False) for length in range(33))

# By version: for each mask the networks that have it.
Networks = dict[bool, list[tuple[int, frozenset[int]]]]


def read_address(text: str) -> int | None:
    """The number of an address (its version shows in its colon); None for other texts."""
    # Not `ipaddress`: it takes twenty times as long, and a zone where none belongs.
    try:
        return int.from_bytes(inet_pton(AF_INET6 if ":" in text else AF_INET, text), "big")
    except (OSError, ValueError):
        return None


def read_network(text: str) -> tuple[bool, int, int] | None:
    """(is it v6, mask, network) of an address or CIDR, host bits allowed; None for other texts."""
    address, slash, prefix = text.partition("/")
    v6 = ":" in address
    number, length = read_address(address), 128 if v6 else 32
    if _PREFIX.fullmatch(prefix):
        given = int(prefix.lstrip("+0")[:4] or "0")
        mask = _ones(given, v6) if given <= length else None
    elif slash:  # v4 takes a mask, too, such as 255.255.0.0
        mask = None if v6 or ":" in prefix else read_address(prefix)
        mask = mask if mask in _V4_MASKS else None
    else:
        mask = _ones(length, v6)
    return None if number is None or mask is None else (v6, mask, number & mask)


def read_networks(texts: Iterable[str]) -> Networks:
    """Networks grouped for `contains`; invalid ones are left out."""
    groups: dict[bool, dict[int, set[int]]] = {False: defaultdict(set), True: defaultdict(set)}
    for v6, mask, network in filter(None, map(read_network, texts)):
        groups[v6][mask].add(network)
    return {v6: [(mask, frozenset(found)) for mask, found in masks.items()] for v6, masks in groups.items()}


def contains(networks: Networks, text: str) -> bool:
    """Whether a text is an address in one of the networks."""
    address = read_address(text)
    return address is not None and any(address & mask in found for mask, found in networks[":" in text])


# --- Payloads ---------------------------------------------------------------------------------------------------------

_READERS: dict[str, Callable[[str], Any]] = {"string": str, "integer": int, "float": float, "object": json.loads}


def read_payload(text: str, value_type: str) -> Any:
    """The value that a payload's text stands for, of any type but boolean; ValueError."""
    if value_type == "integer" and not re.fullmatch(r"-?[0-9]{1,4000}", text, re.ASCII):
        raise ValueError(text)
    try:
        value = _READERS[value_type](text)
    except RecursionError:
        raise ValueError(text) from None
    if value_type == "float" and not math.isfinite(value):
        raise ValueError(text)
    if value_type == "object" and not isinstance(value, dict | list):
        raise ValueError(text)
    return value


def value_of(definition: Definition, variant: Variant) -> Any:
    """The value of a flag that is on with this variant; Broken when the payload is not of the declared type.

    A boolean flag is True. The others have their off value without payload, so that a caller never gets another type
    than the declared one.
    """
    if definition.value_type == "boolean":
        return True
    if variant.payload is None:
        return definition.off_value
    text = require_text(variant.payload.get("value"), f"the payload of variant {variant.name}")
    if definition.value_type not in _READERS:
        raise Broken(f"unknown type {definition.value_type}")
    try:
        return read_payload(text, definition.value_type)
    except ValueError:
        raise Broken(f"the payload of variant {variant.name} is not of type {definition.value_type}") from None
