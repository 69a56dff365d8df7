"""Text as it may be stored and shown: no NUL byte (PostgreSQL refuses it), no lone surrogate (UTF-8 cannot hold it)."""

import re
from typing import Annotated
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from pydantic import AfterValidator, Field, StringConstraints

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

EMAIL_MAX_LENGTH = 254
NAME_MAX_LENGTH = 150


def is_storable(value: str) -> bool:
    return not _UNSTORABLE.search(value)


def printable(value: str) -> str:
    """The text with what a terminal or a log cannot show replaced by `?`."""
    return "".join(character if character.isprintable() else "?" for character in value)


def read_id(value: str) -> UUID | None:
    """What 32 hex digits stand for, as ids are written on the wire; None for anything else."""
    return UUID(value) if re.fullmatch("[0-9a-fA-F]{32}", value) else None


def storable(value: str) -> str:
    if not is_storable(value):
        raise ValueError("must not contain NUL characters or lone surrogates")
    return value


def normal_email(value: str) -> str:
    """The one spelling of an address: stripped and lower-cased."""
    return value.strip().lower()


def valid_email(value: str) -> str:
    """The normal spelling; ValueError when Django's validator refuses it or it is over 254 characters."""
    value = normal_email(storable(value))
    try:
        validate_email(value)
    except ValidationError:
        raise ValueError("is not a valid e-mail address") from None
    if len(value) > EMAIL_MAX_LENGTH:
        raise ValueError(f"must have at most {EMAIL_MAX_LENGTH} characters")
    return value


#: For the API's description; lone surrogates are no JSON text to begin with (RFC 8259, 8.2).
STORABLE = Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})

Text = Annotated[str, AfterValidator(storable), STORABLE]
Email = Annotated[
    str,
    AfterValidator(valid_email),
    Field(json_schema_extra={"format": "email", "maxLength": EMAIL_MAX_LENGTH}),
]
Name = Annotated[str, StringConstraints(max_length=NAME_MAX_LENGTH), AfterValidator(storable), STORABLE]
