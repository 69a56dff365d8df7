"""Operations for staff, of all apps: who may call them, and what their lists and answers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, wraps
from inspect import signature
from typing import Annotated, Any, Self

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.utils.http import parse_etags
from ninja.utils import contribute_operation_callback
from pydantic import BaseModel, Field

from lib import actors
from lib.actors import Actor
from lib.api import Schema, refusals
from lib.errors import ProductError

#: What any of them may answer instead, for its `response=`.
REFUSED = refusals(400, 401, 403, 404, 409, 413, 422, 429, 503)
#: What a change that takes the tag of what was read may answer instead, and how it is described.
EDIT_REFUSED = {**REFUSED, **refusals(412, 428)}
_IF_MATCH = {"in": "header", "name": "If-Match", "required": True, "schema": {"type": "string"}}
EDIT_EXTRA = {"parameters": [{**_IF_MATCH, "description": "The `ETag` of what was read; `*` for whatever it is now."}]}
#: What an operation may be sent to be done once.
REPEATS = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "title": "Idempotency-Key"},
    "description": "Repeats with the same key, within a day, get the answer of the first.",
}
#: The door of those who call them (`lib.actors.Actor`).
DOOR = "staff"


class Listing(BaseModel):
    """What every list is asked: `cursor` is the `next` of the answer before."""

    # One that goes by a name holds it.
    cursor: Annotated[str, Field(max_length=1500)] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 20


class Row(Schema):
    """The shape of a row."""

    @classmethod
    def of(cls, row: Any, **more: Any) -> Self:
        """The members that the row has under the same name, and these."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields if name not in more}, **more)


def actor(request: HttpRequest) -> Actor:
    return Actor.of(request, DOOR)


def require(request: HttpRequest, permission: str) -> Any:
    """The user of the call, who is staff and has the permission.

    Raises:
        PERMISSION_MISSING (403): not staff, or not theirs, or not among the scopes of their API key; the answer names
            the `permission`.
        SECOND_FACTOR_REQUIRED (403): where the admin would ask for one, too.
    """
    user = request.auth  # type: ignore[attr-defined]
    if not (user.is_staff and user.has_perm(permission)):
        message = f"This needs the permission {permission}."
        about = {"permission": permission}
        raise ProductError("PERMISSION_MISSING", message, status=403, detail="Forbidden", slug="forbidden", extra=about)
    if not user.may_act_as_staff():
        raise ProductError("SECOND_FACTOR_REQUIRED", "Staff sign in with a second factor.", status=403)
    # What the pages of the admin go by, whose rules hold here, too.
    request.user, request.door = user, DOOR  # type: ignore[attr-defined]
    return user


def require_match(request: HttpRequest, tag: Any, code: str) -> None:
    """Whether what is to be changed is still as it was read, by its `ETag` (RFC 9110, 13.1.1).

    Raises: IF_MATCH_MISSING (428); `code` (412) where another tag is sent than this one.
    """
    if (given := request.headers.get("If-Match")) is None:
        raise ProductError("IF_MATCH_MISSING", "Send the ETag of what you have read as If-Match.", status=428)
    # A proxy that compresses makes tags weak; ours name a version, whatever the bytes.
    if not {"*", f'"{tag}"'} & {each.removeprefix("W/") for each in parse_etags(given)}:
        raise ProductError(code, "It was changed in the meantime: read it again.", status=412)


def _once(request: HttpRequest, asked: Callable[[], Any], *, response: Any) -> Any:
    return actors.staff_guard(request, asked, response=response) if actors.staff_guard else asked()


def _each_time(request: HttpRequest, asked: Callable[[], Any], *, response: Any) -> Any:
    return asked()


@dataclass(frozen=True, slots=True)
class Needed:
    """What an operation for staff is to those who list, describe or call it (project/agents/): `view.needed`."""

    permission: str
    run: Callable[..., Any]  #: The whole work, with a request whose `auth` is the caller.
    sensitive: bool = False  #: People prove once more who they are.
    reads: bool = False  #: Changes nothing, whatever its method.
    answers_secret: bool = False  #: Shown this once.


def needs(
    permission: str,
    *,
    sensitive: bool = False,
    reads: bool = False,
    answers_secret: bool = False,
    knows_repeats: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of an operation: its whole work runs on a lane, for those whom `require` lets in. A `sensitive` one
    asks people for a fresh proof as well: REAUTHENTICATION_REQUIRED (403). Repeats with the same `Idempotency-Key` are
    answered for it, unless it `knows_repeats` itself, `reads` alone or `answers_secret`, which is not kept.

    The description of the API names the permission, and the scope that an API key has to have for it.
    """

    prove = Actor.require_proof if sensitive else None
    repeats = not (knows_repeats or reads or answers_secret)
    answer = _once if repeats else _each_time

    def note(operation: Any) -> None:
        about = {"x-permission": permission, "x-repeats": repeats}
        operation.openapi_extra = {**(operation.openapi_extra or {}), **about}

    def decorate(view: Callable[..., Any]) -> Callable[..., Any]:
        def run(request: HttpRequest, *args: Any, **given: Any) -> Any:
            require(request, permission)
            if prove:
                prove(actor(request))
            return answer(request, partial(view, request, *args, **given), response=given.get("response"))

        @wraps(view)
        async def call(*args: Any, **given: Any) -> Any:
            return await sync_to_async(run)(*args, **given)

        # Ninja would read the names of types in this module.
        call.__signature__ = signature(view, eval_str=True)  # type: ignore[attr-defined]
        call.needed = Needed(permission, run, sensitive, reads, answers_secret)  # type: ignore[attr-defined]
        contribute_operation_callback(call, note)
        return call

    return decorate
