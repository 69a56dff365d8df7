"""One strategy as one function of a context: in, out, or out only because of a percentage.

The caller passes what stands for the three: codes, or at once the results they lead to.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import mmh3

from feature_flags.engine.constraints import CLOCK_FIELD, Test, compile_constraint, field_value
from feature_flags.engine.context import random_value
from feature_flags.engine.model import Broken, Clock, Context
from feature_flags.engine.values import (
    contains,
    read_networks,
    require_entry,
    require_hashable,
    require_name,
    require_text,
    split_list,
)

T = TypeVar("T")
# What a strategy decides. Numbers, so that they can index a tuple of results.
OUT, SPLIT_OUT, IN = CODES = 0, 1, 2

# Called with a context alone, or as a flag is: with the other flags, which no strategy looks at.
Decide = Callable[..., T]
Outcomes = tuple[T, T, T]
Segments = Mapping[int, Sequence[Mapping[str, Any]]]

# The parameter that holds the percentage, by strategy.
_PERCENTAGES = {
    "flexibleRollout": "rollout",
    "gradualRolloutUserId": "percentage",
    "gradualRolloutSessionId": "percentage",
    "gradualRolloutRandom": "percentage",
}
_COUNT = re.compile(r"\+?[0-9]+", re.ASCII)


class Tools(NamedTuple):
    """What evaluation needs from outside: seconds since 1970, and the name of this machine in lower case."""

    clock: Clock
    hostname: str


class Rollout(NamedTuple):
    """A percentage of those who have the value; `stickiness` is a field, `default` or `random`."""

    percentage: int
    stickiness: str
    group: str


def compile_strategy(
    strategy: Mapping[str, Any], flag: str, segments: Segments, tools: Tools, outcomes: Outcomes[T]
) -> Decide[T] | T:
    """How a strategy decides, or its outcome when no context can change it. Raises Broken for what cannot be read."""
    out = outcomes[OUT]
    rule = compile_rule(strategy, flag, tools, outcomes)
    tests: list[Test] = []
    never = False
    for constraint in constraints_of(strategy, segments):
        test = compile_constraint(constraint, tools.clock)
        if callable(test):
            tests.append(test)
        else:
            never = never or not test
    return out if never else _guarded(tests, rule, out)


def constraints_of(strategy: Mapping[str, Any], segments: Segments) -> list[Mapping[str, Any]]:
    """The strategy's own constraints and those of its segments: all must be met."""
    found = list(strategy.get("constraints") or ())
    for segment in strategy.get("segments") or ():
        if segment not in segments:
            raise Broken(f"segment {segment} does not exist")
        found.extend(segments[segment])
    return found


def compile_rule(strategy: Mapping[str, Any], flag: str, tools: Tools, outcomes: Outcomes[T]) -> Decide[T] | T:
    """The strategy without its constraints."""
    name = require_text(strategy.get("name"), "the name of the strategy")
    if name == "default":
        return outcomes[IN]
    if name in _PERCENTAGES:
        rollout = rollout_of(strategy, flag)
        return outcomes[OUT] if rollout is None else _rollout(rollout, tools, outcomes)
    compile_target = _TARGETS.get(name)
    # A custom strategy is known to its own client, not here.
    if compile_target is None:
        return outcomes[OUT]
    compiled: Decide[T] | T = compile_target(strategy.get("parameters") or {}, tools, outcomes)
    return compiled


def _guarded(tests: Sequence[Test], rule: Decide[T] | T, out: T) -> Decide[T] | T:
    """The rule behind its tests; one or two tests without a loop."""
    if not tests or rule == out:
        return rule
    if callable(rule):
        return _guarded_rule(tests, rule, out)
    if len(tests) == 1:
        (only,) = tests
        return lambda context, flags=None: rule if only(context) else out
    if len(tests) == 2:
        first, second = tests
        return lambda context, flags=None: rule if first(context) and second(context) else out
    return _guarded_rule(tests, lambda context: rule, out)


def _guarded_rule(tests: Sequence[Test], rule: Decide[T], out: T) -> Decide[T]:
    if len(tests) == 1:
        (only,) = tests
        return lambda context, flags=None: rule(context) if only(context) else out
    if len(tests) == 2:
        first, second = tests
        return lambda context, flags=None: rule(context) if first(context) and second(context) else out

    def decide(context: Context, flags: object = None) -> T:
        for test in tests:
            if not test(context):
                return out
        return rule(context)

    return decide


