"""What the APIs of all apps share: refusals on the wire, and when schemas are built."""

from collections.abc import Callable
from typing import Any, TypeVar

from ninja import Schema as Schema
from pydantic import BaseModel

from lib.private import share_response_models

# Before the first operation. Each model is built by the first request that needs it.
share_response_models()
Schema.model_config["defer_build"] = True


F = TypeVar("F", bound=Callable[..., Any])


class ErrorOut(BaseModel):
    """`detail` is a word of the seed's or an object with `code` and `reason`; `code` a stable slug. `message` is a
    sentence for people, at operations for staff and keys."""

    detail: Any
    code: str
    request_id: str
    message: str = ""


class Problem(BaseModel):
    type: str
    loc: list[str | int]
    msg: str


class Refusal(BaseModel):
    code: str
    reason: str | None = None


class InvalidOut(BaseModel):
    """`detail` lists what is wrong with the body; a refusal of what it says has a word of its own."""

    detail: list[Problem] | Refusal | str
    code: str
    request_id: str
    message: str = ""


def common(view: F) -> F:
    """Decorator of an operation without authentication that answers the same to all, always: it is called once
    (lib/common_answers.py)."""
    view.is_common = True  # type: ignore[attr-defined]
    return view


def refusals(*statuses: int) -> dict[int, type[BaseModel]]:
    """What an operation may answer instead, for its `response=`."""
    return {status: InvalidOut if status == 422 else ErrorOut for status in statuses}
