"""The operations for staff as agents know them, by their ids: found, checked, and carried out within the process.

Made of what the API has (project/staff_api.py), so that an operation added there is known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib import import_module
from typing import Any, cast
from urllib.parse import quote, urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, QueryDict
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _
from ninja.errors import ValidationError
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from lib.admin.verbs import Verb, VerbAdmin
from lib.errors import ProductError
from lib.private import answer_of, arguments_of, body_of, operations_of, sources_of
from lib.staff_api import Needed
from lib.text import is_storable
from project.api import STAFF
from project.openapi import summary_of
from project.staff_places import place_of
from users.models import Proposal, User
from users.services import key_scopes

_ROOT = "/api/staff"
_NAME = re.compile(r"{(?:\w+:)?(\w+)}")
_KEY_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` begins with `/api/staff`, its parameters are `{name}`; `verb` is the button it stands for, if one."""

    id: str
    method: str
    path: str
    needed: Needed
    ninja: Any = field(repr=False)
    verb: tuple[VerbAdmin, Verb] | None = None

    @property
    def scope(self) -> str:
        """What an API key needs; empty where no key may."""
        return key_scopes.scope_of(self.needed.permission)

    @property
    def is_read(self) -> bool:
        return self.method == "GET" or self.needed.reads

    @property
    def is_for_agents(self) -> bool:
        """Not what no key may do, and nothing whose answer is a secret: it would stand in a model's context."""
        return bool(self.scope) and self.scope != "agents:propose" and not self.needed.answers_secret

    @property
    def takes_tag(self) -> bool:
        given = (self.ninja.openapi_extra or {}).get("parameters", ())
        return any(each["name"] == "If-Match" for each in given)

    @property
    def reads_body(self) -> bool:
        """Into a shape of its own."""
        return any(source == "body" for source, _ in sources_of(self.ninja))

    @property
    def takes_body(self) -> bool:
        return self.reads_body or "requestBody" in (self.ninja.openapi_extra or {})

    def require_body_fits(self, body: Any) -> None:
        """Raises: PARAMETERS_INVALID (422) for a body where none is taken."""
        if body is not None and not self.takes_body:
            raise _invalid(f"{self.id} takes no body.")

    @property
    def names(self) -> list[str]:
        """Of the parameters of its path."""
        return _NAME.findall(self.path)

    @property
    def query(self) -> list[str]:
        """Names of the parameters of its query."""
        return [name for source, names in sources_of(self.ninja) if source == "query" for name in names]

    @property
    def summary(self) -> str:
        return summary_of(self.ninja.summary, self.ninja.description)

    def target(self, parameters: Mapping[str, Any]) -> tuple[str, str]:
        """The path and the query that ask for it. Raises: PARAMETERS_INVALID (422)."""
        taken = {name: _key(name, parameters.get(name)) for name in self.names}
        asked = {name: _value(value) for name, value in parameters.items() if name not in taken and value is not None}
        if unknown := asked.keys() - set(self.query):
            known = ", ".join([*self.names, *self.query]) or "none"
            raise _invalid(f"{self.id} has no parameter {min(unknown)[:40]}; it has: {known}.")
        path = _NAME.sub(lambda found: quote(taken[found[1]], safe=""), self.path)
        return path, urlencode(asked, doseq=True)


def _invalid(message: str) -> ProductError:
    return ProductError("PARAMETERS_INVALID", message, status=422)


