"""Why a flag has the result it has: the walk of the compiler once more, with a trace. Every step calls the function
that evaluation calls; only the "all of" and "first of" around them are repeated, and a test compares them with the
result. Random value and time are fixed, so that both see the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feature_flags.engine import strategies
from feature_flags.engine.compiler import Prerequisite, compile_flag, is_met, prerequisites_of
from feature_flags.engine.constraints import BY_NAME, compile_constraint, field_value
from feature_flags.engine.model import RANDOM, CompiledFlag, Context, Flags, Result, new_random_value
from feature_flags.engine.strategies import CODES, IN, TARGETS, Choice, Segments, Tools
from feature_flags.engine.values import split_list


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
    steps = tuple(_Walk(still, fixed, flags, segments, segment_names or {}).steps())
    missed = [step.label for step in steps if step.kind == "dependency" and not step.passed]
    return Explanation(result, steps, _summary(result, missed[0] if missed else None))


class _Walk:
    """One flag, one context."""

    def __init__(
        self, flag: CompiledFlag, context: Context, flags: Flags, segments: Segments, names: Mapping[int, str]
    ) -> None:
        self.flag, self.context, self.flags = flag, context, flags
        self.segments, self.names = segments, names
        self.feature = flag.definition.feature
        self.tools = Tools(flag.clock, flag.hostname)

    def steps(self) -> Iterable[Step]:
        if self.flag.error:
            yield Step("switch", "The flag can be read", False, self.flag.error)
            return
        switch = Step("switch", "The flag is switched on", self.feature.get("enabled") is True)
        yield switch
        if switch.passed:
            dependencies = [self.dependency(prerequisite) for prerequisite in prerequisites_of(self.feature)]
            yield from dependencies
            if _all(dependencies):
                yield from self.rules()

    def dependency(self, prerequisite: Prerequisite) -> Step:
        parent = self.flags.get(prerequisite.parent)
        wanted = " or ".join(sorted(prerequisite.variants))
        note, given = "There is no such flag.", None
        if parent is not None:
            note = "It has prerequisites of its own, so it can be satisfied by no one." if parent.has_parents else ""
            given = "on" if parent.evaluate(self.context, self.flags).enabled else "off"
        state = "on" if prerequisite.enabled else "off"
        return Step(
            "dependency",
            f"{prerequisite.parent} is {state}" + (f" with variant {wanted}" if wanted else ""),
            is_met(prerequisite, self.context, self.flags),
            note,
            field=prerequisite.parent,
            given=given,
        )

    def rules(self) -> Iterable[Step]:
        """Until one passes; its variant comes after it."""
        own = strategies.flag_choice(self.feature)
        documents = self.feature.get("strategies") or ()
        if not documents:
            yield Step("rule", "The flag has no rule: it is on for everybody", True)
            yield from self.variant(own)
        for index, strategy in enumerate(documents):
            children = tuple(self.conditions(strategy))
            step = Step("rule", self.flag.definition.label(index), _all(children), children=children)
            yield step
            if step.passed:
                yield from self.variant(strategies.strategy_choice(strategy, self.flag.name) or own)
                return

    def conditions(self, strategy: Mapping[str, Any]) -> Iterable[Step]:
        """All of them, met or not: more than one may have failed."""
        yield from map(self.constraint, strategy.get("constraints") or ())
        for number in strategy.get("segments") or ():
            children = tuple(map(self.constraint, self.segments[number]))
            yield Step("segment", self.names.get(number) or f"Segment {number}", _all(children), children=children)
        rule = strategies.compile_rule(strategy, self.flag.name, self.tools, CODES)
        passed = (rule(self.context) if callable(rule) else rule) == IN
        yield (self.rollout if strategies.is_rollout(strategy) else self.target)(strategy, passed)

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
            operator=constraint["operator"],
            expected=_expected_of(constraint),
            given=value,
            inverted=bool(constraint.get("inverted")),
        )

    def target(self, strategy: Mapping[str, Any], passed: bool) -> Step:
        name, parameters = strategy["name"], strategy.get("parameters") or {}
        if name == "default":
            return Step("target", "Everybody", passed)
        if name not in TARGETS:
            return Step("target", f"Strategy {name}", passed, "This strategy is not known here: it lets no one in.")
        field, parameter = TARGETS[name]
        expected = enumeration(split_list(parameters.get(parameter) or ""))
        value = self.tools.hostname if name == "applicationHostname" else self.context.get(field)
        label = f"{field} is one of {expected}"
        return Step("target", label, passed, _missing(field, value), field=field, expected=expected, given=value)

    def rollout(self, strategy: Mapping[str, Any], passed: bool) -> Step:
        rollout = strategies.rollout_of(strategy, self.flag.name)
        if rollout is None:
            return Step("rollout", "A percentage", passed, "It has no readable percentage or group: it lets no one in.")
        percentage, stickiness, group = rollout
        value = strategies.sticky_value(rollout, self.context, self.tools)
        bucket = None if value is None else strategies.bucket(group, value)
        if not percentage:
            note = "0 % lets no one in."
        elif bucket is None:
            note = f"The context has no {stickiness}, so it cannot be placed."
        else:
            note = f"Bucket {bucket} is {'within' if bucket <= percentage else 'beyond'} {percentage}."
        return Step(
            "rollout",
            rollout_label(percentage, stickiness),
            passed,
            note,
            given=self.shown(value),
            bucket=bucket,
            percentage=percentage,
            stickiness=stickiness,
            group=group,
        )

    def variant(self, choice: Choice | None) -> Iterable[Step]:
        if choice is None:
            return
        names = [variant.name for variant in choice.variants]
        override = strategies.override_of(choice, self.context)
        value = strategies.choice_value(choice, self.context)
        bucket = strategies.variant_bucket(choice, value)
        ends = zip(names, (0, *choice.cumulative), choice.cumulative, strict=False)
        yield Step(
            "variant",
            f"Variant {strategies.compile_choice(choice, names, names)(self.context)}",
            True,
            f"Chosen by name: {override.field} is listed." if override else f"Bucket {bucket} of {choice.total}.",
            expected=", ".join(f"{name} {end - start}" for name, start, end in ends),
            given=self.shown(value),
            bucket=None if override else bucket,
            percentage=choice.total,
            stickiness=choice.stickiness,
            group=choice.group,
        )

    def shown(self, value: str | None) -> str | None:
        """The value that was hashed, unless it is random."""
        return None if value == self.context[RANDOM] else value


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


def _summary(result: Result, missed: str | None) -> str:
    """The whole result in a sentence; `missed` is the prerequisite that was not met."""
    if result.enabled:
        variant = f" Variant {result.variant.name}." if result.variant.enabled else ""
        # The one rule of a flag without rules of its own is called so (feature_flags/unleash_feature.py).
        by_rule = result.rule and result.rule != "everybody"
        return (f"On, by {result.rule}." if by_rule else "On for everybody.") + variant
    if result.reason == "DISABLED":
        return "Off: the flag is switched off."
    if result.reason == "UNKNOWN":
        return f"Off: the flag cannot be read: {result.error}."
    if missed is not None:
        return f"Off: it needs that {missed}."
    if result.reason == "SPLIT":
        return "Off: outside of the percentage."
    return "Off: no rule lets this context in."
