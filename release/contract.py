"""What of the API's description breaks clients of the release before.

What each release promised is kept in `docs/openapi/<version>.json`, without words and refusals; the checks of every
change compare with the last one (project/tests/test_openapi.py).
"""

from __future__ import annotations

import json
import operator
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from release import history

#: Which need nothing of the environment.
SETTINGS = "project.tests.settings"
_PRINT = """
import django, json
django.setup()
from django.urls import get_resolver
get_resolver().url_patterns  # what the first release adds to its API there
from project.api import api
print(json.dumps(api.get_openapi_schema(), default=str))
"""
KEPT = Path(__file__).resolve().parent.parent / "docs" / "openapi"
#: A break that is meant is a line here, word for word, and below it the reason, indented. A release empties it.
MEANT = KEPT / "meant-breaks.txt"
_NAMING = {"properties", "patternProperties", "schemas", "responses", "paths", "securitySchemes"}
_WORDS = {"description", "summary", "title", "example", "examples", "tags", "info"}
#: Of what is sent, and when one is narrower than another.
_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("maxLength", "maxItems", "maximum", "maxProperties"), operator.lt),
    **dict.fromkeys(("minLength", "minItems", "minimum", "minProperties"), operator.gt),
    **dict.fromkeys(("pattern", "format"), operator.ne),
}
#: Shapes within shapes; deeper ones are taken as they are, for some hold themselves.
_DEPTH = 8


def document(root: Path) -> dict[str, Any]:
    """The description of the API that the files of a release make."""
    env = dict(os.environ) | {"DJANGO_SETTINGS_MODULE": SETTINGS}
    done = subprocess.run([sys.executable, "-c", _PRINT], cwd=root, env=env, check=True, stdout=subprocess.PIPE)
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def keep(version: str, described: dict[str, Any]) -> None:
    """Write what a release promises, and forget what the one before broke."""
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{version}.json").write_text(json.dumps(_bare(described), separators=(",", ":"), sort_keys=True) + "\n")
    MEANT.write_text("")


