"""Shapes on the wire that all apps share. What needs no shapes, such as most commands, never loads pydantic."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from lib.addresses import EMAIL_MAX_LENGTH, valid_email
from lib.text import NAME_MAX_LENGTH, require_storable

#: For the API's description; lone surrogates are no JSON text to begin with (RFC 8259, 8.2).
STORABLE = Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})

Text = Annotated[str, AfterValidator(require_storable), STORABLE]
Name = Annotated[str, StringConstraints(max_length=NAME_MAX_LENGTH), AfterValidator(require_storable), STORABLE]
Email = Annotated[
    str, AfterValidator(valid_email), Field(json_schema_extra={"format": "email", "maxLength": EMAIL_MAX_LENGTH})
]


class ErrorOut(BaseModel):
    """`detail` is a word of the seed's or an object with `code` and `reason`; `code` a stable slug."""

    detail: Any
    code: str
    request_id: str


class Problem(BaseModel):
    type: str
    loc: list[str | int]
    msg: str


class InvalidOut(BaseModel):
    detail: list[Problem]
    code: str
    request_id: str


def refusals(*statuses: int) -> dict[int, type[BaseModel]]:
    """What an operation may answer instead, for its `response=`."""
    return {status: InvalidOut if status == 422 else ErrorOut for status in statuses}