def _key(name: str, value: Any) -> str:
    """One part of a path: what is decoded on the way must not be read as another path."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not 0 < len(text) <= _KEY_LENGTH or text in {".", ".."} or not is_storable(text) or re.search(r"[/\\%?#]", text):
        raise _invalid(f"The parameter {name} is a key of 1 to {_KEY_LENGTH} characters, without / \\ % ? #.")
    return text


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return [_value(each) for each in value]
    if not isinstance(value, str | int | float):
        raise _invalid("Parameters are texts, numbers, true or false, or lists of them.")
    return value


# --- All there are ----------------------------------------------------------------------------------------------------


@cache
def known() -> dict[str, Operation]:
    """By their ids."""
    return {operation.id: operation for operation in map(_read, operations_of(import_module(STAFF).api))}


def _read(ninja: Any) -> Operation:
    own, (method,) = ninja.view_func, ninja.methods
    name = ninja.operation_id or ninja.api.get_openapi_operation_id(ninja)
    path = _NAME.sub(r"{\1}", f"{_ROOT}{ninja.path}")
    return Operation(name, method, path, own.needed, ninja, getattr(own, "verb", None))


def find(name: str) -> Operation:
    """Raises: OPERATION_UNKNOWN (404)."""
    if (found := known().get(name)) is None:
        message = _("There is no operation of this name.")
        raise ProductError("OPERATION_UNKNOWN", message, status=404)
    return found


def parents(operation: Operation) -> list[tuple[Operation, dict[str, str]]]:
    """The reads of what it is about, the nearest first; each with the names its parameters have in the operation."""
    parts, found = operation.path.split("/"), []
    for each in known().values():
        own = each.path.split("/")
        is_one = each.method == "GET" and own[-1].startswith("{")
        if is_one and len(own) <= len(parts) and all(map(_is_same, own, parts)):
            same = {a.strip("{}"): b.strip("{}") for a, b in zip(own, parts, strict=False) if a.startswith("{")}
            found.append((len(own), each, same))
    return [(each, same) for _, each, same in sorted(found, key=lambda row: -row[0])]


def _is_same(one: str, other: str) -> bool:
    return one == other or (one.startswith("{") and other.startswith("{"))


# --- Carried out ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    """`value` is JSON; None where the answer is a `file`."""

    value: Any
    tag: str
    file: HttpResponseBase | None = None


def request_of(
    operation: Operation, given: Mapping[str, Any], *, user: User, like: HttpRequest, proposed_by: str = ""
) -> HttpRequest:
    """A request for the operation with the `parameters`, `body` and `if_match` given, from this user and the client of
    `like`."""
    path, query = operation.target(given["parameters"])
    request: Any = HttpRequest()
    request.method, request.path, request.path_info = operation.method, path, path
    names = ("REMOTE_ADDR", "HTTP_USER_AGENT", "HTTP_ACCEPT_LANGUAGE", "HTTP_HOST", "SERVER_NAME", "SERVER_PORT")
    request.META = {name: like.META[name] for name in names if name in like.META}
    request.META |= {"QUERY_STRING": query, "CONTENT_TYPE": "application/json"}
    if given.get("if_match") and operation.takes_tag:
        request.META["HTTP_IF_MATCH"] = given["if_match"]
    request.GET = QueryDict(query)
    body = given.get("body")
    request._body = b"" if body is None else json.dumps(body).encode()
    request.id = getattr(like, "id", "")
    request.auth, request.user, request.proposed_by = user, user, proposed_by
    return request  # type: ignore[no-any-return]


def check(operation: Operation, request: HttpRequest, parameters: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """What the operation is called with, and the response that its headers go to. Raises: ValidationError."""
    # An id may be a number, which no path is.
    return arguments_of(operation.ninja, request, {name: str(parameters[name]) for name in operation.names})


def require_known(operation: Operation, body: Any, arguments: Mapping[str, Any]) -> None:
    """Whoever decides about a body reads nothing in it that the operation would pass over. Raises: PARAMETERS_INVALID
    (422)."""
    read = body_of(operation.ninja, arguments)
    if isinstance(read, BaseModel) and (extra := _passed_over(body, read.model_dump(by_alias=True))):
        raise _invalid(f"{operation.id} takes no {extra[:40]} in its body.")


def _passed_over(given: Any, read: Any) -> str:
    """The name of a member that is not in what was read; empty if there is none."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(given, dict) and isinstance(read, dict):
        if extra := given.keys() - read.keys():
            return str(min(extra))
        pairs = [(value, read[name]) for name, value in given.items()]
    elif isinstance(given, list) and isinstance(read, list):
        pairs = list(zip(given, read, strict=False))
    return next(filter(None, (_passed_over(*pair) for pair in pairs)), "")


