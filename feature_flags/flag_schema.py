"""The types of a flag's and a segment's document, for `flag_document.checked`: what loads pydantic, and few need it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from django.utils.translation import gettext as _
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from feature_flags import names
from lib.schemas import Text
from lib.text import require_storable

MAX_RULES = 100
MAX_TARGETS = 5_000
MAX_VARIANTS = 100


def _codename(value: str) -> str:
    if problem := names.problem(value):
        raise ValueError(problem)
    return value


def _named(value: str) -> str:
    if value != value.strip() or not value:
        raise ValueError(_("A name has no blanks around it."))
    return require_storable(value)


def _identifier(value: str) -> str:
    if "," in value:
        raise ValueError(_("A user id holds no comma."))
    if value != value.strip() or not value:
        raise ValueError(_("A user id has no blanks around it."))
    return require_storable(value)


Codename = Annotated[str, AfterValidator(_codename)]
Identifier = Annotated[str, StringConstraints(max_length=200), AfterValidator(_identifier)]
Percent = Annotated[int, Field(ge=0, le=100)]
Label = Annotated[Text, StringConstraints(max_length=200)]
Group = Annotated[Text, StringConstraints(max_length=100)]
Stickiness = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_named)]
TagName = Annotated[str, StringConstraints(max_length=50), AfterValidator(_named)]
SegmentName = Annotated[str, StringConstraints(max_length=100), AfterValidator(_named)]


class _Part(BaseModel):
    # Strict: "true" is no boolean and 50.0 no percentage. Forbidden: a misspelt key must not be lost in silence.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class Constraint(_Part):
    field: Text
    operator: Text
    values: list[Text] | None = None
    value: Text | None = None
    inverted: bool = False
    case_insensitive: bool = False


class Spelling(_Part):
    """A payload as the Unleash document has it."""

    type: Text
    value: Text


class Variant(_Part):
    """Without a payload (None), the value of the variant is the flag's value when off.

    `written_as` is how the payload was spelled where it came from, if otherwise than we would spell it: clients read
    the same text here as there.
    """

    name: Codename
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    payload: Any = None
    written_as: Spelling | None = None


class Rule(_Part):
    label: Label = ""
    is_enabled: bool = True
    rollout_percent: Percent = 100
    stickiness: Stickiness = "default"
    group_id: Group = ""
    constraints: list[Constraint] = []
    segments: list[SegmentName] = []
    variants: Annotated[list[Variant], Field(max_length=MAX_VARIANTS)] = []


class Prerequisite(_Part):
    parent: Codename
    required: bool = True
    variants: list[Text] = []


class Targets(_Part):
    on: Annotated[list[Identifier], Field(max_length=MAX_TARGETS)] = []
    off: Annotated[list[Identifier], Field(max_length=MAX_TARGETS)] = []


class Flag(_Part):
    codename: Codename
    label: Label | None = None
    description: Text | None = None
    is_active: bool = False
    is_archived: bool = False
    kind: Literal["release", "experiment", "operational", "kill_switch", "permission"] = "release"
    value_type: Literal["boolean", "string", "integer", "float", "object"] = "boolean"
    off_value: Any = None
    rollout_percent: Percent = 100
    stickiness: Stickiness = "default"
    group_id: Group = ""
    exposed: bool = True
    is_protected: bool = False
    impression_data: bool = False
    owner: Annotated[Text, StringConstraints(max_length=100)] = ""
    tags: list[TagName] = []
    review_on: Annotated[date, Field(strict=False)] | None = None
    rules: Annotated[list[Rule], Field(max_length=MAX_RULES)] = []
    variants: Annotated[list[Variant], Field(max_length=MAX_VARIANTS)] = []
    prerequisites: list[Prerequisite] = []
    targets: Targets = Field(default_factory=Targets)


class Segment(_Part):
    name: SegmentName
    description: Text = ""
    constraints: list[Constraint] = []
