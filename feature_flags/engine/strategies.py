"""One strategy as one function: `decide(context)` says in, out, or out only because of a percentage."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import mmh3

from feature_flags.engine import networks
from feature_flags.engine.constraints import CLOCK_FIELD, Test, compile_constraint, given
from feature_flags.engine.hashing import draw
from feature_flags.engine.model import Broken, Clock, Context
from feature_flags.engine.text import hashable, listed, plain, raw, split

# What a strategy decides. Numbers, so that they can index a tuple of results.
OUT, SPLIT_OUT, IN = 0, 1, 2

Decide = Callable[[Context], int]
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
    """What the outside lends: seconds since 1970, and the name of this machine in lower case."""

    clock: Clock
    hostname: str


class Rollout(NamedTuple):
    """A percentage of those who have the value; `stickiness` is a field, `default` or `random`."""

    percentage: int
    stickiness: str
    group: str


def compile_strategy(strategy: Mapping[str, Any], flag: str, segments: Segments, tools: Tools) -> Decide | int:
    """How a strategy decides, or its decision when no context can change it. Raises Broken for what cannot be read."""
    rule = compile_rule(strategy, flag, tools)
    tests: list[Test] = []
    never = False
    for constraint in constraints_of(strategy, segments):
        test = compile_constraint(constraint, tools.clock)
        if callable(test):
            tests.append(test)
        else:
            never = never or not test
    return OUT if never else guarded(tests, rule)


def constraints_of(strategy: Mapping[str, Any], segments: Segments) -> list[Mapping[str, Any]]:
    """The strategy's own constraints and those of its segments: all must be met."""
    found = list(strategy.get("constraints") or ())
    for segment in strategy.get("segments") or ():
        if segment not in segments:
            raise Broken(f"segment {segment} does not exist")
        found.extend(segments[segment])
    return found


def compile_rule(strategy: Mapping[str, Any], flag: str, tools: Tools) -> Decide | int:
    """The strategy without its constraints."""
    name = plain(strategy.get("name"), "the name of the strategy")
    if name == "default":
        return IN
    if name in _PERCENTAGES:
        rollout = rollout_of(strategy, flag)
        return OUT if rollout is None else _rollout(rollout, tools)
    compile_target = _TARGETS.get(name)
    # A strategy of somebody's own lives in his client, not here.
    return OUT if compile_target is None else compile_target(strategy.get("parameters") or {}, tools)


def guarded(tests: Sequence[Test], rule: Decide | int) -> Decide | int:
    """The rule behind its tests; one or two tests without a loop."""
    if not tests or rule == OUT:
        return rule
    if callable(rule):
        return _guarded_rule(tests, rule)
    if len(tests) == 1:
        (only,) = tests
        return lambda context: rule if only(context) else OUT
    if len(tests) == 2:
        first, second = tests
        return lambda context: rule if first(context) and second(context) else OUT
    return _guarded_rule(tests, lambda context: rule)


def _guarded_rule(tests: Sequence[Test], rule: Decide) -> Decide:
    if len(tests) == 1:
        (only,) = tests
        return lambda context: rule(context) if only(context) else OUT
    if len(tests) == 2:
        first, second = tests
        return lambda context: rule(context) if first(context) and second(context) else OUT

    def decide(context: Context) -> int:
        for test in tests:
            if not test(context):
                return OUT
        return rule(context)

    return decide


def rollout_of(strategy: Mapping[str, Any], flag: str) -> Rollout | None:
    """The percentage of a rollout strategy; None when it lets nobody in for want of a parameter."""
    parameters = strategy.get("parameters") or {}
    name = strategy["name"]
    percentage = _count(parameters.get(_PERCENTAGES[name]))
    if percentage is None:
        return None
    if name == "gradualRolloutRandom":
        return Rollout(min(percentage, 100), "random", hashable(flag, "the name of the flag"))
    if name == "flexibleRollout":
        stickiness = raw(parameters.get("stickiness", "default"), "the stickiness")
        group = parameters.get("groupId", flag)
    else:
        stickiness = "userId" if name == "gradualRolloutUserId" else "sessionId"
        group = parameters.get("groupId")
        if group is None:
            return None
    if "groupId" in parameters:
        group = raw(group, "the group").replace('\\"', '"')
    if percentage > 100:
        raise Broken(f"a rollout of {percentage} %")
    return Rollout(percentage, stickiness, hashable(group, "the group"))


