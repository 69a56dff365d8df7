"""Unleash's client document (`GET /api/client/features`): what its SDKs read, and what any Unleash server hands out.

An import answers as the document does. A strategy becomes a rule, in place; what only an SDK can decide stays out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from pydantic.alias_generators import to_camel

from feature_flags import names
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.constraints import BY_NAME
from feature_flags.engine.model import DISABLED, Definition
from feature_flags.engine.values import read_network, read_payload, split_list
from feature_flags.flag_document import Document, InvalidFlag, Place, Problem, payload_problem, readable
from feature_flags.flag_schema import MAX_TARGETS
from feature_flags.formats import Contents, Findings, Warn, listed, name_of, parse, refuse
from feature_flags.unleash_feature import definition, wire_constraint

_KINDS = {"release", "experiment", "operational", "kill-switch", "permission"}
#: The field that the older strategies place people by.
_GRADUAL = {"gradualRolloutUserId": "userId", "gradualRolloutSessionId": "sessionId", "gradualRolloutRandom": "random"}
_LISTS = {"userWithId": ("userIds", "userId", "IN"), "remoteAddress": ("IPs", "remoteAddress", "IN_CIDR")}


# --- The parts of the document. Keys that decide nothing here (project, stale, dates) are not looked at ---------------


class Part(BaseModel):
    # Servers add keys with every release; those that are known have to be what they should be.
    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True, alias_generator=to_camel)


class Constraint(Part):
    context_name: str
    operator: str
    values: list[str] | None = None
    value: str | None = None
    inverted: bool | None = None
    case_insensitive: bool | None = None


class Payload(Part):
    type: str
    value: str


class Variant(Part):
    name: str
    weight: int
    stickiness: str | None = None
    payload: Payload | None = None
    overrides: list[Any] | None = None


class Strategy(Part):
    name: str
    title: str | None = None
    disabled: bool | None = None
    parameters: dict[str, Any] | None = None
    constraints: list[Constraint] | None = None
    segments: list[int | str] | None = None
    variants: list[Variant] | None = None

    @field_validator("parameters")
    @classmethod
    def _as_texts(cls, parameters: dict[str, Any] | None) -> dict[str, Any]:
        """Old servers write percentages as numbers, and null for what is not set."""
        given = {key: value for key, value in (parameters or {}).items() if value is not None}
        return {key: str(value) if type(value) in (int, float) else value for key, value in given.items()}

    @property
    def is_plain(self) -> bool:
        """Nothing but its name and parameters."""
        return not (self.constraints or self.segments or self.variants or self.disabled or self.title)

    def parameter(self, key: str, default: str = "") -> Any:
        return (self.parameters or {}).get(key, default)

    def listed(self, key: str) -> list[str]:
        """What stands between commas, each once; empty names are left out."""
        return list(dict.fromkeys(filter(None, split_list(str(self.parameter(key))))))


class Dependency(Part):
    feature: str
    enabled: bool | None = None
    variants: list[str] | None = None


class Feature(Part):
    name: str
    enabled: bool
    type: str | None = None
    description: str | None = None
    impression_data: bool | None = None
    strategies: list[Strategy] | None = None
    variants: list[Variant] | None = None
    dependencies: list[Dependency] | None = None


class Segment(Part):
    id: int
    name: str | None = None
    constraints: list[Constraint] | None = None

    @property
    def called(self) -> str:
        return self.name or f"segment {self.id}"


Model = TypeVar("Model", bound=Part)


def _parsed(model: type[Model], raw: Any) -> Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise InvalidFlag([Problem(tuple(found["loc"]), f"{found['msg']}.") for found in error.errors()]) from None


# --- The file ---------------------------------------------------------------------------------------------------------


def dump(body: bytes) -> str:
    """The document as clients get it, for people to read and compare."""
    return json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"


def load(text: str, known: Mapping[str, Document] | None = None, warn: Warn = lambda sentence: None) -> Contents:
    """Flags and segments of a client document.

    `known` are the flags we have: one that we would export as it stands in the file is taken as we have it, so that
    our own export changes nothing. `warn` reports what is left out of a flag. FILE_INVALID.
    """
    data = parse(text)
    if isinstance(data, dict) and "featureStrategies" in data:
        refuse("This is an export of Unleash's admin API. Save what GET /api/client/features answers instead.")
    if not isinstance(data, dict) or "features" not in data:
        refuse("This is no Unleash client document: it has no features.")
    if not isinstance(data.get("segments") or [], list):
        refuse("The file holds no list of segments.")
    findings = Findings()
    segments = _segments(data.get("segments") or [], findings)
    features: list[tuple[Feature, Any]] = []
    for number, raw in enumerate(listed(data, "features"), start=1):
        with findings.of(name_of(raw, "name", number)):
            features.append((_parsed(Feature, raw), raw))
    ids, called = {one.called: one.id for one in segments}, {one.id: one.called for one in segments}
    flags = []
    for feature, raw in features:
        with findings.of(feature.name):
            ours = (known or {}).get(feature.name)
            same = ours is not None and _is_exported_as(ours, raw, ids)
            flags.append({**ours, "is_archived": False} if ours and same else _flag(feature, raw, called, warn))
    documents = [{"name": one.called, "constraints": _constraints(one.constraints)} for one in segments]
    # What is saved in the form that all SDKs read alike, where that is another than the file's.
    for document in [*flags, *documents]:
        for part in [document, *document.get("rules", ())]:
            for constraint in readable(part.get("constraints")):
                shared = wire_constraint(constraint)
                for key in ("value", "values"):
                    if constraint.get(key) and constraint[key] != shared[key]:
                        name, old, new = document.get("codename") or document["name"], constraint[key], shared[key]
                        warn(f"{name}: {old} is written as {new}, which all clients read alike")
    return Contents(flags, documents, findings.problems)


def _segments(raw: list[Any], findings: Findings) -> list[Segment]:
    segments = []
    for number, one in enumerate(raw, start=1):
        with findings.of(name_of(one, "name", number, "segment")):
            segments.append(_parsed(Segment, one))
    twice: set[int | str] = set()
    for key in ("id", "called"):
        values = [getattr(segment, key) for segment in segments]
        for value in sorted({value for value in values if values.count(value) > 1}):
            findings.problems.append(Problem((f"segment {value}",), "It stands there twice."))
            twice.add(value)
    return [segment for segment in segments if not twice & {segment.id, segment.called}]


def _is_exported_as(ours: Document, raw: Any, ids: Mapping[str, int]) -> bool:
    try:
        return bool(definition(ours, ids).feature == raw)
    except (TypeError, KeyError, AttributeError):
        # Written past the verbs: what comes in makes it whole again.
        return False


def _constraints(parts: Sequence[Constraint] | None) -> list[Document]:
    """Ours have `values` or `value`, and heed case only where the operator does."""
    found = []
    for part in parts or ():
        known = BY_NAME.get(part.operator)
        ours: Document = {
            "field": part.context_name,
            "operator": part.operator,
            "inverted": bool(part.inverted),
            "case_insensitive": bool(part.case_insensitive and known and known.has_case),
        }
        if known is None or known.many:
            ours["values"] = part.values or []
        else:
            # Blanks around a number, date or version are not looked at; in a pattern they are.
            value = part.value or ""
            ours["value"] = value if known.kind == "regex" else value.strip(" \t")
        found.append(ours)
    return found


# --- A feature --------------------------------------------------------------------------------------------------------


def _flag(feature: Feature, raw: Any, segments: Mapping[int, str], warn: Warn) -> Document:
    """The members the document speaks about; the others stay as they are."""
    if problem := names.problem(feature.name):
        raise InvalidFlag([Problem(("name",), problem)])
    # A flag that every SDK turns off because it cannot read it must not come to life here.
    given = zip(raw.get("strategies") or [], feature.strategies or [], strict=True)
    strategies = [{**one, "parameters": part.parameters or {}, "segments": []} for one, part in given]
    if error := compile_flag(Definition({**raw, "strategies": strategies}), {}).error:
        raise InvalidFlag([Problem((), f"Unleash's clients cannot read it: {error}.")])
    if feature.type not in {None, *_KINDS}:
        warn(f"{feature.name}: type {feature.type} is unknown here, it becomes a release flag")
    prerequisites = []
    for part in feature.dependencies or []:
        # Without the name for no variant, which our document adds: a parent without one satisfies us anyway.
        variants = [name for name in part.variants or [] if name != DISABLED.name] or part.variants or []
        prerequisites.append({"parent": part.feature, "required": part.enabled is not False, "variants": variants})
    return {
        "codename": feature.name,
        "description": feature.description or None,
        "is_active": feature.enabled,
        "is_archived": False,
        "kind": (feature.type or "release").replace("-", "_") if feature.type in _KINDS else "release",
        "impression_data": bool(feature.impression_data),
        "rollout_percent": 100,
        "prerequisites": prerequisites,
        **_Reader(feature, segments, warn).members(),
    }


class _Reader:
    """Strategies and variants of one feature, turned into our rules, targets and variants; problems are collected."""

    def __init__(self, feature: Feature, segments: Mapping[int, str], warn: Warn) -> None:
        self.feature, self.segments, self.warn = feature, segments, warn
        self.problems: list[Problem] = []
        self.value_type = self._value_type()

    def members(self) -> Document:
        """`rules`, `targets`, `variants`, `stickiness`, and `value_type` when the payloads have one; InvalidFlag."""
        strategies, variants = self.feature.strategies or [], self.feature.variants or []
        targets: list[str] = []
        if len(strategies) > 1 and strategies[0].name == "userWithId" and strategies[0].is_plain:
            # The people our own export puts first; alone they would leave a flag without rules: everybody.
            ids = strategies[0].listed("userIds")
            targets = ids if len(ids) <= MAX_TARGETS and all(len(one) <= 200 for one in ids) else []
        given = variants[0].stickiness if variants else None
        stickiness = "default" if given is None else given
        rest = list(enumerate(strategies))[1 if targets else 0 :]
        # No rule is "everybody" too, but spreads with the stickiness of the variants.
        is_everybody = not rest or (len(rest) == 1 and rest[0][1].name == "default" and rest[0][1].is_plain)
        rules = []
        if not is_everybody or stickiness != "default":
            rules = [self._rule(strategy, number) for number, strategy in rest or [(0, Strategy(name="default"))]]
        members: Document = {
            "rules": rules,
            "targets": {"on": targets, "off": []},
            "variants": self._variants(variants, ()),
            "stickiness": stickiness,
        }
        if self.problems:
            raise InvalidFlag(self.problems)
        return members | ({"value_type": self.value_type} if self.value_type else {})

    def _rule(self, strategy: Strategy, number: int) -> Document:
        place: Place = ("strategies", number)
        if strategy.name not in {"default", "flexibleRollout", *_GRADUAL, *_LISTS}:
            self._problem(place, f"The strategy {strategy.name} cannot be held: only its own client can decide it.")
            return {}
        who = self._who(strategy, place)
        # Whether its variants go by another field than the rollout: one rule has one.
        is_sticky = strategy.parameter("stickiness", "default") != "default"
        is_placed = strategy.name in ("gradualRolloutSessionId", "gradualRolloutRandom")
        if strategy.variants and strategy.name != "flexibleRollout" and (is_sticky or is_placed):
            self._problem((*place, "variants"), f"Variants of the strategy {strategy.name} cannot be held.")
        segments = []
        for key in strategy.segments or []:
            name = self.segments.get(key) if isinstance(key, int) else key
            if name not in self.segments.values():
                self._problem((*place, "segments"), f"The file holds no segment {key}.")
            segments.append(name or "")
        return {
            "label": (strategy.title or "").strip()[:200],
            "is_enabled": not strategy.disabled,
            "group_id": self.feature.name,
            **who,
            "constraints": [*who.get("constraints", ()), *_constraints(strategy.constraints)],
            "segments": segments,
            "variants": self._variants(strategy.variants or [], place),
        }

    def _who(self, strategy: Strategy, place: Place) -> Document:
        """Who a strategy lets in: a percentage, or a list as a constraint; and the group it has.

        Another group would give everybody another place in the rollout.
        """
        found: Document = {}
        if strategy.name == "flexibleRollout":
            found["rollout_percent"] = self._percent(strategy, "rollout", place)
            found["stickiness"] = str(strategy.parameter("stickiness", "default"))
        elif strategy.name in _GRADUAL:
            found["rollout_percent"] = self._percent(strategy, "percentage", place)
            found["stickiness"] = _GRADUAL[strategy.name]
            if found["stickiness"] == "random":
                return found
            if "groupId" not in (strategy.parameters or {}):
                message = "It has no groupId: Unleash's clients disagree about such a rollout."
                self._problem((*place, "parameters"), message)
        elif strategy.name in _LISTS:
            key, field, operator = _LISTS[strategy.name]
            values = strategy.listed(key)
            bad = [one for one in values if operator == "IN_CIDR" and read_network(one) is None]
            if bad:
                self.warn(f"{self.feature.name}: {', '.join(bad)} is no address and left out, as clients do")
            good = [one for one in values if one not in bad]
            constraint = {"field": field, "operator": operator, "values": good}
            # An empty list lets no one in: a rule without its constraint would let all in.
            found = {"constraints": [constraint]} if good else {"rollout_percent": 0}
        group = strategy.parameter("groupId", self.feature.name)
        is_partly = "stickiness" in found and 0 < found["rollout_percent"] < 100
        if not group and (is_partly or strategy.variants):
            self._problem((*place, "parameters", "groupId"), "An empty group cannot be held.")
        return {**found, "group_id": str(group)} if group else found

    def _percent(self, strategy: Strategy, key: str, place: Place) -> int:
        text = str(strategy.parameter(key))
        if not re.fullmatch(r"\+?[0-9]+", text, re.ASCII) or len(text) > 9:
            self._problem((*place, "parameters", key), f"“{text}” is no percentage.")
            return 0
        # Beyond 100 the others are broken, and refused before.
        return min(int(text), 100)

    def _value_type(self) -> str:
        """The type that all payloads share; else string, of which a payload of any type is one. Empty: no variants."""
        lists = [self.feature.variants or [], *(strategy.variants or [] for strategy in self.feature.strategies or [])]
        variants = [variant for found in lists for variant in found if variant.weight]
        payloads = [variant.payload for variant in variants if variant.payload]
        if not payloads:
            return "boolean" if variants else ""
        kinds = {payload.type for payload in payloads}
        possible = {"number": ("integer", "float"), "json": ("object",)}.get(kinds.pop(), ()) if len(kinds) == 1 else ()
        for value_type in possible:
            if all(_fits(payload.value, value_type) for payload in payloads):
                return value_type
        if any(payload.type not in ("string", "csv") for payload in payloads):
            self.warn(f"{self.feature.name}: its payloads are of no one type here, they become texts of type string")
        return "string"

    def _variants(self, variants: Sequence[Variant], place: Place) -> list[Document]:
        found = []
        for number, variant in enumerate(variants):
            at = (*place, "variants", number)
            if not variant.weight and not variant.overrides:
                # Without weight it is chosen by an override or never.
                self.warn(f"{self.feature.name}: variant {variant.name} has no weight and is left out")
                continue
            if problem := names.problem(variant.name):
                self._problem((*at, "name"), f"“{variant.name}” cannot be held. {problem}")
            if variant.overrides:
                message = "Overrides cannot be held: make them rules with variants of their own."
                self._problem((*at, "overrides"), message)
            payload = variant.payload
            # One without weight does not decide the type; it has overrides, and is refused.
            value = read_payload(payload.value, self.value_type) if payload and variant.weight else None
            spelling = payload.model_dump() if payload else None
            found.append({"name": variant.name, "weight": variant.weight, "payload": value, "written_as": spelling})
        return found

    def _problem(self, place: Place, message: str) -> None:
        self.problems.append(Problem(place, message))


def _fits(text: str, value_type: str) -> bool:
    try:
        return not payload_problem(read_payload(text, value_type), value_type)
    except ValueError:
        return False
