"""From a definition to a compiled flag: every result is made here, so that evaluation only picks one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from operator import itemgetter
from typing import Any, NamedTuple

from feature_flags.engine import model, strategies
from feature_flags.engine.model import (
    DISABLED,
    Broken,
    CompiledFlag,
    Context,
    Definition,
    Evaluate,
    Flags,
    Result,
    Variant,
)
from feature_flags.engine.strategies import IN, SPLIT_OUT, Choice, Decide, Outcomes, Segments, Tools
from feature_flags.engine.values import require_text, value_of

# What a matching strategy leads to: a result, or a choice among several.
Consequence = Result | Callable[..., Result]


class Rule(NamedTuple):
    """A strategy in codes, its consequence, and the strategy with results in place of codes."""

    decide: Decide[int] | int
    consequence: Consequence
    outright: Callable[[Outcomes[Result]], Decide[Result] | Result]


class Prerequisite(NamedTuple):
    """`parent` must be on (or off, by `enabled`); with `variants` it must also have chosen one of them."""

    parent: str
    enabled: bool
    variants: frozenset[str]


def compile_flag(
    definition: Definition, segments: Segments, *, clock: model.Clock = time.time, hostname: str | None = None
) -> CompiledFlag:
    """A flag ready to be evaluated. Never raises: a broken one compiles to one that is off, with the reason in `error`.

    `segments` are constraints by segment id. `clock` gives seconds since 1970, `hostname` is this machine's by default.
    """
    tools = Tools(clock, (hostname or system_hostname()).lower())
    try:
        return _Compiler(definition, segments, tools).flag()
    except Broken as problem:
        return _broken(definition, str(problem), tools)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as problem:
        # A document of another shape: lists for mappings, numbers for texts. Only this flag is off.
        return _broken(definition, f"cannot be read ({type(problem).__name__}: {problem})", tools)


@cache
def system_hostname() -> str:
    """The name Unleash's own clients go by."""
    return os.environ.get("hostname") or socket.gethostname()  # noqa: SIM112 - theirs is in lower case


class _Compiler:
    """The state of one compilation."""

    def __init__(self, definition: Definition, segments: Segments, tools: Tools) -> None:
        self.definition, self.segments, self.tools = definition, segments, tools
        self.feature = definition.feature
        self.name = require_text(self.feature.get("name"), "the name of the flag")
        self.prerequisites = tuple(prerequisites_of(self.feature))
        self.choice = strategies.flag_choice(self.feature)

    def flag(self) -> CompiledFlag:
        documents = enumerate(self.feature.get("strategies") or ())
        rules = [self.rule(strategy, self.definition.label(index)) for index, strategy in documents]
        if not rules:  # on for every context
            rules = [Rule(IN, self.consequence(self.choice, self.reason(IN), None), itemgetter(IN))]
        off = _off(self.name, self.definition, model.DEFAULT)
        combined = _combine(rules, off, _off(self.name, self.definition, model.SPLIT))
        if self.feature.get("enabled") is not True:
            combined = _off(self.name, self.definition, model.DISABLED_REASON)
        elif self.prerequisites and combined is not off:
            combined = _behind(self.prerequisites, combined, off)
        constant = combined if isinstance(combined, Result) else None
        return CompiledFlag(
            self.name,
            self.definition,
            _always(combined),
            constant,
            exposed=self.definition.exposed,
            has_parents=bool(self.prerequisites),
            fields=frozenset() if constant else frozenset(_fields(self.feature, self.segments)),
            variant_while_off=_variant_while_off(rules, self.choice),
            clock=self.tools.clock,
            hostname=self.tools.hostname,
        )

    def rule(self, strategy: Mapping[str, Any], label: str) -> Rule:
        try:
            compiled = partial(strategies.compile_strategy, strategy, self.name, self.segments, self.tools)
            decide = compiled(strategies.CODES)
            rollout = strategies.rollout_of(strategy, self.name) if strategies.is_rollout(strategy) else None
            is_split = rollout is not None and 0 < rollout.percentage < 100
            choice = strategies.strategy_choice(strategy, self.name) or self.choice
            consequence = self.consequence(choice, model.SPLIT if is_split else self.reason(decide), label)
            return Rule(decide, consequence, compiled)
        except Broken as problem:
            raise Broken(f"{label}: {problem}") from None

    def reason(self, decide: Decide[int] | int) -> str:
        return model.TARGETING_MATCH if callable(decide) or self.prerequisites else model.STATIC

    def consequence(self, choice: Choice | None, reason: str, label: str | None) -> Consequence:
        def on(variant: Variant, reason: str) -> Result:
            return Result(self.name, True, value_of(self.definition, variant), variant, reason, label)

        if choice is None:
            return on(DISABLED, reason)
        if choice.only is not None:
            return on(choice.variants[choice.only], reason)
        by_weight = [on(variant, model.SPLIT) for variant in choice.variants]
        by_name = [on(variant, model.TARGETING_MATCH) for variant in choice.variants]
        return strategies.compile_choice(choice, by_weight, by_name)


def _variant_while_off(rules: list[Rule], choice: Choice | None) -> Callable[[Context], Variant | None] | None:
    """For children of this flag: the variant it would choose, whether it is on or not; None when it has none."""
    own = None if choice is None else strategies.compile_choice(choice, choice.variants, choice.variants)
    if own is None and not any(callable(rule.consequence) or rule.consequence.variant.enabled for rule in rules):
        return None

    def variant(context: Context) -> Variant | None:
        for decide, found, _ in rules:
            if (decide(context) if callable(decide) else decide) == IN:
                chosen = found(context).variant if callable(found) else found.variant
                return chosen if chosen.enabled else None
        return own(context) if own else None

    return variant


