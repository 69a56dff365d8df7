"""Our own format: everything about flags and segments, in an order that makes two exports comparable line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from feature_flags.flag_document import Document
from feature_flags.flag_schema import Constraint
from feature_flags.formats import Contents, listed, parse, refuse

FORMAT, VERSION = "switchboard", 1


def dump(documents: Iterable[Document], segments: Iterable[Document]) -> str:
    """The text of a file. Always the same for the same flags, whichever database they come from."""
    content = {
        "format": FORMAT,
        "version": VERSION,
        "segments": [segment_as_written(segment) for segment in sorted(segments, key=lambda segment: segment["name"])],
        "flags": [flag_as_written(flag) for flag in sorted(documents, key=lambda flag: flag["codename"])],
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


def segment_as_written(segment: Document) -> Document:
    return {**segment, "constraints": _constraints(segment["constraints"])}


def flag_as_written(document: Document) -> Document:
    def value(found: Any) -> Any:
        if document["value_type"] == "float":
            return float(found) if type(found) is int else found
        return _ordered(found)

    def variants(part: Document) -> list[Document]:
        found = [{**variant, "payload": value(variant["payload"])} for variant in part["variants"]]
        for variant in found:
            # At the end, and only where there is one.
            if (written := variant.pop("written_as", None)) is not None:
                variant["written_as"] = written
        return found

    rules = [
        {**rule, "constraints": _constraints(rule["constraints"]), "variants": variants(rule)}
        for rule in document["rules"]
    ]
    return {**document, "off_value": value(document["off_value"]), "variants": variants(document), "rules": rules}


def _constraints(constraints: Any) -> Any:
    """Members as people read them; what was written past the services comes out as it is."""
    if not isinstance(constraints, list) or not all(isinstance(part, dict) for part in constraints):
        return constraints
    known = [*Constraint.model_fields]
    keys = [[*filter(part.__contains__, known), *sorted(part.keys() - known)] for part in constraints]
    return [{key: part[key] for key in order} for part, order in zip(constraints, keys, strict=True)]


def _ordered(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    return [_ordered(inner) for inner in value] if isinstance(value, list) else value
