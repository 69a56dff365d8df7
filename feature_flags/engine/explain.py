"""Why a flag has the result it has: the walk of the compiler once more, with a trace.

Every step calls the very function that evaluation calls; only the "all of" and "first of" around them are repeated
here, and a test compares them with the result. Random value and time are fixed, so that both see the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feature_flags.engine import strategies, variants
from feature_flags.engine.compiler import Prerequisite, compile_flag, is_met, prerequisites_of
from feature_flags.engine.constraints import BY_NAME, compile_constraint, field_value
from feature_flags.engine.context import RANDOM, new_random_value
from feature_flags.engine.model import CompiledFlag, Context, Flags, Result
from feature_flags.engine.strategies import CODES, IN, Segments, Tools
from feature_flags.engine.values import split_list
from feature_flags.engine.variants import Choice


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was checked; a step with children passes when all of them do.

    `kind` is switch, dependency, rule, segment, constraint, target, rollout or variant. `note` is what a reader
    might miss. A constraint fills `field` to `inverted`, a rollout `given` and the four after `inverted`; for a
    variant `percentage` is the sum of all weights.
    """

    kind: str
    label: str
    passed: bool
    note: str = ""
    children: tuple[Step, ...] = ()
    field: str = ""
    operator: str = ""
    expected: str = ""
    given: str | None = None
    inverted: bool = False
    bucket: int | None = None
    percentage: int | None = None
    stickiness: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`steps` end where the result was found; later rules were not evaluated."""

    result: Result
    steps: tuple[Step, ...]
    summary: str


def explain(
    flag: CompiledFlag,
    context: Context,
    flags: Flags,
    segments: Segments,
    segment_names: Mapping[int, str] | None = None,
) -> Explanation:
    """The result for a normalised context, with the steps that led to it."""
    fixed = {RANDOM: new_random_value(), **context}
    moment = flag.clock()
    still = compile_flag(flag.definition, segments, clock=lambda: moment, hostname=flag.hostname)
    result = still.evaluate(fixed, flags)
    steps = _Walk(still, fixed, flags, segments, segment_names or {}).steps()
    missed = [step.label for step in steps if step.kind == "dependency" and not step.passed]
    return Explanation(result, steps, _summary(result, missed[0] if missed else None))


class _Walk:
    """One flag, one context."""

    def __init__(
        self, flag: CompiledFlag, context: Context, flags: Flags, segments: Segments, names: Mapping[int, str]
    ) -> None:
        self.flag, self.context, self.flags = flag, context, flags
        self.segments, self.names = segments, names
        self.feature, self.definition = flag.definition.feature, flag.definition
        self.tools = Tools(flag.clock, flag.hostname)

    def steps(self) -> tuple[Step, ...]:
        if self.flag.error:
            switch = Step("switch", "The flag can be read", False, self.flag.error)
            return (switch,)
        on = self.feature.get("enabled") is True
        switch = Step("switch", "The flag is switched on", on)
        if not on:
            return (switch,)
        dependencies = tuple(self.dependency(document) for document in prerequisites_of(self.feature))
        if not _all(dependencies):
            return switch, *dependencies
        return switch, *dependencies, *self.rules()

    def dependency(self, prerequisite: Prerequisite) -> Step:
        parent = self.flags.get(prerequisite.parent)
        state = "on" if prerequisite.enabled else "off"
        wanted = " or ".join(sorted(prerequisite.variants))
        note = "There is no such flag." if parent is None else ""
        if parent is not None and parent.has_parents:
            note = "It has prerequisites of its own, so it can satisfy nobody."
        result = None if parent is None else parent.evaluate(self.context, self.flags)
        return Step(
            "dependency",
            f"{prerequisite.parent} is {state}" + (f" with variant {wanted}" if wanted else ""),
            is_met(prerequisite, self.context, self.flags),
            note,
            field=prerequisite.parent,
            given=None if result is None else "on" if result.enabled else "off",
        )

    def rules(self) -> Iterable[Step]:
        """Until one passes; its variant comes after it."""
        documents = self.feature.get("strategies") or ()
        if not documents:
            yield Step("rule", "The flag has no rule: it is on for everybody", True)
            yield from self.variant(variants.flag_choice(self.feature))
        for index, strategy in enumerate(documents):
            children = tuple(self.conditions(strategy))
            step = Step("rule", self.definition.label(index), _all(children), children=children)
            yield step
            if step.passed:
                yield from self.variant(
                    variants.strategy_choice(strategy, self.flag.name) or variants.flag_choice(self.feature)
                )
                return

    def conditions(self, strategy: Mapping[str, Any]) -> Iterable[Step]:
        """All of them, met or not: more than one may have failed."""
        yield from map(self.constraint, strategy.get("constraints") or ())
        yield from map(self.segment, strategy.get("segments") or ())
        yield self.rollout(strategy) if strategies.is_rollout(strategy) else self.target(strategy)

    def segment(self, number: int) -> Step:
        children = tuple(map(self.constraint, self.segments[number]))
        return Step("segment", self.names.get(number) or f"Segment {number}", _all(children), children=children)

    def constraint(self, constraint: Mapping[str, Any]) -> Step:
        test = compile_constraint(constraint, self.tools.clock)
        field = constraint["contextName"]
        value = field_value(field, self.context, self.tools.clock)
        return Step(
            "constraint",
            constraint_label(constraint),
            test(self.context) if callable(test) else test,
            _missing(field, value),
            field=field,
            operator=BY_NAME[constraint["operator"]].name,
            expected=_expected_of(constraint),
            given=value,
            inverted=bool(constraint.get("inverted")),
        )

    def target(self, strategy: Mapping[str, Any]) -> Step:
        name, parameters = strategy["name"], strategy.get("parameters") or {}
        passed = self.decision(strategy) == IN
        if name == "default":
            return Step("target", "Everybody", passed)
        if name not in _TARGET_FIELDS:
            return Step("target", f"Strategy {name}", passed, "This strategy is not known here: it lets nobody in.")
        field, parameter = _TARGET_FIELDS[name]
        expected = enumeration(split_list(parameters.get(parameter) or ""))
        value = self.tools.hostname if name == "applicationHostname" else self.context.get(field)
        return Step(
            "target",
            f"{field} is one of {expected}",
            passed,
            _missing(field, value),
            field=field,
            expected=expected,
            given=value,
        )

    def rollout(self, strategy: Mapping[str, Any]) -> Step:
        passed = self.decision(strategy) == IN
        rollout = strategies.rollout_of(strategy, self.flag.name)
        if rollout is None:
            return Step("rollout", "A percentage", passed, "It has no readable percentage or group: it lets nobody in.")
        value = strategies.sticky_value(rollout, self.context, self.tools)
        number = None if value is None else strategies.bucket(rollout.group, value)
        return Step(
            "rollout",
            rollout_label(rollout.percentage, rollout.stickiness),
            passed,
            _bucket_note(number, rollout.percentage, rollout.stickiness),
            given=self.shown(value),
            bucket=number,
            percentage=rollout.percentage,
            stickiness=rollout.stickiness,
            group=rollout.group,
        )

    def variant(self, choice: Choice | None) -> Iterable[Step]:
        if choice is None:
            return
        names = [variant.name for variant in choice.variants]
        name = variants.compile_choice(choice, names, names)(self.context)
        override = variants.override_of(choice, self.context)
        value = variants.choice_value(choice, self.context)
        number = variants.variant_bucket(choice, value)
        yield Step(
            "variant",
            f"Variant {name}",
            True,
            f"Chosen by name: {override.field} is listed." if override else f"Bucket {number} of {choice.total}.",
            expected=_weights(choice),
            given=self.shown(value),
            bucket=None if override else number,
            percentage=choice.total,
            stickiness=choice.stickiness,
            group=choice.group,
        )

    def decision(self, strategy: Mapping[str, Any]) -> int:
        rule = strategies.compile_rule(strategy, self.flag.name, self.tools, CODES)
        return rule(self.context) if callable(rule) else rule

    def shown(self, value: str | None) -> str | None:
        """The value that was hashed, unless it is random."""
        return None if value == self.context[RANDOM] else value


# The field a target looks at, and the parameter with those it lets in.
_TARGET_FIELDS = {
    "userWithId": ("userId", "userIds"),
    "remoteAddress": ("remoteAddress", "IPs"),
    "applicationHostname": ("hostname", "hostNames"),
}


def _all(steps: Iterable[Step]) -> bool:
    return all(step.passed for step in steps)


# --- Sentences --------------------------------------------------------------------------------------------------------


def enumeration(values: Sequence[str]) -> str:
    """`a, b, c`; a long list is cut: `a, b, c, d, e and 12 more`."""
    quoted = [value if value.strip() == value and value else f'"{value}"' for value in values[:5]]
    more = len(values) - 5
    return ", ".join(quoted) + (f" and {more:,} more" if more > 0 else "")


def _expected_of(constraint: Mapping[str, Any]) -> str:
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
    return f"{constraint['contextName']} {verb} {_expected_of(constraint)}{case}"


def _missing(field: str, given: str | None) -> str:
    return f"The context has no {field}." if given is None else ""


def rollout_label(percentage: int, stickiness: str) -> str:
    if stickiness == "random":
        return f"{percentage} % of all requests, drawn at random"
    if stickiness == "default":
        return f"{percentage} % by userId, else sessionId, else drawn at random"
    return f"{percentage} % by {stickiness}"


def _bucket_note(bucket: int | None, percentage: int, stickiness: str) -> str:
    if not percentage:
        return "0 % lets nobody in."
    if bucket is None:
        return f"The context has no {stickiness}, so it cannot be placed."
    return f"Bucket {bucket} is {'within' if bucket <= percentage else 'beyond'} {percentage}."


def _weights(choice: Choice) -> str:
    """`blue 500, red 500`."""
    before = (0, *choice.cumulative)
    shares = [
        f"{variant.name} {upto - start}"
        for variant, start, upto in zip(choice.variants, before, choice.cumulative, strict=False)
    ]
    return ", ".join(shares)


def _summary(result: Result, missed: str | None) -> str:
    """The whole result in a sentence; `missed` is the prerequisite that was not met."""
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