def kept(version: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((KEPT / f"{version}.json").read_text())
    return found


def meant() -> dict[str, str]:
    """The breaks that are meant, and why."""
    reasons: dict[str, str] = {}
    for line in MEANT.read_text().splitlines():
        if line.startswith(" "):
            last = next(reversed(reasons))
            reasons[last] = f"{reasons[last]} {line.strip()}".strip()
        elif line:
            reasons[line] = ""
    return reasons


def _bare(part: Any, *, has_names: bool = False) -> Any:
    """Without what people read, and refusals; `has_names`: its keys are names of members, not words of OpenAPI."""
    if isinstance(part, list):
        return [_bare(each) for each in part]
    if not isinstance(part, dict):
        return part
    left = {key: each for key, each in part.items() if has_names or key not in _WORDS}
    left = {key: each for key, each in left.items() if not (key.isdigit() and key >= "400")}
    return {key: _bare(each, has_names=key in _NAMING and not has_names) for key, each in left.items()}


class Schema:
    """A schema of a document, with what it refers to read in its place."""

    def __init__(self, given: Any, shapes: dict[str, Any]) -> None:
        self.shapes = shapes
        while isinstance(given, dict) and "$ref" in given:
            given = shapes.get(given["$ref"].rpartition("/")[2], {})
        self.given: dict[str, Any] = given if isinstance(given, dict) else {}
        kinds = (self.given.get(kind, ()) for kind in ("anyOf", "oneOf", "allOf"))
        self.alternatives = [Schema(each, shapes) for kind in kinds for each in kind]

    @property
    def types(self) -> set[str]:
        """The JSON types it takes; none: any. A whole number is a number."""
        named = self.given.get("type", [])
        found = {named} if isinstance(named, str) else set(named)
        return found.union(*(each.types for each in self.alternatives)) | ({"integer"} if "number" in found else set())

    @property
    def shape(self) -> Schema:
        """The one alternative that is not null, if there is just one."""
        given = [each for each in self.alternatives if each.types != {"null"}]
        return given[0].shape if len(given) == 1 else self

    def part(self, *names: str) -> Schema:
        found: Any = self.given
        for name in names:
            found = found.get(name, {}) if isinstance(found, dict) else {}
        return Schema(found, self.shapes)


def breaks(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """A sentence for each thing that a client of `old` relies on and `new` does not hold: an operation or a member of
    an answer is gone, a call has to bring more, a type has changed. What an answer has more, clients ignore."""
    found = []
    for path, methods in old["paths"].items():
        for method, before in methods.items():
            after = new["paths"].get(path, {}).get(method)
            reasons = _of_operation(before, after, _shapes(old), _shapes(new)) if after else ["is gone"]
            found += [f"{method.upper()} {path}: {reason}" for reason in reasons]
    return list(dict.fromkeys(found))


def _shapes(described: dict[str, Any]) -> dict[str, Any]:
    shapes: dict[str, Any] = described.get("components", {}).get("schemas", {})
    return shapes


def _of_operation(
    before: dict[str, Any], after: dict[str, Any], old: dict[str, Any], new: dict[str, Any]
) -> Iterator[str]:
    if before.get("operationId") != after.get("operationId"):
        yield f"is called {after.get('operationId')}, not {before.get('operationId')}"
    for way in before.get("security", ()):
        if not any(_is_enough(way, now) for now in after.get("security", [{}])):
            yield f"no longer takes {' and '.join(_way(way))}"
    known = {(each["in"], each["name"]): each for each in before.get("parameters", ())}
    for each in after.get("parameters", ()):
        was = known.get((each["in"], each["name"]))
        if each.get("required") and not (was and was.get("required")):
            yield f"needs the parameter {each['name']}"
        if was:
            yield from _of_call(Schema(was.get("schema"), old), Schema(each.get("schema"), new), each["name"])
    if after.get("requestBody", {}).get("required") and not before.get("requestBody", {}).get("required"):
        yield "needs a body"
    yield from _of_bodies(before.get("requestBody", {}), after.get("requestBody", {}), old, new, _of_call, "a body")
    for status, answer in before.get("responses", {}).items():
        if str(status).startswith("2"):
            if status not in after.get("responses", {}):
                yield f"no longer answers {status}"
            else:
                now = after["responses"][status]
                yield from _of_bodies(answer, now, old, new, _of_answer, f"an answer {status}")


def _is_enough(way: dict[str, list[str]], now: dict[str, list[str]]) -> bool:
    """Whether who brought what was asked brings what is asked now."""
    return all(scheme in way and set(scopes) <= set(way[scheme]) for scheme, scopes in now.items())


def _way(way: dict[str, list[str]]) -> list[str]:
    return [f"{scheme} with {', '.join(scopes)}" if scopes else scheme for scheme, scopes in way.items()] or ["nothing"]


def _of_bodies(
    before: dict[str, Any],
    after: dict[str, Any],
    old: dict[str, Any],
    new: dict[str, Any],
    compare: Callable[[Schema, Schema, str], Iterator[str]],
    what: str,
) -> Iterator[str]:
    for media, described in before.get("content", {}).items():
        if media not in after.get("content", {}):
            yield f"{what} is no longer {media}"
        else:
            now = after["content"][media]
            yield from compare(Schema(described.get("schema"), old), Schema(now.get("schema"), new), "")


def _of_call(before: Schema, after: Schema, where: str) -> Iterator[str]:
    """Why something that was taken no longer is."""
    if after.types and (lost := before.types - after.types):
        yield f"{where or 'the body'} is no longer taken as {_words(lost)}"
    before, after = before.shape, after.shape
    if "enum" in after.given:
        gone = set(before.given.get("enum", ["any other value"])) - set(after.given["enum"])
        yield from (f"{where} no longer takes {each}" for each in sorted(gone, key=str))
    for bound, is_narrower in _BOUNDS.items():
        if bound in after.given and (bound not in before.given or is_narrower(after.given[bound], before.given[bound])):
            yield f"{where or 'the body'} has {bound} {after.given[bound]}, not {before.given.get(bound, 'any')}"
    for name in sorted(set(after.given.get("required", ())) - set(before.given.get("required", ()))):
        yield f"needs {_member(where, name)}"
    yield from _of_parts(before, after, where, _of_call)


def _of_answer(before: Schema, after: Schema, where: str) -> Iterator[str]:
    """Why something that was there no longer is."""
    if before.types and (more := after.types - before.types):
        yield f"{where or 'the answer'} may be {_words(more)}"
    before, after = before.shape, after.shape
    promised = set(before.given.get("required", ()))
    for name in before.given.get("properties", {}):
        if name not in after.given.get("properties", {}):
            yield f"{_member(where, name)} is gone"
        elif name in promised and name not in after.given.get("required", ()):
            yield f"{_member(where, name)} may be left out"
    yield from _of_parts(before, after, where, _of_answer)


def _of_parts(
    before: Schema, after: Schema, where: str, compare: Callable[[Schema, Schema, str], Iterator[str]]
) -> Iterator[str]:
    if where.count(".") > _DEPTH:
        return
    for name in before.given.get("properties", {}):
        if name in after.given.get("properties", {}):
            yield from compare(before.part("properties", name), after.part("properties", name), _member(where, name))
    if "items" in before.given and "items" in after.given:
        yield from compare(before.part("items"), after.part("items"), f"{where}[]")


def _member(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _words(found: set[str]) -> str:
    return ", ".join(sorted(found))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        last = history.last()
        keep(last.version, document(history.unpack(last, Path(directory))))
