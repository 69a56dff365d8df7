"""What the operations for staff take and answer (staff.py)."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, Field

from feature_flags import flag_schema
from feature_flags.engine.explain import Step
from lib.api import Problem, Schema
from lib.schemas import Text
from lib.staff_api import Listing

Word = Annotated[Text, Field(max_length=100)]
Reason = Annotated[Text, Field(max_length=200)]
Kind = Literal["release", "experiment", "operational", "kill_switch", "permission"]


class _Described:
    """The API's description shows the members of this model; whether they are right is for the service to say."""

    def __init__(self, model: type[BaseModel], **example: Any) -> None:
        self.model, self.example = model, example

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        self.model.model_rebuild()
        return {**handler(self.model.__pydantic_core_schema__), "examples": [self.example]}


_IN = {"field": "emailDomain", "operator": "IN", "values": ["example.org"]}
FlagDocument = Annotated[
    dict[str, Any], _Described(flag_schema.Flag, codename="FF_NEW_CHECKOUT", rules=[{"constraints": [_IN]}])
]
SegmentDocument = Annotated[dict[str, Any], _Described(flag_schema.Segment, name="beta", constraints=[_IN])]


class _Row(Schema):
    @classmethod
    def of(cls, row: Any, **more: Any) -> Self:
        """The members that the row has under the same name, and these."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields if name not in more}, **more)


class ChangedOut(Schema):
    """`changed` is false where it was so already."""

    changed: bool


# --- Flags ------------------------------------------------------------------------------------------------------------


class FlagsQuery(Listing):
    """`search` is a part of the codename or label."""

    search: Word = ""
    is_active: bool | None = None
    is_protected: bool | None = None
    archived: Literal["no", "yes", "all"] = "no"
    stale: bool | None = None
    tag: Word = ""
    kind: Kind | None = None


class UsageOut(_Row):
    """`yes` and `no` of the last 24 hours; `stale`: why the flag has outlived its purpose, if it has."""

    last_seen_at: datetime | None
    yes: int
    no: int
    stale: tuple[str, ...]


class FlagRowOut(_Row):
    codename: str
    label: str | None
    kind: str
    value_type: str
    is_active: bool
    is_archived: bool
    is_protected: bool
    exposed: bool
    owner: str
    tags: list[str]
    review_on: date | None
    updated_at: datetime
    usage: UsageOut


class FlagsOut(Schema):
    items: list[FlagRowOut]
    next: str | None


class FlagOut(_Row):
    """`document` is the flag as an export has it; `revision` its newest entry in the history, also the `ETag`.

    `created_by` and `updated_by` are ids of people, or `command:NAME` and the like.
    """

    document: FlagDocument
    revision: int
    is_declared: bool
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    archived_at: datetime | None
    usage: UsageOut


class FlagIn(BaseModel):
    """Members that `document` lacks have their defaults in a new flag, and stay as they are in one that exists."""

    document: FlagDocument
    reason: Reason = ""


# --- History and schedule ---------------------------------------------------------------------------------------------


class RevisionOut(_Row):
    """`by` is an id or `command:NAME`; `who` the name of the person, for those who may see people; `changes` are lines
    such as `active: off → on`, null for those who may not see flags."""

    id: int
    at: datetime
    codename: str
    action: str
    door: str
    by: str
    who: str | None
    reason: str
    changes: list[str] | None


class RevisionsOut(Schema):
    items: list[RevisionOut]
    next: str | None


class WholeRevisionOut(RevisionOut):
    """`diff` is `{member: [before, after]}`, `snapshot` the whole flag after it; both null as `changes`."""

    diff: dict[str, Any] | None
    snapshot: dict[str, Any] | None


class ReasonIn(BaseModel):
    reason: Reason = ""


class SchedulesQuery(Listing):
    state: Literal["pending", "applied", "cancelled"] = "pending"


class ScheduleIn(BaseModel):
    """`percent` goes with the action `percent` alone, of a flag without rules."""

    at: AwareDatetime = Field(examples=["2030-01-31T08:30:00Z"])
    action: Literal["on", "off", "percent"]
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    reason: Reason = ""


class ScheduleOut(_Row):
    id: int
    at: datetime
    action: str
    percent: int | None
    reason: str
    state: str
    created_at: datetime
    created_by: str


class SchedulesOut(Schema):
    items: list[ScheduleOut]
    next: str | None


# --- Why --------------------------------------------------------------------------------------------------------------

Person = Annotated[Text, Field(max_length=254)]


class WhyIn(BaseModel):
    """`user` is an id or address; `context` counts before what is known of the user."""

    user: Person = ""
    context: dict[str, Any] = {}


class StepOut(Schema):
    """What was checked, in order; with `children` it passes when all of them do. `kind` is switch, dependency, rule,
    segment, constraint, target, rollout or variant."""

    kind: str
    label: str
    passed: bool
    note: str
    children: list[StepOut]
    field: str
    operator: str
    expected: str
    given: str | None
    inverted: bool
    bucket: int | None
    percentage: int | None
    stickiness: str
    group: str

    @classmethod
    def of(cls, step: Step) -> StepOut:
        return cls.model_validate(asdict(step))


class WhyOut(Schema):
    """`value` is what code gets, null for its own default; `reason` a sentence; `context` what was gone by."""

    codename: str
    enabled: bool
    value: Any
    variant: str
    reason: str
    steps: list[StepOut]
    context: dict[str, str]


# --- Segments ---------------------------------------------------------------------------------------------------------


class SegmentsQuery(Listing):
    """`search` is a part of the name or description."""

    # Of a name of a hundred letters that are not ASCII.
    cursor: Annotated[str, Field(max_length=2_000)] = ""
    search: Word = ""


class SegmentRowOut(_Row):
    name: str
    description: str
    constraints: int
    updated_at: datetime


class SegmentsOut(Schema):
    items: list[SegmentRowOut]
    next: str | None


class SegmentOut(_Row):
    """As for flags; `used_by` are the flags with rules that refer to it, null for those who may not see flags."""

    document: SegmentDocument
    revision: int
    created_at: datetime
    created_by: str
    updated_at: datetime
    updated_by: str
    used_by: list[str] | None


class SegmentIn(BaseModel):
    """Members that `document` lacks are empty in a new segment, and stay as they are in one that exists."""

    document: SegmentDocument
    reason: Reason = ""


# --- Tokens and files -------------------------------------------------------------------------------------------------


class TokenIn(BaseModel):
    """`allowed_origins` (`https://app.example.org`) limits browsers, none allows any; without `expires_at` it is good
    until it is revoked."""

    name: Word
    kind: Literal["server", "frontend"]
    allowed_origins: list[Annotated[Text, Field(max_length=300)]] = Field(
        [], max_length=100, examples=[["https://app.example.org"]]
    )
    expires_at: AwareDatetime | None = Field(None, examples=["2030-01-31T08:30:00Z"])
    reason: Reason = ""


class TokenOut(_Row):
    """`prefix` is how the secret begins."""

    id: int
    name: str
    kind: str
    prefix: str
    allowed_origins: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_on: date | None
    created_at: datetime
    created_by: str


class TokensOut(Schema):
    items: list[TokenOut]
    next: str | None


class NewTokenOut(Schema):
    """`secret` is shown this once."""

    secret: str
    token: TokenOut


class ImportQuery(BaseModel):
    """`strict` takes nothing unless all can be taken, `prune` archives the flags that the file lacks."""

    format: Literal["switchboard", "unleash", "waffle"] = "switchboard"
    dry_run: bool = False
    strict: bool = False
    prune: bool = False
    reason: Reason = ""


class ImportOut(_Row):
    """Counts of flags; `lines` such as `FF_A: active: off → on`; `notes` what came in otherwise than it stood in the
    file; `problems` what was not taken, and why."""

    created: int
    changed: int
    archived: int
    unchanged: int
    lines: list[str]
    notes: list[str]
    problems: list[Problem]
