"""The operations for staff as the OpenAPI document tells them: what each is called here, and what it takes.

`POST /api/staff/flags/{key}/switch/on` is `flags switch KEY on`: the things, the verb, then the rest of the path. Where
the path has no verb, it is the first word of the operation's id (`list_people`: `people list`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from switchboard_client.errors import Misused, Refused

PREFIX = "/api/staff/"


@dataclass(frozen=True, slots=True)
class Field:
    """A member of the body or a parameter of the query (`place`); `kind` is its type, "" for what no option tells."""

    name: str
    place: str
    schema: Mapping[str, Any]
    is_required: bool

    @property
    def kind(self) -> str:
        kind = self.schema.get("type", "string" if "enum" in self.schema or self.place == "query" else "object")
        each = self.schema.get("items", {}).get("type", "object") if kind == "array" else kind
        return "" if each in {"object", "array"} else str(kind)


def value(schema: Mapping[str, Any], given: Any, option: str) -> Any:
    """What an option gave, as the type that the schema names. Raises: Misused."""
    kind, choices = schema.get("type"), {str(choice): choice for choice in schema.get("enum", ())}
    if isinstance(given, list):
        return [value(schema["items"], each, option) for each in given]
    if choices:
        if given not in choices:
            raise Misused(f"{option}: {given!r} is none of {', '.join(choices)}")
        return choices[given]
    try:
        if kind in {"integer", "number"}:
            return int(given) if kind == "integer" else float(given)
        if schema.get("format") == "date-time":
            datetime.fromisoformat(given)
    except ValueError:
        raise Misused(f"{option}: {given!r} is no {schema.get('format', kind)}") from None
    return given


@dataclass(frozen=True, slots=True)
class Operation:
    """`words` are the verb and what follows it, parameters of the path as `{name}`. The `id` may follow them: it tells
    one from others with the same words."""

    id: str
    method: str
    path: str
    things: str
    words: tuple[str, ...]
    about: Mapping[str, Any]
    fields: tuple[Field, ...]

    def bind(self, given: Sequence[str]) -> tuple[int, dict[str, str]] | None:
        """How many of the words given are its own, and what its path takes of them; None where it is not meant."""
        for words in (self.words, (*self.words, self.id)):
            pairs = list(zip(words, given, strict=False))
            taken = {word: part for word, part in pairs if word.startswith("{")}
            if len(words) == len(given) and all(word in taken or word == part for word, part in pairs):
                return len(words) - len(taken), taken
        return None


def read(document: Mapping[str, Any]) -> list[Operation]:
    """The operations under `/api/staff`. Raises: Refused where the document is none that we can read."""
    try:
        return [
            _operation(method, path, about, document)
            for path, methods in document["paths"].items()
            if path.startswith(PREFIX)
            for method, about in methods.items()
        ]
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError):
        raise Refused("The server's OpenAPI document cannot be read: is this a Switchboard?") from None


def _operation(method: str, path: str, about: Mapping[str, Any], document: Mapping[str, Any]) -> Operation:
    things, *rest = path.removeprefix(PREFIX).split("/")
    name = about["operationId"].replace("_", "-")
    verb = next((part for part in rest if not part.startswith("{")), None)
    rest = [part for part in rest if part is not verb]
    fields = [
        Field(each["name"], "query", _flat(each["schema"], document), each.get("required", False))
        for each in about.get("parameters", ())
        if each["in"] == "query"
    ]
    content = about.get("requestBody", {}).get("content", {}).get("application/json", {})
    body = _flat(content.get("schema", {}), document)
    needed, members = body.get("required", ()), body.get("properties", {})
    fields += [Field(key, "body", _flat(schema, document), key in needed) for key, schema in members.items()]
    return Operation(name, method.upper(), path, things, (verb or name.split("-")[0], *rest), about, tuple(fields))


def _flat(schema: Mapping[str, Any], document: Mapping[str, Any]) -> dict[str, Any]:
    """Without references and without null; without a type where there may be several."""
    if reference := schema.get("$ref"):
        return _flat(document["components"]["schemas"][reference.rpartition("/")[2]], document)
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    flat = {**schema, **(_flat(kinds[0], document) if len(kinds) == 1 else {})}
    if "const" in flat:
        flat["enum"] = [flat["const"]]
    if "items" in flat:
        flat["items"] = _flat(flat["items"], document)
    return flat


def find(operations: Iterable[Operation], given: Sequence[str]) -> tuple[Operation, dict[str, str]]:
    """The one operation that words after the things mean, and what its path takes; of several the one that reads.

    Raises: Misused with the ways to write it.
    """
    bound = [(each, *found) for each in operations if (found := each.bind(given))]
    best = [each for each in bound if each[1] == max(own for _, own, _ in bound)]
    best = [each for each in best if each[0].method == "GET"] or best
    if len(best) != 1:
        raise Misused(f"write {' or '.join(written([each for each, *_ in best] or list(operations)))}")
    return best[0][0], best[0][2]


def written(operations: Sequence[Operation]) -> list[str]:
    """How each is written, so that no two are the same."""
    shapes = [re.sub("{[^}]*}", "{}", " ".join(each.words)) for each in operations]
    lines = []
    for each, shape in zip(operations, shapes, strict=True):
        words = [word.strip("{}").upper() if "{" in word else word for word in each.words]
        words += [each.id] * (each.method != "GET" and shapes.count(shape) > 1)
        lines.append(" ".join([each.things, *words]))
    return lines
