"""How steps of an explanation read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from feature_flags.engine.model import CompiledFlag, Result
from feature_flags.engine.operators import BY_NAME
from feature_flags.engine.prerequisites import Prerequisite
from feature_flags.engine.variants import Choice

_SHOWN = 5


def enumeration(values: Sequence[str]) -> str:
    """`a, b, c`; a long list is cut: `a, b, c, d, e and 12 more`."""
    quoted = [value if value.strip() == value and value else f'"{value}"' for value in values[:_SHOWN]]
    more = len(values) - _SHOWN
    return ", ".join(quoted) + (f" and {more:,} more" if more > 0 else "")


def expected_of(constraint: Mapping[str, Any]) -> str:
    known = BY_NAME[constraint["operator"]]
    if known.many:
        values = constraint.get("values") or ()
        return enumeration(values) if values else "nothing"
    return str(constraint.get("value") or "")


def constraint_label(constraint: Mapping[str, Any]) -> str:
    """`country is one of IT, FR`."""
    known = BY_NAME[constraint["operator"]]
    verb = known.negated if constraint.get("inverted") else known.label
    case = " (in upper or lower case)" if known.has_case and constraint.get("caseInsensitive") else ""
    return f"{constraint['contextName']} {verb} {expected_of(constraint)}{case}"


def missing(field: str, given: str | None) -> str:
    return f"The context has no {field}." if given is None else ""


def rollout_label(percentage: int, stickiness: str) -> str:
    if stickiness == "random":
        return f"{percentage} % of all requests, drawn at random"
    if stickiness == "default":
        return f"{percentage} % by userId, else sessionId, else drawn at random"
    return f"{percentage} % by {stickiness}"


def bucket_note(bucket: int | None, percentage: int, stickiness: str) -> str:
    if not percentage:
        return "0 % lets nobody in."
    if bucket is None:
        return f"The context has no {stickiness}, so it cannot be placed."
    return f"Bucket {bucket} is {'within' if bucket <= percentage else 'beyond'} {percentage}."


def prerequisite_label(prerequisite: Prerequisite) -> str:
    """`checkout is on with variant blue or red`."""
    state = "on" if prerequisite.enabled else "off"
    variants = " or ".join(sorted(prerequisite.variants))
    return f"{prerequisite.parent} is {state}" + (f" with variant {variants}" if variants else "")


def prerequisite_note(parent: CompiledFlag | None) -> str:
    if parent is None:
        return "There is no such flag."
    return "It has prerequisites of its own, so it can satisfy nobody." if parent.has_parents else ""


def weights(choice: Choice) -> str:
    """`blue 500, red 500`."""
    before = (0, *choice.cumulative)
    shares = [
        f"{variant.name} {upto - start}"
        for variant, start, upto in zip(choice.variants, before, choice.cumulative, strict=False)
    ]
    return ", ".join(shares)


def summary(result: Result, missed: str | None) -> str:
    """The whole answer in a sentence; `missed` is the prerequisite that was not met."""
    if result.enabled:
        variant = f" Variant {result.variant.name}." if result.variant.enabled else ""
        return (f"On, by {result.rule}." if result.rule else "On for everybody.") + variant
    if result.reason == "DISABLED":
        return "Off: the flag is switched off."
    if result.reason == "UNKNOWN":
        return f"Off: the flag cannot be read: {result.error}."
    if missed is not None:
        return f"Off: it needs that {missed}."
    if result.reason == "SPLIT":
        return "Off: outside of the percentage."
    return "Off: no rule lets this context in."
