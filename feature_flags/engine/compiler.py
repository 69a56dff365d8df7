"""From a definition to a compiled flag: every result is made here, so that evaluation only picks one."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from operator import itemgetter
from typing import Any

from feature_flags.engine import model
from feature_flags.engine.fields import fields_of
from feature_flags.engine.model import DISABLED, Broken, Clock, CompiledFlag, Context, Definition, Result, Variant
from feature_flags.engine.prerequisites import prerequisites_of
from feature_flags.engine.rules import Answer, Rule, always, behind, combine
from feature_flags.engine.strategies import CODES, IN, Decide, Segments, Tools, compile_strategy, is_split
from feature_flags.engine.text import plain
from feature_flags.engine.values import value_of
from feature_flags.engine.variants import Choice, compile_choice, flag_choice, strategy_choice


def compile_flag(
    definition: Definition, segments: Segments, *, clock: Clock = time.time, hostname: str | None = None
) -> CompiledFlag:
    """A flag ready to be asked. Never raises: a broken one compiles to one that is off and says why in `error`.

    `segments` are constraints by segment id. `clock` gives seconds since 1970, `hostname` is this machine's by default.
    """
    tools = Tools(clock, (hostname or system_hostname()).lower())
    try:
        return _Compiler(definition, segments, tools).flag()
    except Broken as problem:
        return _broken(definition, str(problem), tools)
    except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as problem:
        # A document of another shape: lists for mappings, numbers for texts. Whatever it is, only this flag is off.
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
        self.name = plain(self.feature.get("name"), "the name of the flag")
        self.prerequisites = prerequisites_of(self.feature)
        self.choice = flag_choice(self.feature)

    def flag(self) -> CompiledFlag:
        rules = self.rules()
        off = self.off(model.DEFAULT)
        answer = combine(rules, off, self.off(model.SPLIT))
        constant = answer if isinstance(answer, Result) else None
        evaluate = always(answer) if isinstance(answer, Result) else answer
        if self.feature.get("enabled") is not True:
            constant = self.off(model.DISABLED_REASON)
            evaluate = always(constant)
        elif self.prerequisites and constant is not off:
            constant, evaluate = None, behind(self.prerequisites, evaluate, off)
        return CompiledFlag(
            self.name,
            self.definition,
            evaluate,
            constant,
            exposed=self.definition.exposed,
            has_parents=bool(self.prerequisites),
            fields=frozenset() if constant else fields_of(self.feature, self.segments),
            variant_while_off=self.variant_while_off(rules),
            clock=self.tools.clock,
            hostname=self.tools.hostname,
        )

    def rules(self) -> list[Rule]:
        """The strategies in order; a flag without any is on for everybody."""
        strategies = self.feature.get("strategies") or ()
        if not strategies:
            return [Rule(IN, self.answer(self.choice, self.reason(IN), None), itemgetter(IN))]
        return [self.rule(strategy, self.definition.label(index)) for index, strategy in enumerate(strategies)]

    def rule(self, strategy: Mapping[str, Any], label: str) -> Rule:
        try:
            compiled = partial(compile_strategy, strategy, self.name, self.segments, self.tools)
            decide = compiled(CODES)
            reason = model.SPLIT if is_split(strategy, self.name) else self.reason(decide)
            answer = self.answer(strategy_choice(strategy, self.name) or self.choice, reason, label)
            return Rule(decide, answer, compiled)
        except Broken as problem:
            raise Broken(f"{label}: {problem}") from None

    def reason(self, decide: Decide[int] | int) -> str:
        return model.TARGETING_MATCH if callable(decide) or self.prerequisites else model.STATIC

    def answer(self, choice: Choice | None, reason: str, label: str | None) -> Answer:
        """The result of a matching strategy; several variants make it a choice."""
        if choice is None:
            return self.on(DISABLED, reason, label)
        if choice.only is not None:
            return self.on(choice.variants[choice.only], reason, label)
        return compile_choice(
            choice,
            [self.on(variant, model.SPLIT, label) for variant in choice.variants],
            [self.on(variant, model.TARGETING_MATCH, label) for variant in choice.variants],
        )

    def on(self, variant: Variant, reason: str, label: str | None) -> Result:
        return Result(self.name, True, value_of(self.definition, variant), variant, reason, label)

    def off(self, reason: str) -> Result:
        return _off(self.name, self.definition, reason)

    def variant_while_off(self, rules: list[Rule]) -> Callable[[Context], Variant | None] | None:
        """For children of this flag: what it would choose, whether it is on or not."""
        choosers = [(rule.decide, _variant_of(rule.answer)) for rule in rules]
        own = _own_variant(self.choice)
        if own is None and not any(choose for _, choose in choosers):
            return None

        def variant(context: Context) -> Variant | None:
            for decide, choose in choosers:
                if (decide(context) if callable(decide) else decide) == IN:
                    return choose(context) if choose else None
            return own(context) if own else None

        return variant


def _variant_of(answer: Answer) -> Callable[[Context], Variant | None] | None:
    if callable(answer):
        choose = answer
        return lambda context: choose(context).variant
    variant = answer.variant
    return None if variant is DISABLED else lambda context: variant


def _own_variant(choice: Choice | None) -> Callable[[Context], Variant] | None:
    return None if choice is None else compile_choice(choice, choice.variants, choice.variants)


def _off(name: str, definition: Definition, reason: str, error: str = "") -> Result:
    value = False if definition.value_type == "boolean" else definition.off_value
    return Result(name, False, value, DISABLED, reason, None, error)


def _broken(definition: Definition, error: str, tools: Tools) -> CompiledFlag:
    feature = definition.feature if isinstance(definition.feature, Mapping) else {}
    switched_off = feature.get("enabled") is False
    name = str(feature.get("name") or "")
    constant = _off(name, definition, model.DISABLED_REASON if switched_off else model.UNKNOWN, error)
    return CompiledFlag(
        name,
        definition,
        always(constant),
        constant,
        error,
        definition.exposed,
        has_parents=bool(feature.get("dependencies")),
        variant_while_off=_readable_own_variant(feature),
        clock=tools.clock,
        hostname=tools.hostname,
    )


def _readable_own_variant(feature: Mapping[str, Any]) -> Callable[[Context], Variant] | None:
    try:
        return _own_variant(flag_choice(feature))
    except (AttributeError, LookupError, TypeError, ValueError):
        return None
