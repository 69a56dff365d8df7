"""A strategy as one function of a context: in, out, or out only because of a percentage; and which variant follows.

The caller passes what stands for the three: codes, or at once the results they lead to.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import mmh3

from feature_flags.engine import values
from feature_flags.engine.constraints import CLOCK_FIELD, Test, compile_constraint, field_value
from feature_flags.engine.model import RANDOM, Broken, Clock, Context, Variant, random_value

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
# What is looked at (a field of the context, but for the host name), and the parameter that lists what is let in.
TARGETS = {
    "userWithId": ("userId", "userIds"),
    "remoteAddress": ("remoteAddress", "IPs"),
    "applicationHostname": ("hostname", "hostNames"),
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
    rule = compile_rule(strategy, flag, tools, outcomes)
    tests = [compile_constraint(constraint, tools.clock) for constraint in constraints_of(strategy, segments)]
    if False in tests:
        return outcomes[OUT]
    return _guarded([test for test in tests if callable(test)], rule, outcomes[OUT])


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
    name = values.require_text(strategy.get("name"), "the name of the strategy")
    if name == "default":
        return outcomes[IN]
    if name in _PERCENTAGES:
        rollout = rollout_of(strategy, flag)
        return outcomes[OUT] if rollout is None else _rollout(rollout, tools, outcomes)
    if name in TARGETS:
        return _target(name, strategy.get("parameters") or {}, tools, outcomes)
    # A custom strategy is known to its own client, not here.
    return outcomes[OUT]


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
    given = parameters.get(_PERCENTAGES[name])
    if given is None or not _COUNT.fullmatch(values.require_text(given, "the percentage")):
        return None
    percentage = int(given.lstrip("+0")[:21] or "0")
    if percentage >= 2**64:  # more than the reference engine reads
        return None
    if name == "gradualRolloutRandom":
        return Rollout(min(percentage, 100), "random", values.require_hashable(flag, "the name of the flag"))
    if name == "flexibleRollout":
        stickiness = values.require_name(parameters.get("stickiness", "default"), "the stickiness")
        group = parameters.get("groupId", flag)
    else:
        stickiness = "userId" if name == "gradualRolloutUserId" else "sessionId"
        group = parameters.get("groupId")
        if group is None:
            return None
    if "groupId" in parameters:
        group = values.require_name(group, "the group").replace('\\"', '"')
    if percentage > 100:
        raise Broken(f"a rollout of {percentage} %")
    return Rollout(percentage, stickiness, values.require_hashable(group, "the group"))


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


def _target(name: str, parameters: Mapping[str, Any], tools: Tools, outcomes: Outcomes[T]) -> Decide[T] | T:
    out, _, inside = outcomes
    key = TARGETS[name][1]
    if name != "applicationHostname" and parameters.get(key) is None:
        return out
    listed = values.split_list(values.require_text(parameters.get(key, ""), key))
    if name == "userWithId":
        ids = frozenset(values.require_entry(piece, "a user id") for piece in listed)
        return lambda context, flags=None: inside if context.get("userId") in ids else out
    if name == "applicationHostname":
        hosts = {values.require_name(piece, "a host name").replace('\\"', '"').lower() for piece in listed}
        return inside if tools.hostname in hosts else out
    wanted = values.read_networks(values.require_name(piece, "an address") for piece in listed)

    def decide(context: Context, flags: object = None) -> T:
        address = context.get("remoteAddress")
        return inside if address is not None and values.contains(wanted, address) else out

    return decide


# --- Variants: overrides first, then weights over a hash --------------------------------------------------------------

# A seed of their own, so that a variant does not follow from the rollout bucket.
VARIANT_SEED = 86028157


class Override(NamedTuple):
    field: str
    values: frozenset[str]
    position: int


class Choice(NamedTuple):
    """Everything a choice depends on. `stickiness` is a field or `default`; without one, a random value is hashed."""

    variants: tuple[Variant, ...]
    cumulative: list[int]
    overrides: tuple[Override, ...]
    stickiness: str
    group: str

    @property
    def total(self) -> int:
        return self.cumulative[-1]

    @property
    def only(self) -> int | None:
        """The index of the variant every context gets; None when something has to be decided."""
        index = bisect_left(self.cumulative, 1)
        return index if self.cumulative[index] == self.total and not self.overrides else None


def flag_choice(feature: Mapping[str, Any]) -> Choice | None:
    """The flag's own variants: grouped by its name, with the stickiness of the first; None without any."""
    documents = feature.get("variants") or ()
    if not documents:
        return None
    overrides = [
        Override(
            values.require_text(override.get("contextName"), "the field of an override"),
            frozenset(override.get("values") or ()),
            index,
        )
        for index, document in enumerate(documents)
        for override in document.get("overrides") or ()
    ]
    return _choice(documents, documents[0].get("stickiness"), feature["name"], overrides)


