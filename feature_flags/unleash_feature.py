"""From a flag's own document to the one the engine reads: a feature as the Unleash client API has it.

Every parameter is a string; every feature has `strategies`, and every strategy `variants`: SDKs refuse less in silence.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from feature_flags.engine import validation
from feature_flags.engine.model import DISABLED, Definition

Document = dict[str, Any]
TARGETS = "always on"
PAYLOAD_TYPES = {"string": "string", "integer": "number", "float": "number", "object": "json"}


def definition(flag: Document, segment_ids: Mapping[str, int]) -> Definition:
    """What the engine compiles. Rows of another shape, written past the verbs, break their own flag alone."""
    try:
        return _definition(flag, segment_ids)
    except (AttributeError, KeyError, TypeError, ValueError):
        empty = {**flag, "rules": [], "variants": [], "prerequisites": [], "targets": {"on": [], "off": []}}
        made = _definition({**empty, "rollout_percent": 100}, segment_ids)
        return replace(made, feature={**made.feature, "strategies": [_strategy("default", {}, [UNREADABLE])]})


#: A constraint that no engine can read.
UNREADABLE = {"contextName": "", "operator": "UNREADABLE", "values": [], "inverted": False, "caseInsensitive": False}


def _definition(flag: Document, segment_ids: Mapping[str, int]) -> Definition:
    off = bool(flag["rules"]) and not any(rule["is_enabled"] for rule in flag["rules"])
    strategies, labels = _strategies(flag, segment_ids)
    feature = {
        "name": flag["codename"],
        "type": flag["kind"].replace("_", "-"),
        # All rules disabled: on for the targets alone. "No strategy" would mean everybody.
        "enabled": flag["is_active"] and not (off and not strategies),
        "stale": False,
        "project": "default",
        "description": flag["description"] or "",
        "impressionData": flag["impression_data"],
        "strategies": strategies,
        "variants": _variants(flag["variants"], flag["value_type"], flag["stickiness"]),
        "dependencies": [_dependency(prerequisite) for prerequisite in flag["prerequisites"]],
    }
    return Definition(
        feature=feature,
        value_type=flag["value_type"],
        off_value=flag["off_value"],
        exposed=flag["exposed"],
        labels=tuple(labels),
    )


def _strategies(flag: Document, segment_ids: Mapping[str, int]) -> tuple[list[Document], list[str]]:
    strategies: list[Document] = []
    labels: list[str] = []
    if flag["targets"]["on"]:
        strategies.append(_strategy("userWithId", {"userIds": ",".join(flag["targets"]["on"])}))
        labels.append(TARGETS)
    never = _never(flag["targets"]["off"])
    if not flag["rules"]:
        strategies.append(_rollout(flag, flag["value_type"], never, [], []))
        labels.append("everybody" if flag["rollout_percent"] == 100 else f"{flag['rollout_percent']} %")
    for number, rule in enumerate(flag["rules"], start=1):
        if rule["is_enabled"]:
            constraints = [*never, *map(wire_constraint, rule["constraints"])]
            # A segment that is not there is id 0, which breaks the flag, as it must.
            ids = [segment_ids.get(name, 0) for name in rule["segments"]]
            strategies.append(_rollout(rule, flag["value_type"], constraints, ids, rule["variants"]))
            labels.append(rule["label"] or f"rule {number}")
    return strategies, labels


def _rollout(
    part: Document, value_type: str, constraints: list[Document], segments: list[int], variants: Sequence[Document]
) -> Document:
    wire = _variants(variants, value_type, part["stickiness"])
    if part["rollout_percent"] == 100 and not wire and part["stickiness"] == "default":
        return _strategy("default", {}, constraints, segments)
    parameters = {
        "rollout": str(part["rollout_percent"]),
        "stickiness": part["stickiness"],
        "groupId": part["group_id"],
    }
    return _strategy("flexibleRollout", parameters, constraints, segments, wire)


def _strategy(
    name: str,
    parameters: dict[str, str],
    constraints: Sequence[Document] = (),
    segments: Sequence[int] = (),
    variants: Sequence[Document] = (),
) -> Document:
    return {
        "name": name,
        "parameters": parameters,
        "constraints": list(constraints),
        "segments": list(segments),
        "variants": list(variants),
    }


def _never(identifiers: Sequence[str]) -> list[Document]:
    if not identifiers:
        return []
    return [wire_constraint({"field": "userId", "operator": "NOT_IN", "values": list(identifiers)})]


def _variants(variants: Sequence[Document], value_type: str, stickiness: str) -> list[Document]:
    return [_variant(variant, value_type, stickiness) for variant in variants]


def _variant(variant: Document, value_type: str, stickiness: str) -> Document:
    wire: Document = {"name": variant["name"], "weight": variant["weight"], "stickiness": stickiness}
    if variant.get("written_as"):
        wire["payload"] = dict(variant["written_as"])
    elif value_type != "boolean" and variant["payload"] is not None:
        wire["payload"] = wire_payload(variant["payload"], value_type)
    return wire


def _dependency(prerequisite: Document) -> Document:
    wire: Document = {"feature": prerequisite["parent"], "enabled": prerequisite["required"]}
    if prerequisite["variants"]:
        # A parent that is on without a variant satisfies us and yggdrasil. unleash-client compares the name it has
        # for none; no variant can be called so.
        wire["variants"] = list(dict.fromkeys([*prerequisite["variants"], DISABLED.name]))
    return wire


def wire_constraint(constraint: Mapping[str, Any]) -> Document:
    """Our constraint as the Unleash document spells it, so that all SDKs read it alike where they can."""
    wire: Document = {
        "contextName": constraint["field"],
        "operator": constraint["operator"],
        "values": list(constraint.get("values") or ()),
        "inverted": constraint.get("inverted", False),
        "caseInsensitive": constraint.get("case_insensitive", False),
    }
    if constraint.get("value") is not None:
        wire["value"] = constraint["value"]
    return validation.shared_constraint(wire)


def wire_payload(payload: Any, value_type: str) -> Document:
    """A payload as the Unleash document has it, in our spelling: `{"type", "value"}`."""
    if value_type == "string":
        text = str(payload)
    else:
        # A database may hand 5.0 back as 5, and the other way round: the declared type decides. None keeps -0.0.
        typed = float(payload) + 0.0 if value_type == "float" else payload
        text = json.dumps(typed, ensure_ascii=False, separators=(",", ":"))
    return {"type": PAYLOAD_TYPES[value_type], "value": text}
