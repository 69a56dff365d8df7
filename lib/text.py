"""Text as it may be stored and shown: no NUL byte (PostgreSQL refuses it), no lone surrogate (UTF-8 cannot hold it)."""

import re
from typing import Annotated
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from pydantic import AfterValidator, Field, StringConstraints

from lib import addresses

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

EMAIL_MAX_LENGTH = addresses.MAX_LENGTH
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


def typed_email(value: str) -> str:
    """Stripped and in lower case, as addresses were kept before there was one spelling for each."""
    return value.strip().lower()


def normal_email(value: str) -> str:
    """The one spelling of an address; of what is none, something to look for in vain."""
    try:
        return addresses.canonical(value)
    except ValueError:
        return typed_email(value)


def normal_domain(value: str) -> str:
    """The one spelling of a domain; what is none stays as it is."""
    try:
        return addresses.canonical_domain(value)
    except ValueError:
        return value


def valid_email(value: str) -> str:
    """The one spelling; ValueError when it has none, Django's validator refuses it or it is over 254 characters."""
    value = addresses.canonical(storable(value))
    try:
        validate_email(addresses.ascii_form(value))
    except ValidationError:
        raise ValueError("is not a valid e-mail address") from None
    if len(addresses.ascii_form(value)) > EMAIL_MAX_LENGTH:
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
