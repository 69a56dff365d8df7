"""Strategies and variants of one Unleash feature, turned into our rules, targets and variants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from feature_flags import names
from feature_flags.engine.values import read_network, read_payload, split_list
from feature_flags.flag_document import MAX_TARGETS, Document, InvalidFlag, Place, Problem, payload_problem
from feature_flags.formats.reading import Warn
from feature_flags.formats.unleash_parts import Feature, Strategy, Variant, constraints

_NOBODY: Document = {"rollout_percent": 0}
_PERCENT = re.compile(r"\+?[0-9]+", re.ASCII)


class Reader:
    """One feature being read; problems are collected."""

    def __init__(self, feature: Feature, segments: Mapping[int, str], warn: Warn) -> None:
        self.feature, self.segments, self.warn = feature, segments, warn
        self.problems: list[Problem] = []
        self.value_type = self._value_type()

    def members(self) -> Document:
        """`rules`, `targets`, `variants`, `stickiness`, and `value_type` when the payloads tell it; InvalidFlag."""
        strategies = self.feature.strategies or []
        targets = self._always_on(strategies)
        variants = self.feature.variants or []
        given = variants[0].stickiness if variants else None
        stickiness = "default" if given is None else given
        rest = list(enumerate(strategies))[1 if targets else 0 :]
        # No rule is "everybody" too, but spreads with the stickiness of the variants.
        is_everybody = not rest or (len(rest) == 1 and rest[0][1].name == "default" and rest[0][1].is_plain)
        if is_everybody and stickiness == "default":
            rules = []
        elif not rest:
            rules = [self._rule(Strategy(name="default"), 0)]
        else:
            rules = [self._rule(strategy, number) for number, strategy in rest]
        members: Document = {
            "rules": rules,
            "targets": {"on": targets, "off": []},
            "variants": self._variants(variants, ()),
            "stickiness": stickiness,
        }
        if self.value_type:
            members["value_type"] = self.value_type
        if self.problems:
            raise InvalidFlag(self.problems)
        return members

    def _always_on(self, strategies: Sequence[Strategy]) -> list[str]:
        """The people our own export puts first, as user ids; alone they would leave a flag without rules: everybody."""
        if len(strategies) < 2 or strategies[0].name != "userWithId" or not strategies[0].is_plain:
            return []
        ids = _split(strategies[0].parameters, "userIds")
        return ids if len(ids) <= MAX_TARGETS and all(len(one) <= 200 for one in ids) else []

    def _rule(self, strategy: Strategy, number: int) -> Document:
        place: Place = ("strategies", number)
        found = constraints(strategy.constraints or [])
        read = _STRATEGIES.get(strategy.name)
        if read is None:
            self._problem(place, f"The strategy {strategy.name} cannot be held: only its own client can decide it.")
            return {}
        who = read(self, strategy, place)
        if strategy.variants and _splits_otherwise(strategy):
            self._problem((*place, "variants"), f"Variants of the strategy {strategy.name} cannot be held.")
        return {
            "label": (strategy.title or "").strip()[:200],
            "is_enabled": not strategy.disabled,
            "group_id": self.feature.name,
            **who,
            "constraints": [*who.get("constraints", ()), *found],
            "segments": [self._segment(key, place) for key in strategy.segments or []],
            "variants": self._variants(strategy.variants or [], place),
        }

    def _segment(self, key: int | str, place: Place) -> str:
        name = self.segments.get(key) if isinstance(key, int) else key if key in self.segments.values() else None
        if name is None:
            self._problem((*place, "segments"), f"The file holds no segment {key}.")
        return name or ""

    # --- Who a strategy lets in ---------------------------------------------------------------------------------------

    def _default(self, strategy: Strategy, place: Place) -> Document:
        return self._grouped(strategy, place, is_used=bool(strategy.variants))

    def _flexible(self, strategy: Strategy, place: Place) -> Document:
        percent = self._percent(strategy, "rollout", place)
        stickiness = str((strategy.parameters or {}).get("stickiness", "default"))
        is_used = 0 < percent < 100 or bool(strategy.variants)
        return {
            **self._grouped(strategy, place, is_used=is_used),
            "rollout_percent": percent,
            "stickiness": stickiness,
        }

    def _gradual(self, strategy: Strategy, place: Place) -> Document:
        percent = self._percent(strategy, "percentage", place)
        if strategy.name == "gradualRolloutRandom":
            return {"rollout_percent": percent, "stickiness": "random"}
        if "groupId" not in (strategy.parameters or {}):
            self._problem((*place, "parameters"), "It has no groupId: Unleash's clients disagree about such a rollout.")
        stickiness = "userId" if strategy.name == "gradualRolloutUserId" else "sessionId"
        is_used = 0 < percent < 100 or bool(strategy.variants)
        grouped = self._grouped(strategy, place, is_used=is_used)
        return {**grouped, "rollout_percent": percent, "stickiness": stickiness}

    def _people(self, strategy: Strategy, place: Place) -> Document:
        grouped = self._default(strategy, place)
        ids = _split(strategy.parameters, "userIds")
        return {**grouped, **_one_of("userId", "IN", ids)}

    def _addresses(self, strategy: Strategy, place: Place) -> Document:
        grouped = self._default(strategy, place)
        addresses = _split(strategy.parameters, "IPs")
        good = [address for address in addresses if read_network(address) is not None]
        if bad := [address for address in addresses if address not in good]:
            self.warn(f"{self.feature.name}: {', '.join(bad)} is no address and left out, as clients do")
        return {**grouped, **_one_of("remoteAddress", "IN_CIDR", good)}

    def _percent(self, strategy: Strategy, key: str, place: Place) -> int:
        text = str((strategy.parameters or {}).get(key, ""))
        if not _PERCENT.fullmatch(text) or len(text) > 9:
            self._problem((*place, "parameters", key), f"“{text}” is no percentage.")
            return 0
        # Beyond 100 the others are broken, and refused before.
        return min(int(text), 100)

    def _grouped(self, strategy: Strategy, place: Place, *, is_used: bool) -> Document:
        """The group as it is: another one would deal everybody's place anew."""
        group = (strategy.parameters or {}).get("groupId", self.feature.name)
        if not group and is_used:
            self._problem((*place, "parameters", "groupId"), "An empty group cannot be held.")
        return {"group_id": str(group)} if group else {}

    # --- Variants -----------------------------------------------------------------------------------------------------

    def _value_type(self) -> str:
        """The type that all payloads share; else string, of which a payload of any type is one. Empty: no variants."""
        lists = [self.feature.variants or [], *(strategy.variants or [] for strategy in self.feature.strategies or [])]
        variants = [variant for found in lists for variant in found if variant.weight]
        payloads = [variant.payload for variant in variants if variant.payload]
        if not payloads:
            return "boolean" if variants else ""
        kinds = {payload.type for payload in payloads}
        for value_type in _TYPES.get(kinds.pop(), ()) if len(kinds) == 1 else ():
            if all(_fits(payload.value, value_type) for payload in payloads):
                return value_type
        if any(payload.type not in ("string", "csv") for payload in payloads):
            self.warn(f"{self.feature.name}: its payloads are of no one type here, they become texts of type string")
        return "string"

    def _variants(self, variants: Sequence[Variant], place: Place) -> list[Document]:
        found = []
        for number, variant in enumerate(variants):
            # Without weight it is chosen by an override or never.
            if variant.weight or variant.overrides:
                found.append(self._variant(variant, (*place, "variants", number)))
            else:
                self.warn(f"{self.feature.name}: variant {variant.name} has no weight and is left out")
        return found

    def _variant(self, variant: Variant, place: Place) -> Document:
        if problem := names.problem(variant.name):
            self._problem((*place, "name"), f"“{variant.name}” cannot be held. {problem}")
        if variant.overrides:
            self._problem(
                (*place, "overrides"), "Overrides cannot be held: make them rules with variants of their own."
            )
        payload = variant.payload
        return {
            "name": variant.name,
            "weight": variant.weight,
            # One without weight does not tell the type; it has overrides, and is refused.
            "payload": read_payload(payload.value, self.value_type) if payload and variant.weight else None,
            "written_as": payload.model_dump() if payload else None,
        }

    def _problem(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, message))


