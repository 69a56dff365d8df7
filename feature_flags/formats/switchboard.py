"""Our own format: everything about flags and segments, in an order that makes two exports comparable line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from feature_flags.flag_document import Constraint, Document
from feature_flags.formats.reading import Contents, listed, parse, refuse

FORMAT, VERSION = "switchboard", 1


def dump(documents: Iterable[Document], segments: Iterable[Document]) -> str:
    """The text of a file. Always the same for the same flags, whichever database they come from."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "segments": sorted(map(_segment, segments), key=lambda segment: segment["name"]),
        "flags": sorted(map(_flag, documents), key=lambda document: document["codename"]),
    }
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def load(text: str) -> Contents:
    """What stands in a file; whether it can become flags is for the import to say."""
    data = parse(text)
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        refuse('This is no Switchboard export: it does not say "format": "switchboard".')
    if data.get("version") != VERSION:
        refuse(f"This program reads version {VERSION} of the format; the file says {data.get('version')!r}.")
    return Contents(listed(data, "flags"), listed(data, "segments"))


# PostgreSQL keeps neither the order of keys nor the point in 1e22: what a database is free to change is settled here.


def _flag(document: Document) -> Document:
    value = _float if document["value_type"] == "float" else _ordered
    return {
        **document,
        "off_value": value(document["off_value"]),
        "variants": _variants(document["variants"], value),
        "rules": [_rule(rule, value) for rule in document["rules"]],
    }


def _rule(rule: Document, value: Callable[[Any], Any]) -> Document:
    constraints = _constraints(rule["constraints"])
    return {**rule, "constraints": constraints, "variants": _variants(rule["variants"], value)}


def _segment(segment: Document) -> Document:
    return {**segment, "constraints": _constraints(segment["constraints"])}


def _variants(variants: list[Document], value: Callable[[Any], Any]) -> list[Document]:
    return [_variant(variant, value) for variant in variants]


def _variant(variant: Document, value: Callable[[Any], Any]) -> Document:
    written = {} if variant.get("written_as") is None else {"written_as": variant["written_as"]}
    given = {key: found for key, found in variant.items() if key != "written_as"}
    return {**given, "payload": value(variant["payload"]), **written}


def _constraints(constraints: Any) -> Any:
    """Members as people read them; what was written past the services comes out as it is."""
    if not isinstance(constraints, list) or not all(isinstance(part, dict) for part in constraints):
        return constraints
    known = list(Constraint.model_fields)
    return [dict(sorted(part.items(), key=lambda item: _place(item[0], known))) for part in constraints]


def _place(key: str, known: list[str]) -> tuple[int, str]:
    return known.index(key) if key in known else len(known), key


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value


def _float(value: Any) -> Any:
    return float(value) if type(value) is int else value
