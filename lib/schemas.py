"""Types of fields that all apps share. What needs none, such as most commands, never loads pydantic."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, StringConstraints

from lib.addresses import EMAIL_MAX_LENGTH, valid_email
from lib.text import NAME_MAX_LENGTH, require_storable

#: For the API's description; lone surrogates are no JSON text to begin with (RFC 8259, 8.2).
STORABLE = Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})


def _no_number(value: Any) -> Any:
    # pydantic would take it for seconds since 1970; the description promises RFC 3339.
    if not isinstance(value, str) or re.fullmatch(r"[\s\d.eE+-]*", value):
        raise ValueError("must be a date and time such as 2026-01-31T08:30:00Z")
    return value


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("is before or after all time") from None


Text = Annotated[str, AfterValidator(require_storable), STORABLE]
Name = Annotated[str, StringConstraints(max_length=NAME_MAX_LENGTH), AfterValidator(require_storable), STORABLE]
TimeIn = Annotated[AwareDatetime, BeforeValidator(_no_number), AfterValidator(_in_utc)]
Email = Annotated[
    str, AfterValidator(valid_email), Field(json_schema_extra={"format": "email", "maxLength": EMAIL_MAX_LENGTH})
]