def rollout_of(strategy: Mapping[str, Any], flag: str) -> Rollout | None:
    """The percentage of a rollout strategy; None when a parameter is missing, so that it matches no context."""
    parameters = strategy.get("parameters") or {}
    name = strategy["name"]
    percentage = _count(parameters.get(_PERCENTAGES[name]))
    if percentage is None:
        return None
    if name == "gradualRolloutRandom":
        return Rollout(min(percentage, 100), "random", require_hashable(flag, "the name of the flag"))
    if name == "flexibleRollout":
        stickiness = require_name(parameters.get("stickiness", "default"), "the stickiness")
        group = parameters.get("groupId", flag)
    else:
        stickiness = "userId" if name == "gradualRolloutUserId" else "sessionId"
        group = parameters.get("groupId")
        if group is None:
            return None
    if "groupId" in parameters:
        group = require_name(group, "the group").replace('\\"', '"')
    if percentage > 100:
        raise Broken(f"a rollout of {percentage} %")
    return Rollout(percentage, stickiness, require_hashable(group, "the group"))


def is_split(strategy: Mapping[str, Any], flag: str) -> bool:
    """Whether a percentage between 0 and 100 decides."""
    if not is_rollout(strategy):
        return False
    rollout = rollout_of(strategy, flag)
    return rollout is not None and 0 < rollout.percentage < 100


def is_rollout(strategy: Mapping[str, Any]) -> bool:
    return strategy.get("name") in _PERCENTAGES


def sticky_value(rollout: Rollout, context: Context, tools: Tools) -> str | None:
    """What of a context goes into the hash; None when the context lacks the field."""
    if rollout.stickiness == "random":
        return random_value(context)
    if rollout.stickiness == "default":
        value = context.get("userId", context.get("sessionId"))
        return random_value(context) if value is None else value
    return field_value(rollout.stickiness, context, tools.clock)


def bucket(group: str, value: str) -> int:
    """1 to 100: in when it is at most the percentage."""
    return mmh3.hash(f"{group}:{value}", 0, False) % 100 + 1


def _rollout(rollout: Rollout, tools: Tools, outcomes: Outcomes[T]) -> Decide[T] | T:
    percentage, stickiness, group = rollout
    out, split_out, inside = outcomes
    always_has_value = stickiness in ("default", "random", CLOCK_FIELD)
    if percentage == 0:
        return split_out
    if percentage == 100:
        if always_has_value:
            return inside
        return lambda context, flags=None: out if context.get(stickiness) is None else inside
    prefix = f"{group}:"
    murmur = mmh3.hash
    if stickiness == "default":
        # The usual one, spelled out: three calls fewer.
        def decide_by_default(context: Context, flags: object = None) -> T:
            value = context.get("userId")
            if value is None:
                value = context.get("sessionId")
                if value is None:
                    value = random_value(context)
            return inside if murmur(prefix + value, 0, False) % 100 < percentage else split_out

        return decide_by_default
    if always_has_value:
        return lambda context, flags=None: (
            inside
            if murmur(prefix + (sticky_value(rollout, context, tools) or ""), 0, False) % 100 < percentage
            else split_out
        )

    def decide(context: Context, flags: object = None) -> T:
        value = context.get(stickiness)
        if value is None:
            return out
        return inside if murmur(prefix + value, 0, False) % 100 < percentage else split_out

    return decide


def _listed(parameters: Mapping[str, Any], key: str) -> list[str]:
    return split_list(require_text(parameters.get(key, ""), key))


def _user_ids(parameters: Mapping[str, Any], tools: Tools, outcomes: Outcomes[T]) -> Decide[T] | T:
    out, _, inside = outcomes
    if parameters.get("userIds") is None:
        return out
    ids = frozenset(require_entry(piece, "a user id") for piece in _listed(parameters, "userIds"))
    return lambda context, flags=None: inside if context.get("userId") in ids else out


def _addresses(parameters: Mapping[str, Any], tools: Tools, outcomes: Outcomes[T]) -> Decide[T] | T:
    out, _, inside = outcomes
    if parameters.get("IPs") is None:
        return out
    wanted = read_networks(require_name(piece, "an address") for piece in _listed(parameters, "IPs"))

    def decide(context: Context, flags: object = None) -> T:
        address = context.get("remoteAddress")
        return inside if address is not None and contains(wanted, address) else out

    return decide


def _hosts(parameters: Mapping[str, Any], tools: Tools, outcomes: Outcomes[T]) -> T:
    names = _listed(parameters, "hostNames")
    wanted = {require_name(name, "a host name").replace('\\"', '"').lower() for name in names}
    return outcomes[IN if tools.hostname in wanted else OUT]


_TARGETS: dict[str, Callable[[Mapping[str, Any], Tools, Outcomes[Any]], Any]] = {
    "userWithId": _user_ids,
    "remoteAddress": _addresses,
    "applicationHostname": _hosts,
}


def _count(value: object) -> int | None:
    """A whole number as the reference engine reads it; None for another text, which matches no context."""
    if value is None or not _COUNT.fullmatch(require_text(value, "the percentage")):
        return None
    number = int(str(value).lstrip("+0")[:21] or "0")
    return number if number < 2**64 else None
