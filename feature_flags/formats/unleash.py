"""Unleash's client document (`GET /api/client/features`): what its SDKs read, and what any Unleash server hands out.

An import answers as the document does. A strategy becomes a rule, in place; what only an SDK can decide stays out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError

from feature_flags import names
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import DISABLED, Definition
from feature_flags.flag_document import Document, InvalidFlag, Problem, readable
from feature_flags.formats.reading import Contents, Findings, Warn, ignore, listed, name_of, parse, refuse
from feature_flags.formats.unleash_parts import Dependency, Feature, Part, Segment, constraints
from feature_flags.formats.unleash_rules import Reader
from feature_flags.unleash_feature import definition, wire_constraint

Model = TypeVar("Model", bound=Part)
_KINDS = {"release", "experiment", "operational", "kill-switch", "permission"}


def dump(body: bytes) -> str:
    """The document as clients get it, for people to read and compare."""
    return json.dumps(json.loads(body), indent=2, ensure_ascii=False) + "\n"


def load(text: str, known: Mapping[str, Document] | None = None, warn: Warn = ignore) -> Contents:
    """Flags and segments of a client document.

    `known` are the flags we have: one that we would export as it stands in the file is taken as we have it, so that
    our own export changes nothing. `warn` reports what is left out of a flag. FILE_INVALID.
    """
    data = parse(text)
    _refuse_others(data)
    findings = Findings()
    segments = _segments(data.get("segments") or [], findings)
    features: list[tuple[Feature, Any]] = []
    for number, raw in enumerate(listed(data, "features"), start=1):
        with findings.of(name_of(raw, "name", number)):
            features.append((_parsed(Feature, raw), raw))
    ids = {segment.called: segment.id for segment in segments}
    flags = []
    for feature, raw in features:
        with findings.of(feature.name):
            ours = (known or {}).get(feature.name)
            same = ours is not None and _is_exported_as(ours, raw, ids)
            flags.append({**ours, "is_archived": False} if ours and same else _flag(feature, raw, segments, warn))
    documents = []
    for segment in segments:
        with findings.of(f"segment {segment.called}"):
            documents.append({"name": segment.called, "constraints": constraints(segment.constraints or [])})
    for document in [*flags, *documents]:
        _tell_rewriting(document, warn)
    return Contents(flags, documents, findings.problems)


def _tell_rewriting(document: Document, warn: Warn) -> None:
    """What is saved in the form that all SDKs read alike, where that is another than the file's."""
    parts = [document, *document.get("rules", ())]
    for constraint in [constraint for part in parts for constraint in readable(part.get("constraints"))]:
        shared = wire_constraint(constraint)
        for key in ("value", "values"):
            if constraint.get(key) and constraint[key] != shared[key]:
                name, old, new = document.get("codename") or document["name"], constraint[key], shared[key]
                warn(f"{name}: {old} is written as {new}, which all clients read alike")


def _refuse_others(data: Any) -> None:
    if isinstance(data, dict) and "featureStrategies" in data:
        refuse("This is an export of Unleash's admin API. Save what GET /api/client/features answers instead.")
    if not isinstance(data, dict) or "features" not in data:
        refuse("This is no Unleash client document: it has no features.")
    if not isinstance(data.get("segments") or [], list):
        refuse("The file holds no list of segments.")


def _segments(raw: list[Any], findings: Findings) -> list[Segment]:
    segments = []
    for number, one in enumerate(raw, start=1):
        with findings.of(name_of(one, "name", number, "segment")):
            segments.append(_parsed(Segment, one))
    twice: set[int | str] = set()
    for key in ("id", "called"):
        values = [getattr(segment, key) for segment in segments]
        for value in sorted({value for value in values if values.count(value) > 1}):
            findings.add((f"segment {value}",), "It stands there twice.")
            twice.add(value)
    return [segment for segment in segments if not twice & {segment.id, segment.called}]


def _is_exported_as(ours: Document, raw: Any, ids: Mapping[str, int]) -> bool:
    try:
        return bool(definition(ours, ids).feature == raw)
    except (TypeError, KeyError, AttributeError):
        # Written past the verbs: what comes in makes it whole again.
        return False


def _flag(feature: Feature, raw: Any, segments: list[Segment], warn: Warn) -> Document:
    """The members the document speaks about; the others stay as they are."""
    if problem := names.problem(feature.name):
        raise InvalidFlag([Problem(("name",), problem)])
    _refuse_broken(feature, raw)
    if feature.type not in {None, *_KINDS}:
        warn(f"{feature.name}: type {feature.type} is unknown here, it becomes a release flag")
    return {
        "codename": feature.name,
        "description": feature.description or None,
        "is_active": feature.enabled,
        "is_archived": False,
        "kind": (feature.type or "release").replace("-", "_") if feature.type in _KINDS else "release",
        "impression_data": bool(feature.impression_data),
        "rollout_percent": 100,
        "prerequisites": [_prerequisite(part) for part in feature.dependencies or []],
        **Reader(feature, {segment.id: segment.called for segment in segments}, warn).members(),
    }


def _prerequisite(part: Dependency) -> Document:
    """Without the name for no variant, which our document adds: a parent without one satisfies us anyway."""
    variants = part.variants or []
    named = [name for name in variants if name != DISABLED.name]
    return {"parent": part.feature, "required": part.enabled is not False, "variants": named or variants}


def _refuse_broken(feature: Feature, raw: Any) -> None:
    """A flag that every SDK turns off because it cannot read it must not come to life here."""
    strategies = [
        {**given, "parameters": part.parameters or {}, "segments": []}
        for given, part in zip(raw.get("strategies") or [], feature.strategies or [], strict=True)
    ]
    if error := compile_flag(Definition({**raw, "strategies": strategies}), {}).error:
        raise InvalidFlag([Problem((), f"Unleash's clients cannot read it: {error}.")])


def _parsed(model: type[Model], raw: Any) -> Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise InvalidFlag([Problem(tuple(found["loc"]), f"{found['msg']}.") for found in error.errors()]) from None
