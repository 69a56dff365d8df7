"""Numbers: strict where staff typed them, lenient where a context brings them."""

from __future__ import annotations

import re
import sys

# Equal numbers may differ by less than this.
EPSILON = sys.float_info.epsilon

# No part of it can match the same digits in two ways: a stranger's long number must not take quadratic time.
_CONTEXT = re.compile(
    r"[+-]?(?:(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII
)
_VALUE = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?")


def read_number(text: str) -> float | None:
    """A number in a context; None when it is none. Python's float() alone would take blanks, `1_0` and other digits."""
    return float(text) if _CONTEXT.fullmatch(text) else None


def value_number(text: str) -> float | None:
    """A number in a constraint, already trimmed: a digit must come first."""
    return float(text) if _VALUE.fullmatch(text) else None


def equal(given: float, expected: float) -> bool:
    return abs(given - expected) < EPSILON