def _off(name: str, definition: Definition, reason: str, error: str = "") -> Result:
    value = False if definition.value_type == "boolean" else definition.off_value
    return Result(name, False, value, DISABLED, reason, None, error)


def _broken(definition: Definition, error: str, tools: Tools) -> CompiledFlag:
    feature = definition.feature if isinstance(definition.feature, Mapping) else {}
    name = str(feature.get("name") or "")
    reason = model.DISABLED_REASON if feature.get("enabled") is False else model.UNKNOWN
    constant = _off(name, definition, reason, error)
    try:
        own_variant = _variant_while_off([], strategies.flag_choice(feature))
    except (AttributeError, LookupError, TypeError, ValueError):
        own_variant = None
    return CompiledFlag(
        name,
        definition,
        _always(constant),
        constant,
        error,
        definition.exposed,
        has_parents=bool(feature.get("dependencies")),
        variant_while_off=own_variant,
        clock=tools.clock,
        hostname=tools.hostname,
    )


# --- Rules ------------------------------------------------------------------------------------------------------------


def _combine(rules: list[Rule], off: Result, split: Result) -> Evaluate | Result:
    """The first rule that matches decides; without one the flag is off, with reason SPLIT where a percentage did it."""
    if any(rule.decide == SPLIT_OUT for rule in rules):
        off = split
    # Without those that never match, and those behind one that always does.
    rules = [rule for rule in rules if callable(rule.decide) or rule.decide == IN]
    always = [index for index, rule in enumerate(rules) if rule.decide == IN]
    rules = rules[: always[0] + 1] if always else rules
    if not rules:
        return off
    if len(rules) > 1:
        return _first(rules, off, split)
    decide, consequence, outright = rules[0]
    if not callable(decide):
        return consequence
    if not callable(consequence):
        # The usual flag is one function.
        return outright((off, split, consequence))
    choose, outs = consequence, (off, split)

    def evaluate(context: Context, flags: Flags) -> Result:
        decision = decide(context)
        return choose(context) if decision == IN else outs[decision]

    return evaluate


def _first(rules: list[Rule], off: Result, split: Result) -> Evaluate:
    steps: list[tuple[Decide[int], Result | None, Any]] = [
        (decide if callable(decide) else lambda context: IN, None if callable(found) else found, found)
        for decide, found, _ in rules
    ]

    def evaluate(context: Context, flags: Flags) -> Result:
        out = off
        for decide, result, choose in steps:
            decision = decide(context)
            if decision == IN:
                found: Result = result or choose(context)
                return found
            if decision == SPLIT_OUT:
                out = split
        return out

    return evaluate


def _always(combined: Evaluate | Result) -> Evaluate:
    return (lambda context, flags: combined) if isinstance(combined, Result) else combined


# --- Prerequisites: looked up while evaluating, so that no compiled flag holds another --------------------------------


def prerequisites_of(feature: Mapping[str, Any]) -> Iterator[Prerequisite]:
    for document in feature.get("dependencies") or ():
        enabled = document.get("enabled")
        if not isinstance(enabled, bool | None):
            raise Broken("a prerequisite is neither on nor off")
        parent = require_text(document.get("feature"), "the name of a prerequisite")
        yield Prerequisite(parent, enabled is not False, frozenset(document.get("variants") or ()))


def _behind(prerequisites: Sequence[Prerequisite], combined: Evaluate | Result, off: Result) -> Evaluate:
    evaluate = _always(combined)

    def evaluate_behind(context: Context, flags: Flags) -> Result:
        for prerequisite in prerequisites:
            if not is_met(prerequisite, context, flags):
                return off
        return evaluate(context, flags)

    return evaluate_behind


def is_met(prerequisite: Prerequisite, context: Context, flags: Flags) -> bool:
    """Whether the parent is as required for this context. One level only: a parent with parents satisfies nothing."""
    parent = flags.get(prerequisite.parent)
    if parent is None or parent.has_parents:
        return False
    result = parent.constant or parent.evaluate(context, flags)
    if result.enabled is not prerequisite.enabled:
        return False
    if not prerequisite.variants:
        return True
    chosen: Variant | None = result.variant
    if not result.enabled:
        chosen = parent.variant_while_off(context) if parent.variant_while_off else None
    # A parent without variants has nothing to compare, which counts as met.
    return chosen is None or chosen is DISABLED or chosen.name in prerequisite.variants


# --- Fields -----------------------------------------------------------------------------------------------------------


def _fields(feature: Mapping[str, Any], segments: Segments) -> Iterator[str]:
    """All that can change the result of a flag that compiles; RANDOM where chance can. Parents are not looked at."""
    choices = [strategies.flag_choice(feature)]
    for strategy in feature.get("strategies") or ():
        choices.append(strategies.strategy_choice(strategy, feature["name"]))
        for constraint in strategies.constraints_of(strategy, segments):
            yield constraint["contextName"]
        if strategy["name"] == "userWithId":
            yield "userId"
        elif strategy["name"] == "remoteAddress":
            yield "remoteAddress"
        rollout = strategies.rollout_of(strategy, feature["name"]) if strategies.is_rollout(strategy) else None
        if rollout is not None and rollout.percentage:
            if rollout.stickiness not in {"default", "random"}:
                yield rollout.stickiness
            elif rollout.percentage < 100:
                yield model.RANDOM
                if rollout.stickiness == "default":
                    yield from ("userId", "sessionId")
    for choice in choices:
        if choice is not None and choice.only is None:
            yield model.RANDOM
            yield from strategies.sticky_fields(choice)
            for override in choice.overrides:
                yield override.field
