"""The public Unleash client specification, when a checkout of it is at hand (SPEC_DIR)."""

import json
import os
from pathlib import Path

import pytest

from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import Definition, normal_context

SPEC_DIR = os.environ.get("SPEC_DIR")
if not SPEC_DIR:
    pytest.skip("SPEC_DIR names no checkout of Unleash/client-specification", allow_module_level=True)


def specifications():
    """Every document the index names; the index lies in the directory or in its `specifications`."""
    folders = [Path(SPEC_DIR) / "specifications", Path(SPEC_DIR)]
    folder = next(folder for folder in folders if (folder / "index.json").exists())
    return [json.loads((folder / name).read_text()) for name in json.loads((folder / "index.json").read_text())]


def folded(state):
    """Features and segments of a state, the events of a delta one applied in their order."""
    features, segments = {}, {}
    for event in state.get("events", [{"type": "hydration", **state}]):
        match event["type"]:
            case "hydration":
                features = {feature["name"]: feature for feature in event["features"]}
                segments = {segment["id"]: segment["constraints"] for segment in event.get("segments", [])}
            case "feature-updated":
                features[event["feature"]["name"]] = event["feature"]
            case "feature-removed":
                features.pop(event["featureName"], None)
            case "segment-updated":
                segments[event["segment"]["id"]] = event["segment"]["constraints"]
            case "segment-removed":
                segments.pop(event["segmentId"], None)
    return features, segments


def cases(kind):
    return [
        pytest.param(document["state"], case, id=f"{document['name']}: {case['description']}")
        for document in specifications()
        for case in document.get(kind, [])
    ]


def ask(state, case):
    features, segments = folded(state)
    flags = {name: compile_flag(Definition(feature), segments) for name, feature in features.items()}
    flag = flags.get(case["toggleName"])
    return flag and flag.evaluate(normal_context(case["context"]), flags)


@pytest.mark.parametrize(("state", "case"), cases("tests"))
def test_enabled(state, case):
    result = ask(state, case)

    assert (result is not None and result.enabled) is case["expectedResult"]


@pytest.mark.parametrize(("state", "case"), cases("variantTests"))
def test_variant(state, case):
    result = ask(state, case)

    expected = case["expectedResult"]
    variant = {"name": "disabled", "enabled": False, "feature_enabled": False}
    if result:
        variant = {
            "name": result.variant.name,
            "enabled": result.variant.enabled,
            "feature_enabled": result.enabled,
        }
        if result.variant.payload is not None:
            variant["payload"] = result.variant.payload
    expected.pop("featureEnabled", None)
    assert variant == expected
