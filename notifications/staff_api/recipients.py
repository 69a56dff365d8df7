"""Whom mail does not go to, what people chose, what providers reported, and what sends, for staff.

Most lists and verbs are made of the admin's pages (project/staff_lists.py, project/staff_api.py): here are shapes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone
from ninja import Router, Status
from pydantic import BaseModel, Field

from lib import staff_api
from lib.api import Schema
from lib.schemas import Email, Text
from lib.staff_api import Row
from notifications.models import DeliveryEvent, Message, Preference, ProviderState, Suppression, Worker
from notifications.schemas import EventOut, Time, Word
from notifications.services import circuit_breaker, health, staff_actions

router = Router(tags=["Staff: recipients and ways out"])

Reason = Annotated[Text, Field(min_length=1, max_length=200)]


class SuppressionOut(Row):
    """`scope`: `all`, `optional` or a category; `reason`: `bounce`, `complaint`, `unsubscribe` or `staff`."""

    id: int
    address: str
    channel: str
    scope: str
    reason: str
    source: str
    created_at: Time
    expires_at: Time | None


class SuppressIn(BaseModel):
    """Without `days`: for ever."""

    address: Email
    scope: Word = Suppression.OPTIONAL
    days: Literal[staff_actions.DAYS] | None = None  # type: ignore[valid-type]
    reason: Reason


@router.post("/suppressions", response={200: SuppressionOut, 201: SuppressionOut, **staff_api.REFUSED})
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


class ChosenOut(Row):
    """`user`: the id of who chose; where there is no row the default of the category holds."""

    id: int
    user: str
    category: str
    channel: str
    enabled: bool
    created_at: Time

    @classmethod
    def of(cls, row: Preference, **more: Any) -> Self:
        return super().of(row, user=row.user_id.hex, **more)


class ReportOut(Row, EventOut):
    """`message`: the uid of ours that it is about, if any."""

    id: int
    event_id: str
    message: str | None

    @classmethod
    def of(cls, row: DeliveryEvent, **more: Any) -> Self:
        return super().of(row, message=str(row.message.uid) if row.message else None, **more)


class ProviderOut(Row):
    """`alias`: what `POST /providers/{alias}/pause` takes. Paused without `paused_until`: until staff resume."""

    alias: str
    paused: bool
    paused_until: Time | None
    paused_by: str
    reason: str
    failures: int
    last_ok_at: Time | None

    @classmethod
    def of(cls, row: ProviderState, **more: Any) -> Self:
        return super().of(row, paused=row.is_paused(timezone.now()), **more)


class ProvidersOut(Schema):
    items: list[ProviderOut]


@router.get("/providers", response={200: ProvidersOut, **staff_api.REFUSED})
@staff_api.needs("notifications.view_providerstate")
def list_providers(request: HttpRequest) -> ProvidersOut:
    """The ways out, and whether they are paused."""
    return ProvidersOut(items=[ProviderOut.of(row) for row in circuit_breaker.states()])


class WorkerOut(Row):
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
    def of(cls, row: Worker, **more: Any) -> Self:
        is_alive = timezone.now() - row.beat_at <= health.SILENCE
        return super().of(row, id=row.pk.hex, alive=is_alive, **more)
