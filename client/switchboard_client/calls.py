"""What one command sends: made of its arguments, checked by what the server's document says of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, urlencode

from switchboard_client.errors import Misused, Refused
from switchboard_client.operations import PREFIX, Field, Operation, value, written
from switchboard_client.server import Answer, Server


@dataclass(frozen=True, slots=True)
class Call:
    """`taken` are the parameters of the path, as `{name}`."""

    method: str
    path: str
    query: Mapping[str, Any]
    taken: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None

    @property
    def address(self) -> str:
        path = re.sub("{[^}]*}", lambda found: quote(self.taken[found[0]], "", None, "surrogateescape"), self.path)
        query = {name: json.dumps(each) if isinstance(each, bool) else each for name, each in self.query.items()}
        return path + ("?" if query else "") + urlencode(query, doseq=True, errors="surrogateescape")


def make(operation: Operation, taken: dict[str, str], asked: dict[str, Any], options: dict[str, Field]) -> Call:
    """`asked` has what was given by name of the option, None where nothing was. Raises: Misused."""
    (name,) = written([operation])
    if wrong := {"", ".", ".."}.intersection(taken.values()):
        raise Misused(f"{min(wrong)!r} is no key")
    values: dict[str, dict[str, Any]] = {"query": {}, "body": {}}
    for option, given in asked.items():
        if option.startswith("--") and given is not None:
            if option not in options:
                raise Misused(f"{option} is not for: {name}")
            values[options[option].place][options[option].name] = value(options[option].schema, given, option)
    for option, each in options.items():
        may_lack = not each.is_required or (each.place == "body" and asked["json_body"])
        if not may_lack and each.name not in values[each.place]:
            raise Misused(f"{option} is needed for: {name}")
    if asked["all"]:
        if "--cursor" not in options:
            raise Misused(f"--all is for lists, not for: {name}")
        values["query"].setdefault("limit", 100)
    if asked["json_body"] and "requestBody" not in operation.about:
        raise Misused(f"--json-body is not for: {name}")
    # A tag stands in quotes, which a shell takes away.
    tag = re.sub(r'^(?!\*$|"|W/)(.*)', r'"\1"', asked["if_match"]) if asked["if_match"] else None
    headers = {"If-Match": tag, "Idempotency-Key": asked["idempotency_key"]}
    headers = {header: given for header, given in headers.items() if given is not None}
    if not all(re.fullmatch("[ -~]+", given) for given in headers.values()):
        raise Misused("--if-match and --idempotency-key are plain ASCII")
    body = None
    if asked["json_body"] or values["body"] or operation.about.get("requestBody", {}).get("required"):
        body = json.dumps(_body(asked["json_body"], values["body"])).encode()
        headers["Content-Type"] = "application/json"
    return Call(operation.method, operation.path, values["query"], taken, headers, body)


def _body(file: str | None, members: Mapping[str, Any]) -> Any:
    if not file:
        return members
    try:
        with open(0 if file == "-" else file, "rb") as source:
            body = json.load(source)
    except (OSError, ValueError, RecursionError):
        raise Misused(f"--json-body: {file} cannot be read as JSON") from None
    if members and not isinstance(body, dict):
        raise Misused("--json-body: options add to an object alone")
    return {**body, **members} if members else body


def with_id(server: Server, call: Call) -> Call:
    """With the id of a person who is named by an address. Raises: Refused where there is none."""
    name, address = next(iter(call.taken.items()), ("", ""))
    if not (call.path.startswith(f"{PREFIX}people/{{") and "@" in address):
        return call
    for page in send(server, Call("GET", f"{PREFIX}people", {"search": address, "limit": 100}), is_all=True):
        for person in page.json()["items"]:
            if person["email"].casefold() == address.casefold():
                return replace(call, taken={**call.taken, name: person["id"]})
    raise Refused(f"There is no person {address}.")


def send(server: Server, call: Call, *, is_all: bool) -> list[Answer]:
    """The answer; of a list with `is_all` those that follow, too. Raises: Refused."""
    answers = []
    while True:
        answers.append(server.ask(call.method, call.address, call.headers, call.body))
        rest = answers[-1].json()["next"] if is_all else None
        if not rest:
            return answers
        call = replace(call, query={**call.query, "cursor": rest})
