"""Which fields of a context a flag looks at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from feature_flags.engine.context import DRAW
from feature_flags.engine.strategies import Rollout, Segments, constraints_of, is_rollout, rollout_of
from feature_flags.engine.variants import Choice, flag_choice, sticky_fields, strategy_choice


def fields_of(feature: Mapping[str, Any], segments: Segments) -> frozenset[str]:
    """All that can change the answer of a flag that compiles; DRAW where chance can. Parents are not looked at."""
    return frozenset(_fields(feature, segments))


def _fields(feature: Mapping[str, Any], segments: Segments) -> Iterator[str]:
    yield from _of_choice(flag_choice(feature))
    for strategy in feature.get("strategies") or ():
        for constraint in constraints_of(strategy, segments):
            yield constraint["contextName"]
        yield from _of_rule(strategy, feature["name"])
        yield from _of_choice(strategy_choice(strategy, feature["name"]))


def _of_rule(strategy: Mapping[str, Any], flag: str) -> Iterator[str]:
    if is_rollout(strategy):
        yield from _of_rollout(rollout_of(strategy, flag))
    elif strategy["name"] == "userWithId":
        yield "userId"
    elif strategy["name"] == "remoteAddress":
        yield "remoteAddress"


def _of_rollout(rollout: Rollout | None) -> Iterator[str]:
    if rollout is None or rollout.percentage == 0:
        return
    if rollout.stickiness not in {"default", "random"}:
        yield rollout.stickiness
    elif rollout.percentage < 100:
        yield DRAW
        if rollout.stickiness == "default":
            yield from ("userId", "sessionId")


def _of_choice(choice: Choice | None) -> Iterator[str]:
    if choice is not None and choice.only is None:
        yield DRAW
        yield from sticky_fields(choice)
        for override in choice.overrides:
            yield override.field
