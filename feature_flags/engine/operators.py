"""The operators a constraint may use, in the order a form offers them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NamedTuple


class Operator(NamedTuple):
    """`label` and `negated` stand between field and value in a sentence. `many` take `values`, the others `value`;
    `kind` says what a value is: list, text, number, date, semver, regex or cidr.
    """

    name: str
    label: str
    negated: str
    kind: str
    many: bool
    has_case: bool = False  # `caseInsensitive` is looked at


OPERATORS = (
    Operator("IN", "is one of", "is none of", "list", True),
    Operator("NOT_IN", "is none of", "is one of", "list", True),
    Operator("STR_CONTAINS", "contains", "does not contain", "text", True, True),
    Operator("STR_STARTS_WITH", "starts with", "does not start with", "text", True, True),
    Operator("STR_ENDS_WITH", "ends with", "does not end with", "text", True, True),
    Operator("NUM_EQ", "is the number", "is not the number", "number", False),
    Operator("NUM_GT", "is greater than", "is not greater than", "number", False),
    Operator("NUM_GTE", "is at least", "is not at least", "number", False),
    Operator("NUM_LT", "is less than", "is not less than", "number", False),
    Operator("NUM_LTE", "is at most", "is not at most", "number", False),
    Operator("DATE_AFTER", "is after", "is not after", "date", False),
    Operator("DATE_BEFORE", "is before", "is not before", "date", False),
    Operator("SEMVER_EQ", "is version", "is not version", "semver", False),
    Operator("SEMVER_GT", "is newer than version", "is not newer than version", "semver", False),
    Operator("SEMVER_GTE", "is at least version", "is not at least version", "semver", False),
    Operator("SEMVER_LT", "is older than version", "is not older than version", "semver", False),
    Operator("SEMVER_LTE", "is at most version", "is not at most version", "semver", False),
    Operator("REGEX", "matches the pattern", "does not match the pattern", "regex", False, True),
    Operator("IN_CIDR", "is an address in", "is no address in", "cidr", True),
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
