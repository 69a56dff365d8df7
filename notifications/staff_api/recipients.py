"""Whom mail does not go to, what people chose, what providers reported, and what sends: for staff."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from django.contrib.admin.models import ADDITION
from django.contrib.auth import get_user_model
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import BaseModel, Field

from lib import staff_api
from lib.addresses import normal_email
from lib.admin.lists import starts_with
from lib.api import Schema
from lib.db import page_by_key
from lib.schemas import Email, Text
from lib.staff_api import Listing
from lib.text import read_id
from notifications.models import DeliveryEvent, Message, Preference, ProviderState, Suppression, Worker
from notifications.schemas import EventOut, Time, Word
from notifications.services import circuit_breaker, health, staff_actions

router = Router(tags=["Staff: recipients and ways out"])

Address = Annotated[Text, Field(max_length=254)]
Reason = Annotated[Text, Field(min_length=1, max_length=200)]


class SuppressionsQuery(Listing):
    """`address`: a whole one, or how it begins."""

    address: Address = ""
    scope: Word = ""


class SuppressionOut(Schema):
    """`scope`: `all`, `optional` or a category; `reason`: `bounce`, `complaint`, `unsubscribe` or `staff`."""

    id: int
    address: str
    channel: str
    scope: str
    reason: str
    source: str
    created_at: Time
    expires_at: Time | None

    @classmethod
    def of(cls, row: Suppression) -> SuppressionOut:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class SuppressionsOut(Schema):
    items: list[SuppressionOut]
    next: str | None


class SuppressIn(BaseModel):
    """Without `days`: for ever."""

    address: Email
    scope: Word = Suppression.OPTIONAL
    days: Literal[staff_actions.DAYS] | None = None  # type: ignore[valid-type]
    reason: Reason


@router.get("/suppressions", response={200: SuppressionsOut, **staff_api.REFUSED}, operation_id="list_suppressions")
@staff_api.needs("notifications.view_suppression")
def list_suppressions(request: HttpRequest, asked: Query[SuppressionsQuery]) -> SuppressionsOut:
    """The addresses that are not written to, the newest first."""
    rows = Suppression.objects.all()
    if asked.address:
        rows = rows.filter(starts_with("address", normal_email(asked.address)))
    if asked.scope:
        rows = rows.filter(scope=asked.scope)
    items, rest = page_by_key(rows, cursor=asked.cursor, limit=asked.limit, of="suppressions")
    return SuppressionsOut(items=[SuppressionOut.of(row) for row in items], next=rest)


@router.post(
    "/suppressions",
    response={200: SuppressionOut, 201: SuppressionOut, **staff_api.REFUSED},
    operation_id="add_suppression",
)
@staff_api.needs("notifications.add_suppression", sensitive=True)
def add_suppression(request: HttpRequest, payload: SuppressIn) -> Status[SuppressionOut]:
    """Suppress an address; 200 where it is on the list for at least as long."""
    given, actor = payload.model_dump(), staff_api.actor(request)
    with transaction.atomic():
        is_new = staff_actions.suppress(**given, actor=actor)
        which = {"address": payload.address, "scope": payload.scope}
        row = Suppression.objects.get(**which, channel=Message.Channel.EMAIL)
        if is_new:
            staff_actions.log(row, f"Suppressed. Reason: {payload.reason}", actor=actor, flag=ADDITION)
            actor.note("suppression.added", email=row.address, scope=row.scope, reason=payload.reason)
    return Status(201 if is_new else 200, SuppressionOut.of(row))


# --- What people chose, what providers reported -----------------------------------------------------------------------


class PreferencesQuery(Listing):
    """`user`: an id, or the address a person signs in with."""

    user: Address = ""


class ChosenOut(Schema):
    user: str
    category: str
    channel: str
    enabled: bool
    created_at: Time

    @classmethod
    def of(cls, row: Preference) -> ChosenOut:
        return cls(user=row.user_id.hex, **{name: getattr(row, name) for name in cls.model_fields.keys() - {"user"}})


class ChosenListOut(Schema):
    items: list[ChosenOut]
    next: str | None


@router.get("/preferences", response={200: ChosenListOut, **staff_api.REFUSED}, operation_id="list_preferences")
@staff_api.needs("notifications.view_preference")
def list_preferences(request: HttpRequest, asked: Query[PreferencesQuery]) -> ChosenListOut:
    """What people have switched on or off themselves; without a row the default of the category holds."""
    rows = Preference.objects.all()
    if pk := read_id(asked.user):
        rows = rows.filter(user=pk)
    elif asked.user:
        rows = rows.filter(**{f"user__{get_user_model().USERNAME_FIELD}": normal_email(asked.user)})
    items, rest = page_by_key(rows, cursor=asked.cursor, limit=asked.limit, of="preferences")
    return ChosenListOut(items=[ChosenOut.of(row) for row in items], next=rest)


class EventsQuery(Listing):
    """`recipient`: a whole address; `message`: the uid of one."""

    kind: Word = ""
    provider: Word = ""
    recipient: Address = ""
    message: Word = ""


class ReportOut(EventOut):
    """`message`: the uid of ours that it is about, if any."""

    id: int
    event_id: str
    message: str | None


class ReportsOut(Schema):
    items: list[ReportOut]
    next: str | None


@router.get("/delivery-events", response={200: ReportsOut, **staff_api.REFUSED}, operation_id="list_delivery_events")
@staff_api.needs("notifications.view_deliveryevent")
def list_delivery_events(request: HttpRequest, asked: Query[EventsQuery]) -> ReportsOut:
    """What providers reported, the newest first."""
    about: dict[str, Any] = {"kind": asked.kind, "provider": asked.provider, "recipient": normal_email(asked.recipient)}
    if asked.message:
        about["message"] = staff_actions.find(asked.message)
    rows = DeliveryEvent.objects.filter(**{name: value for name, value in about.items() if value})
    rows = rows.select_related("message")
    items, rest = page_by_key(rows, cursor=asked.cursor, limit=asked.limit, of="delivery-events")
    return ReportsOut(items=[_report(row) for row in items], next=rest)


def _report(row: DeliveryEvent) -> ReportOut:
    own: dict[str, Any] = {
        "id": row.pk,
        "event_id": row.event_id,
        "message": str(row.message.uid) if row.message else None,
    }
    return ReportOut(**own, **{name: getattr(row, name) for name in EventOut.model_fields})


# --- What sends -------------------------------------------------------------------------------------------------------


class ProviderOut(Schema):
    """`alias`: what `POST /providers/{alias}/pause` takes. Paused without `paused_until`: until staff resume."""

    alias: str
    paused: bool
    paused_until: Time | None
    paused_by: str
    reason: str
    failures: int
    last_ok_at: Time | None

    @classmethod
    def of(cls, row: ProviderState) -> ProviderOut:
        fields = {name: getattr(row, name) for name in cls.model_fields.keys() - {"paused"}}
        return cls(paused=row.is_paused(timezone.now()), **fields)


class ProvidersOut(Schema):
    items: list[ProviderOut]


@router.get("/providers", response={200: ProvidersOut, **staff_api.REFUSED}, operation_id="list_providers")
@staff_api.needs("notifications.view_providerstate")
def list_providers(request: HttpRequest) -> ProvidersOut:
    """The ways out, and whether they are paused."""
    return ProvidersOut(items=[ProviderOut.of(row) for row in circuit_breaker.states()])


class WorkerOut(Schema):
    """`alive`: it gave a sign of life lately; `sent` and `failed` since it started."""

    id: str
    host: str
    pid: int
    version: str
    engine: str
    alive: bool
    started_at: Time
    beat_at: Time
    sent: int
    failed: int

    @classmethod
    def of(cls, row: Worker) -> WorkerOut:
        fields: dict[str, Any] = {name: getattr(row, name) for name in cls.model_fields.keys() - {"id", "alive"}}
        return cls(id=row.pk.hex, alive=timezone.now() - row.beat_at <= health.SILENCE, **fields)


class WorkersOut(Schema):
    items: list[WorkerOut]


@router.get("/workers", response={200: WorkersOut, **staff_api.REFUSED}, operation_id="list_workers")
@staff_api.needs("notifications.view_worker")
def list_workers(request: HttpRequest) -> WorkersOut:
    """The processes that deliver, the most recent sign of life first; 100 at most."""
    return WorkersOut(items=[WorkerOut.of(row) for row in Worker.objects.order_by("-beat_at")[:100]])
