"""Types of fields that all apps share. What needs none, such as most commands, never loads pydantic."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from lib.addresses import EMAIL_MAX_LENGTH, valid_email
from lib.text import NAME_MAX_LENGTH, require_storable

#: For the API's description; lone surrogates are no JSON text to begin with (RFC 8259, 8.2).
STORABLE = Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})

Text = Annotated[str, AfterValidator(require_storable), STORABLE]
Name = Annotated[str, StringConstraints(max_length=NAME_MAX_LENGTH), AfterValidator(require_storable), STORABLE]
Email = Annotated[
    str, AfterValidator(valid_email), Field(json_schema_extra={"format": "email", "maxLength": EMAIL_MAX_LENGTH})
]