def strategy_choice(strategy: Mapping[str, Any], flag: str) -> Choice | None:
    """A strategy's variants, with the strategy's stickiness and group: the variants' own are not looked at."""
    documents = strategy.get("variants") or ()
    if not documents:
        return None
    parameters = strategy.get("parameters") or {}
    return _choice(documents, parameters.get("stickiness"), parameters.get("groupId", flag))


def _choice(
    documents: Sequence[Mapping[str, Any]], stickiness: object, group: object, overrides: Sequence[Override] = ()
) -> Choice | None:
    variants, weights = [], []
    for document in documents:
        payload, weight = document.get("payload"), document.get("weight")
        name = values.require_text(document.get("name"), "the name of a variant")
        variants.append(Variant(name, dict(payload) if payload else None, True))
        if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
            raise Broken("the weight of a variant is no whole number")
        weights.append(weight)
    if not sum(weights):
        # Our form refuses it and the reference engine fails on it: there is no variant.
        return None
    stickiness = values.require_text("default" if stickiness is None else stickiness, "the stickiness")
    group = values.require_hashable(group, "the group")
    return Choice(tuple(variants), list(accumulate(weights)), tuple(overrides), stickiness, group)


def compile_choice(choice: Choice, outcomes: Sequence[T], overridden: Sequence[T]) -> Callable[..., T]:
    """A function from a context to what the chosen variant leads to; like a flag it may be handed the other flags.

    Both sequences go by the index of the variant: `outcomes` for the weights, `overridden` for an override.
    """
    murmur, prefix, total, cumulative = mmh3.hash, f"{choice.group}:", choice.total, choice.cumulative
    first, second = sticky_fields(choice)

    def weighted(context: Context, flags: object = None) -> T:
        value = context.get(first)
        if value is None:
            value = context.get(second)
            if value is None:
                value = random_value(context)
        return outcomes[bisect_left(cumulative, murmur(prefix + value, VARIANT_SEED, False) % total + 1)]

    if not choice.overrides:
        return weighted

    def choose(context: Context, flags: object = None) -> T:
        override = override_of(choice, context)
        return weighted(context) if override is None else overridden[override.position]

    return choose


def override_of(choice: Choice, context: Context) -> Override | None:
    """The first override that names the caller."""
    for override in choice.overrides:
        if context.get(override.field) in override.values:
            return override
    return None


def choice_value(choice: Choice, context: Context) -> str:
    """What goes into the hash."""
    first, second = sticky_fields(choice)
    value = context.get(first, context.get(second))
    return random_value(context) if value is None else value


def variant_bucket(choice: Choice, value: str) -> int:
    """1 to the total: the first variant whose summed weight reaches it is chosen."""
    return mmh3.hash(f"{choice.group}:{value}", VARIANT_SEED, False) % choice.total + 1


def sticky_fields(choice: Choice) -> tuple[str, str]:
    """The fields whose value decides, in their order; without either a random value does."""
    if choice.stickiness == "default":
        return "userId", "sessionId"
    # The time identifies no context; the reference engine takes a random value.
    field = RANDOM if choice.stickiness == CLOCK_FIELD else choice.stickiness
    return field, field
