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
from feature_flags.engine.words import translate as _


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
            yield Step("switch", _("The flag can be read"), False, self.flag.error)
            return
        switch = Step("switch", _("The flag is switched on"), self.feature.get("enabled") is True)
        yield switch
        if switch.passed:
            dependencies = [self.dependency(prerequisite) for prerequisite in prerequisites_of(self.feature)]
            yield from dependencies
            if _all(dependencies):
                yield from self.rules()

    def dependency(self, prerequisite: Prerequisite) -> Step:
        parent = self.flags.get(prerequisite.parent)
        wanted = _(" or ").join(sorted(prerequisite.variants))
        note, given = _("There is no such flag."), None
        if parent is not None:
            note = _("It has prerequisites of its own, so it can be satisfied by no one.") if parent.has_parents else ""
            given = _("on") if parent.evaluate(self.context, self.flags).enabled else _("off")
        label = _("%(flag)s is on") if prerequisite.enabled else _("%(flag)s is off")
        variant = _(" with variant %(variant)s") % {"variant": wanted} if wanted else ""
        return Step(
            "dependency",
            label % {"flag": prerequisite.parent} + variant,
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
            yield Step("rule", _("The flag has no rule: it is on for everybody"), True)
            yield from self.variant(own)
        for index, strategy in enumerate(documents):
            children = tuple(self.conditions(strategy))
            step = Step("rule", rule_label(self.flag.definition.label(index)), _all(children), children=children)
            yield step
            if step.passed:
                yield from self.variant(strategies.strategy_choice(strategy, self.flag.name) or own)
                return

    def conditions(self, strategy: Mapping[str, Any]) -> Iterable[Step]:
        """All of them, met or not: more than one may have failed."""
        yield from map(self.constraint, strategy.get("constraints") or ())
        for number in strategy.get("segments") or ():
            children = tuple(map(self.constraint, self.segments[number]))
            yield Step(
                "segment",
                self.names.get(number) or _("Segment %(number)s") % {"number": number},
                _all(children),
                children=children,
            )
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
            return Step("target", _("Everybody"), passed)
        if name not in TARGETS:
            label = _("Strategy %(name)s") % {"name": name}
            return Step("target", label, passed, _("This strategy is not known here: it lets no one in."))
        field, parameter = TARGETS[name]
        expected = enumeration(split_list(parameters.get(parameter) or ""))
        value = self.tools.hostname if name == "applicationHostname" else self.context.get(field)
        label = f"{field} {_('is one of')} {expected}"
        return Step("target", label, passed, _missing(field, value), field=field, expected=expected, given=value)

    def rollout(self, strategy: Mapping[str, Any], passed: bool) -> Step:
        rollout = strategies.rollout_of(strategy, self.flag.name)
        if rollout is None:
            note = _("It has no readable percentage or group: it lets no one in.")
            return Step("rollout", _("A percentage"), passed, note)
        percentage, stickiness, group = rollout
        value = strategies.sticky_value(rollout, self.context, self.tools)
        bucket = None if value is None else strategies.bucket(group, value)
        if not percentage:
            note = _("0 % lets no one in.")
        elif bucket is None:
            note = _("The context has no %(field)s, so it cannot be placed.") % {"field": stickiness}
        else:
            is_within = bucket <= percentage
            note = (
                _("Bucket %(bucket)s is within %(share)s.")
                if is_within
                else _("Bucket %(bucket)s is beyond %(share)s.")
            )
            note %= {"bucket": bucket, "share": percentage}
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
        chosen = strategies.compile_choice(choice, names, names)(self.context)
        note = _("Bucket %(bucket)s of %(total)s.") % {"bucket": bucket, "total": choice.total}
        if override:
            note = _("Chosen by name: %(field)s is listed.") % {"field": override.field}
        ends = zip(names, (0, *choice.cumulative), choice.cumulative, strict=False)
        yield Step(
            "variant",
            _("Variant %(name)s") % {"name": chosen},
            True,
            note,
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
    return ", ".join(quoted) + (_(" and %(count)s more") % {"count": f"{more:,}"} if more > 0 else "")


def _expected_of(constraint: Mapping[str, Any]) -> str:
    known = BY_NAME[constraint["operator"]]
    if known.many:
        values = constraint.get("values") or ()
        return enumeration(values) if values else _("nothing")
    return str(constraint.get("value") or "")


def constraint_label(constraint: Mapping[str, Any]) -> str:
    """`country is one of IT, FR`."""
    known = BY_NAME[constraint["operator"]]
    verb = known.negated if constraint.get("inverted") else known.label
    case = _(" (in upper or lower case)") if known.has_case and constraint.get("caseInsensitive") else ""
    return f"{constraint['contextName']} {_(verb)} {_expected_of(constraint)}{case}"


def _missing(field: str, given: str | None) -> str:
    return _("The context has no %(field)s.") % {"field": field} if given is None else ""


def rollout_label(percentage: int, stickiness: str) -> str:
    if stickiness == "random":
        label = _("%(share)s %% of all requests, drawn at random")
    elif stickiness == "default":
        label = _("%(share)s %% by userId, else sessionId, else drawn at random")
    else:
        label = _("%(share)s %% by %(field)s")
    return label % {"share": percentage, "field": stickiness}


def rule_label(label: str) -> str:
    """`rule 2`, which the engine calls a rule without a name, in the words of the reader."""
    number = label.removeprefix("rule ")
    return _("rule %(number)s") % {"number": number} if number != label and number.isdecimal() else label


def _summary(result: Result, missed: str | None) -> str:
    """The whole result in a sentence; `missed` is the prerequisite that was not met."""
    if result.enabled:
        variant = f" {_('Variant %(name)s') % {'name': result.variant.name}}." if result.variant.enabled else ""
        # The one rule of a flag without rules of its own is called so (feature_flags/unleash_feature.py).
        by_rule = result.rule if result.rule != "everybody" else None
        by = _("On, by %(rule)s.") % {"rule": rule_label(by_rule)} if by_rule else _("On for everybody.")
        return by + variant
    if result.reason == "DISABLED":
        return _("Off: the flag is switched off.")
    if result.reason == "UNKNOWN":
        return _("Off: the flag cannot be read: %(error)s.") % {"error": result.error}
    if missed is not None:
        return _("Off: it needs that %(missed)s.") % {"missed": missed}
    if result.reason == "SPLIT":
        return _("Off: outside of the percentage.")
    return _("Off: no rule lets this context in.")