_STRATEGIES: dict[str, Callable[[Reader, Strategy, Place], Document]] = {
    "default": Reader._default,
    "flexibleRollout": Reader._flexible,
    "gradualRolloutUserId": Reader._gradual,
    "gradualRolloutSessionId": Reader._gradual,
    "gradualRolloutRandom": Reader._gradual,
    "userWithId": Reader._people,
    "remoteAddress": Reader._addresses,
}
_TYPES = {"number": ("integer", "float"), "json": ("object",)}


def _fits(text: str, value_type: str) -> bool:
    try:
        return not payload_problem(read_payload(text, value_type), value_type)
    except ValueError:
        return False


def _splits_otherwise(strategy: Strategy) -> bool:
    """Whether its variants go by another field than the rollout: one rule has one."""
    if strategy.name == "flexibleRollout":
        return False
    is_sticky = (strategy.parameters or {}).get("stickiness", "default") != "default"
    return is_sticky or strategy.name in ("gradualRolloutSessionId", "gradualRolloutRandom")


def _split(parameters: Mapping[str, Any] | None, key: str) -> list[str]:
    """What stands between commas, each once; empty names are left out."""
    return list(dict.fromkeys(filter(None, split_list(str((parameters or {}).get(key, ""))))))


def _one_of(field: str, operator: str, values: list[str]) -> Document:
    """Nobody, when the list is empty: a rule without its constraint would be everybody."""
    return {"constraints": [{"field": field, "operator": operator, "values": values}]} if values else dict(_NOBODY)
