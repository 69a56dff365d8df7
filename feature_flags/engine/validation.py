"""What a form refuses in a constraint: all that breaks a flag, and all that would never do what its author meant."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from feature_flags.engine.constraints import BY_NAME, Operator
from feature_flags.engine.patterns import compile_pattern
from feature_flags.engine.values import (
    BLANKS,
    looks_like_date,
    looks_like_version,
    read_date,
    read_network,
    read_version,
    value_number,
)

MAX_VALUES = 5_000
MAX_FIELD = 100
MAX_PATTERN = 1_000

# Neither PostgreSQL nor UTF-8 can hold them. Not from `lib`, which knows Django: the engine is pure.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

Problem = tuple[str, str]


def constraint_problems(constraint: Mapping[str, Any]) -> list[Problem]:
    """What is wrong, as (key, sentence) with the keys of the document; empty when a form may take it."""
    problems = _field_problems(constraint.get("contextName"))
    operator = BY_NAME.get(str(constraint.get("operator") or ""))
    if operator is None:
        return [*problems, ("operator", "Choose one of the operators offered.")]
    problems += _values_problems(constraint, operator) if operator.many else _value_problems(constraint, operator)
    if constraint.get("caseInsensitive") and not operator.has_case:
        problems.append(("caseInsensitive", "Upper and lower case only matter to text operators and patterns."))
    if not all(isinstance(constraint.get(key, False), bool) for key in ("inverted", "caseInsensitive")):
        problems.append(("operator", "“Not” and “ignore case” are either on or off."))
    return problems


def _field_problems(field: object) -> list[Problem]:
    if not isinstance(field, str) or not field.strip(BLANKS):
        return [("contextName", "Name the field to look at.")]
    if field != field.strip(BLANKS):
        return [("contextName", "A field name has no blanks around it.")]
    if len(field) > MAX_FIELD:
        return [("contextName", f"A field name has at most {MAX_FIELD} characters.")]
    return [("contextName", problem) for problem in _text_problems(field, raw_text=True)]


def _values_problems(constraint: Mapping[str, Any], operator: Operator) -> list[Problem]:
    values = constraint.get("values")
    problems = []
    if constraint.get("value") not in (None, ""):
        problems.append(("value", "This operator takes a list of values, not one value."))
    if not isinstance(values, list | tuple) or not values:
        return [*problems, ("values", "Give at least one value.")]
    if len(values) > MAX_VALUES:
        return [*problems, ("values", f"At most {MAX_VALUES:,} values; this list has {len(values):,}.")]
    for value in values:
        if found := _entry_problem(value, operator):
            # One is enough: a pasted list goes wrong in the same way everywhere.
            return [*problems, ("values", found)]
    return problems


def _entry_problem(value: object, operator: Operator) -> str:
    if not isinstance(value, str):
        return "Every value is a text."
    if found := _text_problems(value):
        return found[0]
    if operator.kind == "text" and not value:
        return "An empty value would match everybody."
    if operator.kind == "cidr" and read_network(value) is None:
        return f"“{value}” is neither an address nor a network such as 10.0.0.0/8."
    return ""


def _value_problems(constraint: Mapping[str, Any], operator: Operator) -> list[Problem]:
    value = constraint.get("value")
    problems = []
    if constraint.get("values"):
        problems.append(("values", "This operator takes one value, not a list."))
    if not isinstance(value, str) or not value.strip(BLANKS):
        return [*problems, ("value", "Give a value.")]
    found = [*_text_problems(value), *filter(None, [_KINDS[operator.kind](value)])]
    return problems + [("value", problem) for problem in found[:1]]


def _text_problems(text: str, raw_text: bool = False) -> list[str]:
    if _UNSTORABLE.search(text):
        return ["It holds characters that cannot be stored (NUL or half a pair)."]
    if text.endswith("\\"):
        return ["It cannot end with a backslash: Unleash clients would switch the flag off."]
    if raw_text and '"' in text:
        return ["It cannot hold a quote: Unleash clients would switch the flag off."]
    return []


def _number(value: str) -> str:
    number = value_number(value)
    if number is None or not math.isfinite(number):
        return f"“{value}” is no number. Write 7, 7.5 or -7, with a point and without blanks."
    return ""


def _date(value: str) -> str:
    if not looks_like_date(value) or read_date(value) is None:
        return f"“{value}” is no date with time and zone. Write 2026-01-31T12:00:00Z or 2026-01-31T12:00:00+01:00."
    return ""


def _version(value: str) -> str:
    if not looks_like_version(value) or read_version(value) is None:
        return f"“{value}” is no version. Write three numbers such as 1.2.3 or 1.2.3-beta.1, without a leading v."
    return ""


def _pattern(value: str) -> str:
    if len(value) > MAX_PATTERN:
        return f"A pattern has at most {MAX_PATTERN:,} characters."
    if compile_pattern(value) is None:
        return "This is no pattern RE2 understands: it has no look-around and no back-references."
    return ""


_KINDS: dict[str, Callable[[str], str]] = {"number": _number, "date": _date, "semver": _version, "regex": _pattern}
