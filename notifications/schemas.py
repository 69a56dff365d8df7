"""Shapes on the wire; unknown keys are ignored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    StrictBool,
    StringConstraints,
)

from lib.api import Schema
from lib.schemas import STORABLE, Email, Text, TimeIn
from lib.text import require_storable
from notifications import registry
from notifications.models import Attempt, DeliveryEvent, InAppNotification, Message
from notifications.rendering.render import Rendered
from notifications.services.preferences import Choices


def _to_the_microsecond(value: datetime) -> str:
    # As stored: a client hands these back, and cut to milliseconds they would name an earlier moment.
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z")


Time = Annotated[datetime, PlainSerializer(_to_the_microsecond, return_type=str)]
Word = Annotated[str, StringConstraints(max_length=100), AfterValidator(require_storable), STORABLE]
State = Literal["queued", "sending", "sent", "failed", "unknown", "cancelled", "suppressed", "expired"]


class Paged(BaseModel):
    cursor: Annotated[str, Field(max_length=200)] = ""
    limit: Annotated[int, Field(ge=1, le=100)] = 20


# --- What people read -------------------------------------------------------------------------------------------------


class InboxQuery(Paged):
    unread: bool = False


# Plain pydantic models as in users/api/schemas.py: answers that are given often.
class ItemOut(BaseModel):
    id: int
    type: str
    title: str
    body: str
    url: str
    data: Any
    severity: str
    count: int  #: always 1
    created_at: Time
    seen_at: Time | None
    read_at: Time | None

    @classmethod
    def of(cls, row: InAppNotification) -> ItemOut:
        return cls(count=1, **{name: getattr(row, name) for name in cls.model_fields if name != "count"})


class InboxOut(BaseModel):
    items: list[ItemOut]
    next: str | None


class UnreadOut(Schema):
    unread: int


class ReadAllIn(BaseModel):
    """`before`: those made at that time and earlier."""

    before: TimeIn | None = None


class ChangedOut(Schema):
    changed: int


class ChoiceOut(Schema):
    enabled: bool
    fixed: bool
    why: str | None


class CategoryOut(Schema):
    code: str
    label: str
    channels: dict[str, ChoiceOut]


class PreferencesOut(Schema):
    categories: list[CategoryOut]

    @classmethod
    def of(cls, choices: Choices) -> PreferencesOut:
        found = []
        for code, channels in choices.items():
            offered = {
                name: ChoiceOut(enabled=choice.enabled, fixed=bool(choice.why), why=str(choice.why) or None)
                for name, choice in channels.items()
            }
            found.append(CategoryOut(code=code, label=str(registry.category(code).label), channels=offered))
        return cls(categories=found)


class PreferenceIn(BaseModel):
    category: Word
    channel: Word
    enabled: StrictBool


# --- What staff read --------------------------------------------------------------------------------------------------


class MessagesQuery(Paged):
    """`since` and `until` are about when it was made."""

    state: State | None = None
    type: Word | None = None
    category: Word | None = None
    channel: Word | None = None
    to: Annotated[Text, Field(max_length=254)] | None = None
    since: TimeIn | None = None
    until: TimeIn | None = None


class MessageOut(Schema):
    uid: str
    parent: str | None
    type: str
    category: str
    channel: str
    language: str
    to: str
    user: str | None
    state: str
    reason: str
    delivery_state: str
    subject: str
    attempts: int
    max_attempts: int
    provider: str
    provider_message_id: str
    message_id: str
    event_key: str | None
    request_id: str
    last_code: str
    last_error: str
    created_at: Time
    due_at: Time | None
    expires_at: Time
    sent_at: Time | None
    finished_at: Time | None

    @classmethod
    def values(cls, row: Message) -> dict[str, Any]:
        own = {"uid", "parent", "to", "user"}
        return {name: getattr(row, name) for name in MessageOut.model_fields.keys() - own} | {
            "uid": str(row.uid),
            "parent": str(row.parent.uid) if row.parent else None,
            "to": row.to_address,
            "user": row.user_id.hex if row.user_id else None,
        }

    @classmethod
    def of(cls, row: Message) -> MessageOut:
        return cls(**cls.values(row))


class MessagesOut(Schema):
    items: list[MessageOut]
    next: str | None


class AttemptOut(Schema):
    n: int
    outcome: str
    code: str
    response: str
    worker: str
    provider: str
    started_at: Time
    duration_ms: int

    @classmethod
    def of(cls, row: Attempt) -> AttemptOut:
        fields = {name: getattr(row, name) for name in cls.model_fields if name != "started_at"}
        return cls(**fields, started_at=row.created_at)


class EventOut(Schema):
    kind: str
    refusal: str
    provider: str
    recipient: str
    detail: str
    at: Time
    received_at: Time

    @classmethod
    def of(cls, row: DeliveryEvent) -> EventOut:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class MessagePageOut(MessageOut):
    """`text` and `html` need `view_message_body`, with codes and links hidden; `detail`, the text of providers,
    needs `view_deliveryevent`."""

    history: list[AttemptOut]
    events: list[EventOut]
    text: str | None
    html: str | None

    @classmethod
    def whole(cls, row: Message, body: Rendered | None, *, shows_reports: bool) -> MessagePageOut:
        events = [EventOut.of(event) for event in row.events.all()]
        return cls(
            **cls.values(row),
            history=[AttemptOut.of(attempt) for attempt in row.tries.all()],
            events=events if shows_reports else [event.model_copy(update={"detail": ""}) for event in events],
            text=body.text if body else None,
            html=body.html if body else None,
        )


class StatsOut(Schema):
    """`states` counts to 10,000."""

    states: dict[str, int]
    last_hour: dict[str, int]
    oldest_due_seconds: int | None


class SendIn(BaseModel):
    type: Word
    to: Email
    context: dict[str, Any] = {}
    language: Word | None = None


class UidOut(Schema):
    uid: str


class PreviewOut(Schema):
    subject: str
    text: str
    html: str
