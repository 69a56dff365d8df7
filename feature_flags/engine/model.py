"""What goes into the engine (a definition and a context) and what comes out of it (a result)."""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# Flat and textual, made once per request by `normal_context`, so that evaluation only looks fields up.
Context = Mapping[str, str]
Clock = Callable[[], float]

# Why an answer is what it is, in OpenFeature's words.
DISABLED_REASON = "DISABLED"
UNKNOWN = "UNKNOWN"
STATIC = "STATIC"
TARGETING_MATCH = "TARGETING_MATCH"
DEFAULT = "DEFAULT"
SPLIT = "SPLIT"


class Broken(ValueError):
    """A piece of a flag that cannot be read. It turns off its own flag and no other."""


@dataclass(frozen=True, slots=True)
class Definition:
    """One feature of an Unleash client-features document, and what that document has no place for.

    Every parameter in `feature` is a string. `off_value` is the value of a flag that is off, or on without a payload;
    boolean flags ignore it. `labels` names the strategies by index; one without a label is "rule 1", "rule 2", ...
    """

    feature: Mapping[str, Any]
    value_type: str = "boolean"  # boolean, string, integer, float, object
    off_value: Any = None
    exposed: bool = True
    labels: Sequence[str] = ()

    def label(self, index: int) -> str:
        given = self.labels[index] if index < len(self.labels) else ""
        return given or f"rule {index + 1}"


@dataclass(frozen=True, slots=True)
class Variant:
    """`payload` is `{"type", "value"}` as in the document."""

    name: str
    payload: dict[str, Any] | None
    enabled: bool


DISABLED = Variant("disabled", None, False)


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One answer of the flag named `flag`. Results are made while compiling and shared by all callers: never change
    what `value` holds. Two are equal only when they are one, which makes them quick keys.

    `value` is `enabled` for a boolean flag. For the others it is the payload of the chosen variant in the declared
    type, and `off_value` when the flag is off or no variant (or one without payload) was chosen. `rule` is the label
    of the strategy that switched the flag on.
    """

    flag: str
    enabled: bool
    value: Any
    variant: Variant = DISABLED
    reason: str = STATIC
    rule: str | None = None
    error: str = ""


Evaluate = Callable[[Context, "Flags"], Result]


@dataclass(frozen=True, slots=True, eq=False)
class CompiledFlag:
    """A flag ready to be evaluated. Immutable but for `cell`, which is the caller's: [yes, no], never touched here.

    `constant` is the result when it depends on nothing; look at it first and spare the call. `evaluate(context, flags)`
    is the result for a normalised context; `flags` holds the other flags by name, for prerequisites. `error` is why the
    flag could not be compiled.
    """

    name: str
    definition: Definition
    evaluate: Evaluate
    constant: Result | None = None
    error: str = ""
    exposed: bool = True
    cell: list[int] = field(default_factory=lambda: [0, 0])
    # For children: a parent with parents of its own satisfies no context, and its variant counts even while it is off.
    has_parents: bool = False
    # The fields of a context that the result depends on, but for its parents; RANDOM among them when chance decides.
    fields: frozenset[str] = frozenset()
    variant_while_off: Callable[[Context], Variant | None] | None = None
    # What explain needs to walk exactly as the compiler did.
    clock: Clock = time.time
    hostname: str = ""


Flags = Mapping[str, CompiledFlag]

# --- Contexts ---------------------------------------------------------------------------------------------------------

# Random decisions hash the text under this key, so that one request keeps one answer.
# No key from outside can be this one: `normal_context` drops keys with a NUL.
RANDOM = "\x00random"
# A property never stands in for one of these when the top level names it, be it with null.
KNOWN_FIELDS = frozenset({"userId", "sessionId", "remoteAddress", "environment", "appName", "currentTime"})
_SURROGATE = re.compile("[\ud800-\udfff]")


def new_random_value() -> str:
    return f"{random.getrandbits(64):x}"  # no secret: it decides who sees a button, not who gets in


def random_value(context: Context) -> str:
    """The request's random value, else a new one; it is hashed like an id, which keeps one path for both."""
    value = context.get(RANDOM)
    return new_random_value() if value is None else value


def normal_context(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Flatten an Unleash context: text by field name, top level over `properties`, unknown top-level keys included.

    Numbers and booleans become text (`7`, `7.5`, `true`); null, lists and objects are ignored.
    """
    flat: dict[str, str] = {}
    properties = mapping.get("properties")
    if properties and isinstance(properties, Mapping):
        _collect(flat, properties)
        for known in KNOWN_FIELDS:
            if known in mapping:
                flat.pop(known, None)
    _collect(flat, mapping)
    return flat


def _collect(flat: dict[str, str], mapping: Mapping[str, Any]) -> None:
    for key, value in mapping.items():
        # A NUL: see RANDOM. Half a surrogate pair has no UTF-8 form and could not be shown.
        if not isinstance(key, str) or "\x00" in key or not (key.isascii() or _SURROGATE.search(key) is None):
            continue
        if value.__class__ is str and value.isascii():
            flat[key] = value
        elif (text := _text(value)) is not None:
            flat[key] = text


def _text(value: Any) -> str | None:
    """A value as the reference engine spells it: `true`, `7`, `7.0`, `0.00001`, `1e-6`, `1e+16`; else None."""
    if isinstance(value, str):
        # A lone surrogate (JSON can spell one) has no UTF-8 form and could not be hashed.
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        return str(int(value))
    try:
        number = float(value) if isinstance(value, int | float) else math.inf
    except OverflowError:  # beyond every float: no text that other engines would agree on
        return None
    if not math.isfinite(number):
        return None
    text = repr(number)
    if "e-05" in text:
        digits = text.partition("e")[0].lstrip("-").replace(".", "")
        return f"{number:.{4 + len(digits)}f}"
    return text.replace("e-0", "e-")
