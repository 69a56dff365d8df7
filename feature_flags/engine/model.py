"""What goes into the engine (a definition) and what comes out of it (a result)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# A flat, normalised context: see `context.normal_context`.
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
        """What people call the strategy at `index`."""
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
