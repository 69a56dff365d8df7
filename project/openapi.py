"""What the description of the API says beside what ninja reads from the operations: examples, permissions, headers,
which refusals each may answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from feature_flags.http.routes import SECURITY_SCHEMES
from lib.errors import STATUS_WORDS
from lib.staff_api import REPEATS
from project.errors import TOLD
from users.services import key_scopes

_REFUSALS = Path(__file__).with_name("refusals.json")
#: What a member is shown as, by its name; others by their type.
_EXAMPLES: dict[str, Any] = {
    "access_token": "eyJhbGciOiJIUzI1NiJ9.eyJ1c2VyX2lkIjoi…",
    "codename": "FF_NEW_CHECKOUT",
    "email": "ada@example.org",
    "expires_at": "2027-01-31T08:30:00Z",
    "first_name": "Ada",
    "groups": ["Support"],
    "last_name": "Lovelace",
    "next": None,
    "cursor": "",
    "networks": ["192.0.2.0/24"],
    "password": "Correct-Horse-7",
    "permissions": ["users.view_user"],
    "scopes": ["account:read"],
    "reason": "asked for by its owner",
    "secret": "sbk_4kq…",
    "to": "ada@example.org",
    "username": "ada@example.org",
    "message": "done.",
}
_ID = "0b9e2c3a4d5e4f60a1b2c3d4e5f60718"
_FORMATS = {
    "date-time": "2026-01-31T08:30:00Z",
    "date": "2026-01-31",
    "email": "ada@example.org",
    "uuid": "0b9e2c3a-4d5e-4f60-a1b2-c3d4e5f60718",
    "uri": "https://app.example.org/",
}
_TYPES: dict[str, Any] = {"boolean": True, "integer": 1, "number": 1.0, "string": "text", "null": None, "object": {}}
_DEPTH = 8
_CLAUSE = re.compile(r"[.;:](?:\s|$)")
_NAME = re.compile(r"[A-Z][a-z0-9]*( [A-Z][a-z0-9]*)*")


def add(schema: dict[str, Any], other: dict[str, Any]) -> None:
    """Add the paths of another document, and what they refer to."""
    schema["paths"] |= other["paths"]
    for kind, named in other["components"].items():
        schema["components"].setdefault(kind, {}).update(named)


class Refusal(NamedTuple):
    """`slug` is the `code` of the answer; `detail` as on the wire, in JSON; `message` a sentence, `…` for what it fills
    in."""

    slug: str
    status: int
    detail: str
    message: str


def refusals() -> dict[str, list[Refusal]]:
    """By id of the operation. `make refusals` reads them from the code (release/refusals.py)."""
    kept = json.loads(_REFUSALS.read_text(encoding="utf-8"))
    known = {name: Refusal(**about) for name, about in kept["refusals"].items()}
    return {operation: [known[name] for name in names] for operation, names in kept["operations"].items()}


def complete(schema: dict[str, Any], refusals: Mapping[str, Sequence[Refusal]]) -> None:
    """Add to the document, in place, what each operation asks of an API key, the `refusals` it may answer, and examples
    of bodies and answers."""
    shapes = schema["components"]["schemas"]
    schema["components"]["examples"] = {}
    schema["components"]["securitySchemes"] |= SECURITY_SCHEMES
    for shape in shapes.values():
        for member in shape.get("properties", {}).values():
            if member.get("default") == "" and member.get("minLength"):
                # Left out is empty, and given it is not: a default has to be one that could be given.
                del member["default"]
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            if method == "head":  # which shares its description with POST
                methods[method] = {**operation, "operationId": f"{operation['operationId']}_head"}
                continue
            operation["summary"] = summary_of(operation["summary"], operation.get("description"))
            if permission := operation.pop("x-permission", None):
                _add_permission(operation, permission)
                if operation.pop("x-repeats") and method != "get":
                    operation.setdefault("parameters", []).append(REPEATS)
                if not any(each.status == 409 for each in refusals.get(operation["operationId"], ())):
                    del operation["responses"][409]
            _leave_out_null(operation.get("requestBody", {}))
            is_told = path.startswith(TOLD)
            for each in refusals.get(operation["operationId"], ()):
                _add_refusal(schema["components"]["examples"], operation["responses"], each, is_told=is_told)
            bodies = {"": operation.get("requestBody", {}), **operation.get("responses", {})}
            for status, body in bodies.items():
                for media in body.get("content", {}).values():
                    if "schema" in media:
                        is_refusal = media["schema"].get("$ref", "").endswith(("/ErrorOut", "/InvalidOut"))
                        example = _refusal(status) if is_refusal else _example(media["schema"], shapes, "")
                        media.update({} if "examples" in media else {"example": media.get("example", example)})


def summary_of(summary: str, description: str | None) -> str:
    """Ninja's, which is the name of the function unless one is given, or the beginning of what it does."""
    if _NAME.fullmatch(summary) and description:
        return _CLAUSE.split(description, maxsplit=1)[0]
    return summary