def carry_out(
    operation: Operation, given: Mapping[str, Any], *, user: User, like: HttpRequest, proposed_by: str = ""
) -> Answer:
    """Run the operation as this user, in the transaction of the caller: with its permission, rules, limits, history and
    audit log.

    Raises: ProductError, with the status that the API would answer.
    """
    request = request_of(operation, given, user=user, like=like, proposed_by=proposed_by)
    try:
        values, response = check(operation, request, given["parameters"])
        result = operation.needed.run(request, **values)
    except ValidationError as error:
        raise as_refusal(error) from error
    except Http404 as error:
        raise ProductError("NOT_FOUND", _("There is no such thing, or no more."), status=404) from error
    except PermissionDenied as error:
        raise ProductError("FORBIDDEN", _("You may not do this yourself."), status=403) from error
    answered = answer_of(operation.ninja, request, result, response)
    is_file = answered.streaming or answered.has_header("Content-Disposition")
    if is_file:
        return Answer(None, "", answered)
    return Answer(json.loads(answered.content or b"null"), answered.get("ETag", response.get("ETag", "")))


def as_refusal(error: ValidationError) -> ProductError:
    problems: list[dict[str, Any]] = to_jsonable_python(error.errors)
    words = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in problems[:5])
    return ProductError("INVALID", words, status=422, detail=problems)


# --- What it is about -------------------------------------------------------------------------------------------------


def read(operation: Operation, parameters: Mapping[str, Any], *, user: User, like: HttpRequest) -> Answer | None:
    """What the operation is about as it is now: the nearest thing with a tag, else the nearest there is; None where it
    is about nothing that can be read. Raises: ProductError."""
    first = None
    for each, same in parents(operation):
        given = {"parameters": {name: parameters[other] for name, other in same.items()}}
        answer = carry_out(each, given, user=user, like=like)
        if answer.tag:
            return answer
        first = first or answer
    return first


def thing(page: VerbAdmin, key: str, request: HttpRequest) -> Any:
    """What the address of a button names; None where there is none."""
    return page.get_object(request, key, place_of(page.model).key or None)


def without_scopes(user: User) -> User:
    """The owner of an API key with all that they may, and the key still on record."""
    owner = copy(user)
    owner.granted = None
    return owner


def require_unchanged(found: Answer | None, given: Mapping[str, Any]) -> str:
    """The tag of what was found; of what has none, one of the members that the body would change. Raises:
    CHANGED_MEANWHILE (412) where another one is given."""
    tag = (found.tag or _tag_of(found.value, given.get("body"))) if found else ""
    if given.get("if_match", "").removeprefix("W/") not in {"", "*", tag}:
        message = _("It was changed in the meantime: read it again.")
        raise ProductError("CHANGED_MEANWHILE", message, status=412)
    return tag


def _tag_of(before: Any, body: Any) -> str:
    if not (isinstance(before, dict) and isinstance(body, dict)):
        return ""
    would_change = {name: before[name] for name in before.keys() & body.keys()}
    return f'"{sha256(json.dumps(would_change, sort_keys=True).encode()).hexdigest()[:32]}"' if would_change else ""


def approved(row: Proposal, *, request: HttpRequest) -> tuple[str, HttpResponseBase | None]:
    """Carry a proposal out as the person of the request, who approved it: what was done, in words, and a file where the
    operation answers one. Raises: ProductError."""
    operation, user = find(row.operation), cast(User, request.user)
    given = {"parameters": row.parameters, "body": row.body, "if_match": row.if_match}
    if not operation.takes_tag:
        require_unchanged(read(operation, row.parameters, user=user, like=request), given)
    answer = carry_out(operation, given, user=user, like=request, proposed_by=row.key_prefix)
    message = answer.value.get("message", "") if isinstance(answer.value, dict) else ""
    return message or "done.", answer.file
