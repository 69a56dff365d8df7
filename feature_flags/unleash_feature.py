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


#: A constraint that no engine can read.
UNREADABLE = {"contextName": "", "operator": "UNREADABLE", "values": [], "inverted": False, "caseInsensitive": False}


def definition(flag: Document, segment_ids: Mapping[str, int]) -> Definition:
    """What the engine compiles. Rows of another shape, written past the verbs, break their own flag alone."""
    try:
        return _definition(flag, segment_ids)
    except (AttributeError, KeyError, TypeError, ValueError):
        empty = {**flag, "rules": [], "variants": [], "prerequisites": [], "targets": {"on": [], "off": []}}
        made = _definition({**empty, "rollout_percent": 100}, segment_ids)
        return replace(made, feature={**made.feature, "strategies": [_strategy("default", {}, [UNREADABLE])]})


def _definition(flag: Document, segment_ids: Mapping[str, int]) -> Definition:
    value_type, always, never = flag["value_type"], flag["targets"]["on"], flag["targets"]["off"]
    strategies: list[Document] = []
    labels: list[str] = []
    if always:
        strategies.append(_strategy("userWithId", {"userIds": ",".join(always)}))
        labels.append(TARGETS)
    shut_out = [wire_constraint({"field": "userId", "operator": "NOT_IN", "values": list(never)})] if never else []
    if not flag["rules"]:
        strategies.append(_rollout({**flag, "variants": []}, value_type, shut_out, []))
        labels.append("everybody" if flag["rollout_percent"] == 100 else f"{flag['rollout_percent']} %")
    for number, rule in enumerate(flag["rules"], start=1):
        if rule["is_enabled"]:
            constraints = [*shut_out, *map(wire_constraint, rule["constraints"])]
            # A segment that is not there is id 0, which breaks the flag, as it must.
            ids = [segment_ids.get(name, 0) for name in rule["segments"]]
            strategies.append(_rollout(rule, value_type, constraints, ids))
            labels.append(rule["label"] or f"rule {number}")
    feature = {
        "name": flag["codename"],
        "type": flag["kind"].replace("_", "-"),
        # All rules disabled: on for the targets alone. "No strategy" would mean everybody.
        "enabled": flag["is_active"] and bool(strategies),
        "stale": False,
        "project": "default",
        "description": flag["description"] or "",
        "impressionData": flag["impression_data"],
        "strategies": strategies,
        "variants": _variants(flag, value_type),
        "dependencies": [_dependency(prerequisite) for prerequisite in flag["prerequisites"]],
    }
    return Definition(feature, value_type, flag["off_value"], exposed=flag["exposed"], labels=tuple(labels))


def _rollout(part: Document, value_type: str, constraints: list[Document], segments: list[int]) -> Document:
    variants = _variants(part, value_type)
    if part["rollout_percent"] == 100 and not variants and part["stickiness"] == "default":
        return _strategy("default", {}, constraints, segments)
    rollout, stickiness, group = str(part["rollout_percent"]), part["stickiness"], part["group_id"]
    parameters = {"rollout": rollout, "stickiness": stickiness, "groupId": group}
    return _strategy("flexibleRollout", parameters, constraints, segments, variants)


def _strategy(
    name: str,
    parameters: dict[str, str],
    constraints: Sequence[Document] = (),
    segments: Sequence[int] = (),
    variants: Sequence[Document] = (),
) -> Document:
    lists = {"constraints": list(constraints), "segments": list(segments), "variants": list(variants)}
    return {"name": name, "parameters": parameters, **lists}


def _variants(part: Document, value_type: str) -> list[Document]:
    """Those of a flag or a rule."""
    found = []
    for variant in part["variants"]:
        wire = {"name": variant["name"], "weight": variant["weight"], "stickiness": part["stickiness"]}
        if variant.get("written_as"):
            wire["payload"] = dict(variant["written_as"])
        elif value_type != "boolean" and variant["payload"] is not None:
            wire["payload"] = wire_payload(variant["payload"], value_type)
        found.append(wire)
    return found


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