def is_split(strategy: Mapping[str, Any], flag: str) -> bool:
    """Whether a percentage decides: neither nobody nor everybody."""
    if not is_rollout(strategy):
        return False
    rollout = rollout_of(strategy, flag)
    return rollout is not None and 0 < rollout.percentage < 100


def is_rollout(strategy: Mapping[str, Any]) -> bool:
    return strategy.get("name") in _PERCENTAGES


def sticky_value(rollout: Rollout, context: Context, tools: Tools) -> str | None:
    """What of a context goes into the hash; None when it has nothing to be recognised by."""
    if rollout.stickiness == "random":
        return draw(context)
    if rollout.stickiness == "default":
        return _default_value(context)
    return given(rollout.stickiness, context, tools.clock)


def _default_value(context: Context) -> str:
    value = context.get("userId")
    if value is None:
        value = context.get("sessionId")
    return draw(context) if value is None else value


def _rollout(rollout: Rollout, tools: Tools) -> Decide | int:
    percentage, stickiness, group = rollout
    drawn = stickiness in ("default", "random")
    if percentage == 0:
        return SPLIT_OUT
    if percentage == 100:
        if drawn or stickiness == CLOCK_FIELD:
            return IN
        return lambda context: OUT if context.get(stickiness) is None else IN
    prefix = f"{group}:"
    murmur = mmh3.hash
    if stickiness == "default":
        # The usual one, spelled out: three calls fewer.
        def decide_by_default(context: Context) -> int:
            value = context.get("userId")
            if value is None:
                value = context.get("sessionId")
                if value is None:
                    value = draw(context)
            return IN if murmur(prefix + value, 0, False) % 100 < percentage else SPLIT_OUT

        return decide_by_default
    if drawn or stickiness == CLOCK_FIELD:
        return lambda context: (
            IN
            if murmur(prefix + (sticky_value(rollout, context, tools) or ""), 0, False) % 100 < percentage
            else SPLIT_OUT
        )

    def decide(context: Context) -> int:
        value = context.get(stickiness)
        if value is None:
            return OUT
        return IN if murmur(prefix + value, 0, False) % 100 < percentage else SPLIT_OUT

    return decide


def _user_ids(parameters: Mapping[str, Any], tools: Tools) -> Decide | int:
    if parameters.get("userIds") is None:
        return OUT
    ids = frozenset(listed(piece, "a user id") for piece in split(plain(parameters["userIds"], "userIds")))
    return lambda context: IN if context.get("userId") in ids else OUT


def _addresses(parameters: Mapping[str, Any], tools: Tools) -> Decide | int:
    if parameters.get("IPs") is None:
        return OUT
    wanted = networks.gather(raw(piece, "an address") for piece in split(plain(parameters["IPs"], "IPs")))

    def decide(context: Context) -> int:
        address = context.get("remoteAddress")
        return IN if address is not None and networks.contains(wanted, address) else OUT

    return decide


def _hosts(parameters: Mapping[str, Any], tools: Tools) -> int:
    names = split(plain(parameters.get("hostNames", ""), "hostNames"))
    wanted = {raw(name, "a host name").replace('\\"', '"').lower() for name in names}
    return IN if tools.hostname in wanted else OUT


_TARGETS: dict[str, Callable[[Mapping[str, Any], Tools], Decide | int]] = {
    "userWithId": _user_ids,
    "remoteAddress": _addresses,
    "applicationHostname": _hosts,
}


def _count(value: object) -> int | None:
    """A whole number as the reference engine reads it; None when the text is none, which lets nobody in."""
    if value is None or not _COUNT.fullmatch(plain(value, "the percentage")):
        return None
    number = int(str(value).lstrip("+0")[:21] or "0")
    return number if number < 2**64 else None
