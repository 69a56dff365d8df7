"""Strategies as the one function a flag is: the first that lets in answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from feature_flags.engine.model import Context, Evaluate, Flags, Result
from feature_flags.engine.prerequisites import Prerequisite, all_met
from feature_flags.engine.strategies import IN, SPLIT_OUT, Decide, Outcomes

# What a matching strategy answers: a result, or a choice among several.
Answer = Result | Callable[..., Result]


class Rule(NamedTuple):
    """A strategy in codes, what it answers when it lets in, and the strategy with results in place of codes."""

    decide: Decide[int] | int
    answer: Answer
    outright: Callable[[Outcomes[Result]], Decide[Result] | Result]


def combine(rules: list[Rule], off: Result, split: Result) -> Evaluate | Result:
    """The first rule that lets in answers; with none of them the flag is off, because of a percentage or not."""
    if any(rule.decide == SPLIT_OUT for rule in rules):
        off = split
    rules = _reachable(rules)
    if not rules:
        return off
    if len(rules) > 1:
        return _first(rules, off, split)
    decide, answer, outright = rules[0]
    if not callable(decide):
        return answer
    if not callable(answer):
        # The usual flag is one function.
        return outright((off, split, answer))
    return _choosing(decide, answer, (off, split))


def _reachable(rules: list[Rule]) -> list[Rule]:
    """Without those that never let in, and those behind one that always does."""
    kept = [rule for rule in rules if callable(rule.decide) or rule.decide == IN]
    always = [index for index, rule in enumerate(kept) if rule.decide == IN]
    return kept[: always[0] + 1] if always else kept


def _choosing(decide: Decide[int], choose: Callable[..., Result], outs: tuple[Result, Result]) -> Evaluate:
    def evaluate(context: Context, flags: Flags) -> Result:
        decision = decide(context)
        return choose(context) if decision == IN else outs[decision]

    return evaluate


def _first(rules: list[Rule], off: Result, split: Result) -> Evaluate:
    def always_in(context: Context) -> int:
        return IN

    steps = [
        (decide if callable(decide) else always_in, None if callable(answer) else answer, answer)
        for decide, answer, _ in rules
    ]

    def evaluate(context: Context, flags: Flags) -> Result:
        out = off
        for decide, result, choose in steps:
            decision = decide(context)
            if decision == IN:
                return result or choose(context)  # type: ignore[operator]
            if decision == SPLIT_OUT:
                out = split
        return out

    return evaluate


def behind(prerequisites: Sequence[Prerequisite], evaluate: Evaluate, off: Result) -> Evaluate:
    return lambda context, flags: evaluate(context, flags) if all_met(prerequisites, context, flags) else off


def always(result: Result) -> Evaluate:
    return lambda context, flags: result
