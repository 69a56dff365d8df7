"""Where the SDKs that evaluate for themselves read one document in different ways.

Measured with unleash-client 6.12.1 (Node, an evaluator of its own) and yggdrasil-engine 2.0.0 (in the SDKs for Python,
Ruby, .NET and Java, and in Edge). Table and versions: docs/flags.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from feature_flags.engine.constraints import BY_NAME, CLOCK_FIELD
from feature_flags.engine.patterns import Unshared, compile_pattern, shared_pattern
from feature_flags.engine.values import read_network

# What JavaScript's trim() takes off: unleash-client does so with every value of a list.
_BLANKS = "\t\n\v\f\r \xa0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))
# JavaScript finds something under these names in every context.
_JAVASCRIPT = re.compile(
    "properties|constructor|to(Locale)?String|valueOf|hasOwnProperty|isPrototypeOf|propertyIsEnumerable"
    "|__proto__|__(define|lookup)[GS]etter__"
)
_LENGTH = re.compile(r"0|[1-9][0-9]*", re.ASCII)
_SAFE_INTEGER = 2**53 - 1
_MAX_VERSION = 256

_NOTES = {
    "number": "a plain number such as 7 or 7.5: no blanks, not empty, no 0x10, no inf",
    "date": "a moment such as 2026-01-31T12:00:00Z at the top level of the context, or nothing for now",
    "semver": "a version such as 1.2.3, without blanks around it",
    "cidr": "one address, without a zone (%eth0) or prefix (/24)",
}
#: The same for a field that a percentage or a variant goes by.
HASHED = "a text of plain ASCII that is not empty; userId and sessionId at the top level of the context"
#: The same for the user id of a target.
NAMED = "a text at the top level of the context"

Constraint = Mapping[str, Any]


def shared_constraint(constraint: Constraint) -> dict[str, Any]:
    """The same constraint (keys of the document) in a form that SDKs read alike, as far as its meaning stays."""
    shared = dict(constraint)
    try:
        if constraint.get("operator") == "REGEX" and compile_pattern(constraint["value"]) is not None:
            shared["value"] = shared_pattern(constraint["value"])
        elif constraint.get("operator") == "IN_CIDR":
            shared["values"] = [_plain_network(value) for value in constraint["values"]]
    except (Unshared, AttributeError, KeyError, TypeError):
        pass  # It stays as it is: validation refuses it.
    return shared


def disagreements(constraint: Constraint) -> Iterator[tuple[str, str]]:
    """What SDKs read in two ways of a constraint in its shared form, as (key, sentence)."""
    field, operator = constraint.get("contextName"), BY_NAME.get(str(constraint.get("operator")))
    if operator is None or not isinstance(field, str):
        return
    if problem := field_problem(field):
        yield "contextName", problem
    elif (operator.kind == "date") != (field == CLOCK_FIELD):
        yield "contextName", f"Dates are compared with {CLOCK_FIELD}, and only they: Unleash's Node SDK knows no other."
    values = constraint.get("values")
    if operator.many and isinstance(values, list | tuple):
        yield from (("values", problem) for problem in _list_problems(operator.kind, values))
    elif isinstance(value := constraint.get("value"), str) and (problem := _value_problem(operator.kind, value)):
        yield "value", problem


def field_problem(field: str) -> str:
    """Why no rule or percentage should go by this field of a context; empty when it may."""
    return (
        f"JavaScript has a {field} of its own in every context: take another name."
        if _JAVASCRIPT.fullmatch(field)
        else ""
    )


def stickiness_problem(stickiness: str) -> str:
    if stickiness == CLOCK_FIELD:
        return f"Unleash's Node SDK lets nobody in by {CLOCK_FIELD}."
    return field_problem(stickiness) or _raw_problem(stickiness)


def group_problem(group: str) -> str:
    """The group is hashed: unleash-client takes the low byte of each character, the others UTF-8."""
    return _raw_problem(group) if group.isascii() else "Clients hash other characters than ASCII in different ways."


def identifier_problem(identifier: str) -> str:
    if identifier != identifier.strip(_BLANKS + "\x85"):
        return "A user id has no blanks around it."
    if identifier.endswith("\\"):
        return "A user id cannot end with a backslash: Unleash clients would switch the flag off."
    return ""


def context_note(operator: str) -> str:
    """What a context has to bring so that all SDKs read it alike; empty for operators that take any text."""
    known = BY_NAME.get(operator)
    return _NOTES.get(known.kind, "") if known else ""


def _raw_problem(text: str) -> str:
    if '"' in text or text.endswith("\\"):
        return "It holds no quote and no backslash at its end: Unleash clients would switch the flag off."
    return ""


def _plain_network(value: str) -> str:
    """`10.0.0.0/255.0.0.0` and `/+8` as `/8`; what is no network stays."""
    address, _, prefix = value.partition("/")
    if not prefix or _LENGTH.fullmatch(prefix):
        return value
    found = read_network(value)
    return f"{address}/{found[1].bit_count()}" if found else value


def _list_problems(kind: str, values: Any) -> Iterator[str]:
    texts = [value for value in values if isinstance(value, str)]
    if "" in texts:
        yield "Unleash's Node SDK leaves an empty value out, the others compare with it."
    if any(text != text.strip(_BLANKS) for text in texts):
        instead = " For blanks that matter use a pattern." if kind == "text" else ""
        yield f"Unleash's Node SDK takes blanks off around a value, the others do not.{instead}"


def _value_problem(kind: str, value: str) -> str:
    if kind == "date" and value[17:19] == "60":
        return "Unleash's Node SDK knows no leap second."
    if kind == "semver":
        numbers = re.findall(r"[0-9]+", value.partition("+")[0])
        if len(value) > _MAX_VERSION or any(len(number) > 20 or int(number) >= _SAFE_INTEGER for number in numbers):
            return f"A version has at most {_MAX_VERSION} characters, and no number in it beyond {_SAFE_INTEGER - 1}."
    if kind == "regex":
        try:
            shared_pattern(value)
        except Unshared as problem:
            return str(problem)
    return ""
