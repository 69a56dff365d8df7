"""Which variant a context gets: overrides first, then weights over a hash."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple, TypeVar

import mmh3

from feature_flags.engine.constraints import CLOCK_FIELD
from feature_flags.engine.context import RANDOM, random_value
from feature_flags.engine.model import Broken, Context, Variant
from feature_flags.engine.values import require_hashable, require_text

T = TypeVar("T")

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
    overrides = tuple(
        Override(
            require_text(override.get("contextName"), "the field of an override"),
            frozenset(override.get("values") or ()),
            index,
        )
        for index, document in enumerate(documents)
        for override in document.get("overrides") or ()
    )
    return _choice(documents, overrides, documents[0].get("stickiness"), feature["name"])


def strategy_choice(strategy: Mapping[str, Any], flag: str) -> Choice | None:
    """A strategy's variants, with the strategy's stickiness and group: the variants' own are not looked at."""
    documents = strategy.get("variants") or ()
    if not documents:
        return None
    parameters = strategy.get("parameters") or {}
    return _choice(documents, (), parameters.get("stickiness"), parameters.get("groupId", flag))


def _choice(
    documents: Sequence[Mapping[str, Any]], overrides: tuple[Override, ...], stickiness: object, group: object
) -> Choice | None:
    variants = tuple(
        Variant(require_text(document.get("name"), "the name of a variant"), dict(payload) if payload else None, True)
        for document in documents
        for payload in [document.get("payload")]
    )
    cumulative = list(accumulate(map(_weight, documents)))
    if not cumulative[-1]:
        # Our form refuses it and the reference engine fails on it: there is no variant.
        return None
    return Choice(
        variants,
        cumulative,
        overrides,
        require_text("default" if stickiness is None else stickiness, "the stickiness"),
        require_hashable(group, "the group"),
    )


def _weight(document: Mapping[str, Any]) -> int:
    weight = document.get("weight")
    if not isinstance(weight, int) or isinstance(weight, bool) or weight < 0:
        raise Broken("the weight of a variant is no whole number")
    return weight


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
