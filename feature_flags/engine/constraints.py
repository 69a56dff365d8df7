"""One constraint as one function: `test(context)` says whether it is met."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from feature_flags.engine import networks
from feature_flags.engine.dates import looks_like_date, now, read_date
from feature_flags.engine.model import Broken, Clock, Context
from feature_flags.engine.numbers import equal, read_number, value_number
from feature_flags.engine.operators import BY_NAME, COMPARE
from feature_flags.engine.patterns import compile_pattern
from feature_flags.engine.semver import looks_like_version, read_version
from feature_flags.engine.text import listed, plain, raw

CLOCK_FIELD = "currentTime"

Test = Callable[[Context], bool]
Accept = Callable[[str], bool]


def compile_constraint(constraint: Mapping[str, Any], clock: Clock) -> Test | bool:
    """The test of a constraint, or its answer when no context can change it. Raises Broken for what cannot be read."""
    name = constraint.get("operator")
    if name not in BY_NAME:
        # The specification would let it be "never met"; the reference engine gives up the whole flag, and so do we.
        raise Broken(f"unknown operator {name}")
    if name.startswith("SEMVER") and plain(constraint.get("value"), "the value").startswith("v"):
        return False
    field = raw(constraint.get("contextName"), "the name of the field")
    inverted = _switch(constraint, "inverted")
    if name in ("IN", "NOT_IN"):
        return _membership(field, frozenset(_values(constraint)), inverted != (name == "NOT_IN"), clock)
    if name in COMPARE:
        return _ordering(field, name, plain(constraint.get("value"), "the value"), inverted, clock)
    return _tester(field, _ACCEPT[name](constraint), inverted, clock)


def given(field: str, context: Context, clock: Clock) -> str | None:
    """What a constraint sees of a context: a missing `currentTime` is now."""
    value = context.get(field)
    if value is None and field == CLOCK_FIELD:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(clock()))
    return value


def _tester(field: str, accept: Accept, inverted: bool, clock: Clock) -> Test:
    """A missing field is not accepted, and `inverted` turns that too."""
    if field == CLOCK_FIELD:
        return lambda context: accept(given(field, context, clock) or "") != inverted

    def test(context: Context) -> bool:
        value = context.get(field)
        return (value is not None and accept(value)) != inverted

    return test


def _membership(field: str, values: frozenset[str], outside: bool, clock: Clock) -> Test | bool:
    """IN, or with `outside` NOT_IN; a missing field is outside of every list."""
    if not values:
        return outside
    if field == CLOCK_FIELD:
        return _tester(field, values.__contains__, outside, clock)
    if outside:
        return lambda context: context.get(field) not in values
    return lambda context: context.get(field) in values


def _ordering(field: str, name: str, value: str, inverted: bool, clock: Clock) -> Test:
    """Numbers, dates and versions. As in the reference engine the value's own form says which, not the operator."""
    text = value.strip(" \t")
    compare = COMPARE[name]
    if looks_like_date(text):
        return _date(field, compare, _read(read_date, text), inverted, clock)
    if looks_like_version(text):
        return _tester(field, _compared(read_version, compare, _read(read_version, text)), inverted, clock)
    compare = equal if name.endswith("_EQ") else compare
    return _tester(field, _number(compare, _read(value_number, text)), inverted, clock)


def _read(reader: Callable[[str], Any], text: str) -> Any:
    value = reader(text)
    if value is None:
        raise Broken(f"cannot read the value {text!r}")
    return value


def _compared(reader: Callable[[str], Any], compare: Callable[[Any, Any], bool], expected: Any) -> Accept:
    def accept(text: str) -> bool:
        value = reader(text)
        return value is not None and compare(value, expected)

    return accept


def _number(compare: Callable[[float, float], bool], expected: float) -> Accept:
    def accept(text: str) -> bool:
        # Digits alone need no pattern.
        value = float(text) if text.isdecimal() and text.isascii() else read_number(text)
        return value is not None and compare(value, expected)

    return accept


def _date(field: str, compare: Callable[[Any, Any], bool], expected: int, inverted: bool, clock: Clock) -> Test:
    accept = _compared(read_date, compare, expected)
    if field != CLOCK_FIELD:
        return _tester(field, accept, inverted, clock)

    def test(context: Context) -> bool:
        value = context.get(CLOCK_FIELD)
        # The usual case compares the clock itself: no text is written to be read again.
        return (compare(now(clock()), expected) if value is None else accept(value)) != inverted

    return test


def _starts_with(constraint: Mapping[str, Any]) -> Accept:
    values = tuple(_some_values(constraint))
    if _ignores_case(constraint):
        lowered = tuple(value.lower() for value in values)
        return lambda text: text.lower().startswith(lowered)
    return lambda text: text.startswith(values)


def _ends_with(constraint: Mapping[str, Any]) -> Accept:
    values = tuple(_some_values(constraint))
    if _ignores_case(constraint):
        lowered = tuple(value.lower() for value in values)
        return lambda text: text.lower().endswith(lowered)
    return lambda text: text.endswith(values)


def _contains(constraint: Mapping[str, Any]) -> Accept:
    values = _some_values(constraint)
    if _ignores_case(constraint):
        lowered = [value.lower() for value in values]
        return lambda text: _any_in(lowered, text.lower())
    return partial(_any_in, values)


def _any_in(values: list[str], text: str) -> bool:
    for value in values:  # noqa: SIM110 - any() with a generator takes twice as long
        if value in text:
            return True
    return False


def _matches(constraint: Mapping[str, Any]) -> Accept:
    # A pattern left out matches everything; an invalid one nothing.
    value = constraint.get("value")
    pattern = compile_pattern("" if value is None else listed(value, "the pattern"), _ignores_case(constraint))
    if pattern is None:
        return lambda text: False
    search = pattern.search
    return lambda text: search(text.encode()) is not None


def _in_networks(constraint: Mapping[str, Any]) -> Accept:
    return partial(networks.contains, networks.gather(_some_values(constraint)))


_ACCEPT: dict[str, Callable[[Mapping[str, Any]], Accept]] = {
    "STR_STARTS_WITH": _starts_with,
    "STR_ENDS_WITH": _ends_with,
    "STR_CONTAINS": _contains,
    "REGEX": _matches,
    "IN_CIDR": _in_networks,
}


def _values(constraint: Mapping[str, Any]) -> list[str]:
    values = constraint.get("values") or ()
    if not isinstance(values, list | tuple):
        raise Broken("values is no list")
    return [listed(value, "a value") for value in values]


def _some_values(constraint: Mapping[str, Any]) -> list[str]:
    values = _values(constraint)
    if not values:
        raise Broken("has no values")
    return values


def _ignores_case(constraint: Mapping[str, Any]) -> bool:
    return _switch(constraint, "caseInsensitive")


def _switch(constraint: Mapping[str, Any], key: str) -> bool:
    value = constraint.get(key, False)
    if not isinstance(value, bool):
        raise Broken(f"{key} is neither true nor false")
    return value