def _leave_out_null(body: dict[str, Any]) -> None:
    """A body that may be left out is none; generators would send what they have in its place."""
    for media in body.get("content", {}).values():
        given = [each for each in media.get("schema", {}).get("anyOf", ()) if each != {"type": "null"}]
        if len(given) == 1:
            media["schema"], body["required"] = given[0], False


def _add_permission(operation: dict[str, Any], permission: str) -> None:
    scope = key_scopes.scope_of(permission)
    of_keys = f"and of an API key the scope `{scope}`" if scope else "which no API key has"
    needed = f"Needs the permission `{permission}`, {of_keys}."
    operation["description"] = f"{operation.get('description', '')}\n\n{needed}".strip()
    operation["security"] = [*([{"ApiKey": [scope]}] if scope else ()), {"BearerOrCookie": []}]


def _refusal(status: Any) -> dict[str, Any]:
    """A refusal with this status, as project/errors.py words it."""
    detail, code = STATUS_WORDS[int(status)]
    problem = {"type": "missing", "loc": ["body", "reason"], "msg": "Field required"}
    return {"detail": [problem] if int(status) == 422 else detail, "code": code, "request_id": _ID}


def _add_refusal(examples: dict[str, Any], responses: dict[Any, Any], refusal: Refusal, *, is_told: bool) -> None:
    """Name it in the answer of its status, with a body as an example that all operations share."""
    body = {"detail": json.loads(refusal.detail), "code": refusal.slug, "request_id": _ID}
    body |= {"message": refusal.message} if is_told and refusal.message else {}
    same = (
        name for n in count(1) if examples.get(name := f"{refusal.slug}{n if n > 1 else ''}") in (None, _shown(body))
    )
    examples[name := next(same)] = _shown(body)
    shape = "InvalidOut" if refusal.status == 422 else "ErrorOut"
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}}
    response = responses.setdefault(
        refusal.status, {"description": STATUS_WORDS[refusal.status][0], "content": content}
    )
    response["description"] += f"{',' if '`' in response['description'] else ':'} `{refusal.slug}`"
    listed = response["content"]["application/json"].setdefault("examples", {})
    listed[refusal.slug] = {"$ref": f"#/components/examples/{name}"}


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    return {"summary": body.get("message", ""), "value": body} if body.get("message") else {"value": body}


def _example(schema: dict[str, Any], shapes: dict[str, Any], name: str, depth: int = 0) -> Any:
    """A value of the schema, a body or an answer somebody could send."""
    if "example" in schema or "examples" in schema:
        return schema.get("example", (schema.get("examples") or [None])[0])
    if name in _EXAMPLES and not schema.get("enum"):
        return _EXAMPLES[name]
    if reference := schema.get("$ref"):
        found = shapes.get(reference.rpartition("/")[2], {})
        return {} if depth > _DEPTH else _example(found, shapes, name, depth + 1)
    for kind in ("anyOf", "oneOf", "allOf"):
        if schema.get(kind):
            return _example(schema[kind][0], shapes, name, depth)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    if schema.get("default") not in (None, "", [], {}):
        return schema["default"]
    if schema.get("type") == "array":
        return [_example(schema.get("items", {}), shapes, name.removesuffix("s"), depth + 1)] if depth < _DEPTH else []
    if "properties" in schema:
        return {
            member: _example(about, shapes, member, depth + 1)
            for member, about in schema["properties"].items()
            if depth < _DEPTH
        }
    if "format" in schema:
        return _FORMATS.get(schema["format"], "text")
    if schema.get("type") == "string" and (name == "id" or name.endswith("_id") or name in {"user", "uid"}):
        return _ID
    return _TYPES.get(schema.get("type", "object"))
