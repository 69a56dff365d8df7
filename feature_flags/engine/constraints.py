"""Constraints: the operators they may use, and each compiled to one function `test(context)`."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from feature_flags.engine import values
from feature_flags.engine.model import Broken, Clock, Context
from feature_flags.engine.words import gettext_noop as _


class Operator(NamedTuple):
    """`label` and `negated` stand between field and value in a sentence. `many` take `values`, the others `value`;
    `kind` is that of a value: list, text, number, date, semver, regex or cidr.
    """

    name: str
    label: str
    negated: str
    kind: str
    many: bool
    has_case: bool = False  # `caseInsensitive` is looked at


# In the order a form offers them.
OPERATORS = (
    Operator("IN", _("is one of"), _("is none of"), "list", True),
    Operator("NOT_IN", _("is none of"), _("is one of"), "list", True),
    Operator("STR_CONTAINS", _("contains"), _("does not contain"), "text", True, True),
    Operator("STR_STARTS_WITH", _("starts with"), _("does not start with"), "text", True, True),
    Operator("STR_ENDS_WITH", _("ends with"), _("does not end with"), "text", True, True),
    Operator("NUM_EQ", _("is the number"), _("is not the number"), "number", False),
    Operator("NUM_GT", _("is greater than"), _("is not greater than"), "number", False),
    Operator("NUM_GTE", _("is at least"), _("is not at least"), "number", False),
    Operator("NUM_LT", _("is less than"), _("is not less than"), "number", False),
    Operator("NUM_LTE", _("is at most"), _("is not at most"), "number", False),
    Operator("DATE_AFTER", _("is after"), _("is not after"), "date", False),
    Operator("DATE_BEFORE", _("is before"), _("is not before"), "date", False),
    Operator("SEMVER_EQ", _("is version"), _("is not version"), "semver", False),
    Operator("SEMVER_GT", _("is newer than version"), _("is not newer than version"), "semver", False),
    Operator("SEMVER_GTE", _("is at least version"), _("is not at least version"), "semver", False),
    Operator("SEMVER_LT", _("is older than version"), _("is not older than version"), "semver", False),
    Operator("SEMVER_LTE", _("is at most version"), _("is not at most version"), "semver", False),
    Operator("REGEX", _("matches the pattern"), _("does not match the pattern"), "regex", False, True),
    Operator("IN_CIDR", _("is an address in"), _("is no address in"), "cidr", True),
)

BY_NAME = {known.name: known for known in OPERATORS}

# How each ordering operator compares the given value with the expected one.
COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "NUM_EQ": operator.eq,
    "NUM_GT": operator.gt,
    "NUM_GTE": operator.ge,
    "NUM_LT": operator.lt,
    "NUM_LTE": operator.le,
    "DATE_AFTER": operator.gt,
    "DATE_BEFORE": operator.lt,
    "SEMVER_EQ": operator.eq,
    "SEMVER_GT": operator.gt,
    "SEMVER_GTE": operator.ge,
    "SEMVER_LT": operator.lt,
    "SEMVER_LTE": operator.le,
}

CLOCK_FIELD = "currentTime"

Test = Callable[[Context], bool]  # of a context
Accept = Callable[[str], bool]  # of a field's text


def compile_constraint(constraint: Mapping[str, Any], clock: Clock) -> Test | bool:
    """The test of a constraint, or its answer when no context can change it. Raises Broken for what cannot be read."""
    name = constraint.get("operator")
    if name not in BY_NAME:
        # The specification would let it be "never met"; the reference engine gives up the whole flag, and so do we.
        raise Broken(f"unknown operator {name}")
    if name.startswith("SEMVER") and values.require_text(constraint.get("value"), "the value").startswith("v"):
        return False
    field = values.require_name(constraint.get("contextName"), "the name of the field")
    inverted = _boolean(constraint, "inverted")
    if name in COMPARE:
        return _ordering(field, name, values.require_text(constraint.get("value"), "the value"), inverted, clock)
    if name == "REGEX":
        return _tester(field, _pattern(constraint), inverted, clock)
    wanted = constraint.get("values") or ()
    if not isinstance(wanted, list | tuple):
        raise Broken("values is no list")
    wanted = [values.require_entry(value, "a value") for value in wanted]
    if name in ("IN", "NOT_IN"):
        return _membership(field, frozenset(wanted), inverted != (name == "NOT_IN"), clock)
    if not wanted:
        raise Broken("has no values")
    if name == "IN_CIDR":
        return _tester(field, partial(values.contains, values.read_networks(wanted)), inverted, clock)
    method, texts = _TEXT_METHODS[name], tuple(wanted)
    if _boolean(constraint, "caseInsensitive"):
        texts = tuple(text.lower() for text in texts)
        return _tester(field, lambda text: method(text.lower(), texts), inverted, clock)
    return _tester(field, lambda text: method(text, texts), inverted, clock)


def field_value(field: str, context: Context, clock: Clock) -> str | None:
    """What a constraint sees of a context: a missing `currentTime` is now."""
    value = context.get(field)
    if value is None and field == CLOCK_FIELD:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
    return value


def compile_pattern(pattern: str, ignore_case: bool = False) -> Any | None:
    """A pattern of RE2 (linear time, no look-around, no back-references, ASCII classes) for UTF-8 bytes, which spare
    its wrapper half of the work; None when it is invalid."""
    # 2.6 MiB that the flags of most have no use for.
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.never_capture = True
    options.log_errors = False
    options.case_sensitive = not ignore_case
    try:
        return re2.compile(pattern.encode(), options)
    except (re2.error, UnicodeEncodeError):
        return None


def _boolean(constraint: Mapping[str, Any], key: str) -> bool:
    value = constraint.get(key, False)
    if not isinstance(value, bool):
        raise Broken(f"{key} is neither true nor false")
    return value


def _tester(field: str, accept: Accept, inverted: bool, clock: Clock) -> Test:
    """A missing field is not accepted, and `inverted` turns that too."""
    if field == CLOCK_FIELD:
        return lambda context: accept(field_value(field, context, clock) or "") != inverted

    def test(context: Context) -> bool:
        value = context.get(field)
        return (value is not None and accept(value)) != inverted

    return test


def _membership(field: str, wanted: frozenset[str], outside: bool, clock: Clock) -> Test | bool:
    """IN, or with `outside` NOT_IN; a missing field is outside of every list."""
    if not wanted:
        return outside
    if field == CLOCK_FIELD:
        return _tester(field, wanted.__contains__, outside, clock)
    if outside:
        return lambda context: context.get(field) not in wanted
    return lambda context: context.get(field) in wanted


def _ordering(field: str, name: str, value: str, inverted: bool, clock: Clock) -> Test:
    """Numbers, dates and versions. As in the reference engine the value's own form decides which, not the operator."""
    text = value.strip(" \t")
    is_date, is_version = values.looks_like_date(text), values.looks_like_version(text)
    read: Callable[[str], Any] = values.read_date if is_date else values.read_version
    expected = read(text) if is_date or is_version else values.value_number(text)
    if expected is None:
        raise Broken(f"cannot read the value {text!r}")
    compare = COMPARE[name]

    def accept(text: str) -> bool:
        value = read(text)
        return value is not None and compare(value, expected)

    def test_now(context: Context) -> bool:
        value = context.get(CLOCK_FIELD)
        # The usual case compares the time itself: no text is formatted only to be parsed again.
        return (compare(values.date_of(clock()), expected) if value is None else accept(value)) != inverted

    if is_date and field == CLOCK_FIELD:
        return test_now
    if is_date or is_version:
        return _tester(field, accept, inverted, clock)
    number_compare = values.equal if name.endswith("_EQ") else compare
    read_number = values.read_number

    def accept_number(text: str) -> bool:
        # Digits alone need no pattern.
        value = float(text) if text.isdecimal() and text.isascii() else read_number(text)
        return value is not None and number_compare(value, expected)

    return _tester(field, accept_number, inverted, clock)


def _contains_any(text: str, wanted: tuple[str, ...]) -> bool:
    for value in wanted:  # noqa: SIM110 - any() with a generator takes twice as long
        if value in text:
            return True
    return False


_TEXT_METHODS: dict[str, Callable[[str, tuple[str, ...]], bool]] = {
    "STR_STARTS_WITH": str.startswith,
    "STR_ENDS_WITH": str.endswith,
    "STR_CONTAINS": _contains_any,
}


def _pattern(constraint: Mapping[str, Any]) -> Accept:
    # A pattern left out matches everything; an invalid one nothing.
    value = constraint.get("value")
    text = "" if value is None else values.require_entry(value, "the pattern")
    pattern = compile_pattern(text, _boolean(constraint, "caseInsensitive"))
    if pattern is None:
        return lambda text: False
    search = pattern.search
    return lambda text: search(text.encode()) is not None
