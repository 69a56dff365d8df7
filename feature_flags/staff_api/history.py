"""What was changed of a flag, with the way back, and what is planned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import BaseModel, Field

from feature_flags import names
from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule
from feature_flags.services import editing, schedules
from feature_flags.staff_api.shared import FlagsChangedOut, Reason, log, user_of, worded
from lib import db
from lib.admin import because, may_see
from lib.api import Schema
from lib.errors import ProductError
from lib.schemas import TimeIn
from lib.staff_api import REFUSED, Listing, Row, actor, needs, require

router = Router(tags=["Staff: flags"])
VIEW, HISTORY = "feature_flags.view_featureflag", "feature_flags.view_flagrevision"


class RevisionOut(Row):
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

    at: TimeIn = Field(examples=["2030-01-31T08:30:00Z"])
    action: Literal["on", "off", "percent"]
    percent: Annotated[int, Field(ge=0, le=100)] | None = None
    reason: Reason = ""


class ScheduleOut(Row):
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


@router.get("/flags/{codename}/history", response={200: RevisionsOut, **REFUSED})
@needs(HISTORY)
def list_flag_history(request: HttpRequest, codename: str, asked: Query[Listing]) -> RevisionsOut:
    """What was changed, the newest first; of a deleted flag, too, until another takes its name."""
    rows, of = _history(codename), f"history:{codename}"
    found, rest = db.page(rows, by="-id", cursor=asked.cursor, limit=asked.limit, of=of)
    return RevisionsOut(items=[RevisionOut.of(row, **_seen(request, row)) for row in found], next=rest)


@router.get("/flags/{codename}/history/{int:revision}", response={200: WholeRevisionOut, **REFUSED})
@needs(HISTORY)
def get_flag_revision(request: HttpRequest, codename: str, revision: int) -> WholeRevisionOut:
    """One change, and the whole flag after it."""
    row = _revision(codename, revision)
    hidden = {} if may_see(user_of(request), FeatureFlag) else {"diff": None, "snapshot": None}
    return WholeRevisionOut.of(row, **_seen(request, row), **hidden)


@router.post("/flags/{codename}/history/{int:revision}/restore", response={200: FlagsChangedOut, **REFUSED})
@needs(VIEW)
@worded()
def restore_flag(
    request: HttpRequest, codename: str, revision: int, payload: ReasonIn | None = None
) -> FlagsChangedOut:
    """Make the flag what it was after this change; a deleted one comes back.

    Needs what its changes would need by themselves: `change_featureflag` or for a deleted one `add_featureflag`, and
    `switch_featureflag` or `archive_featureflag` where it switches or is put into the archive or out of it.
    """
    row, reason = _revision(codename, revision), payload.reason if payload else ""
    if row.snapshot:
        for permission in editing.restoring(row)[1]:
            require(request, permission)
    with transaction.atomic():
        changed = editing.restore(row, actor=actor(request), reason=reason)
        if changed and row.flag:
            note = f"Restored the version of {row.at:%Y-%m-%d %H:%M:%S} UTC."
            log(request, row.flag, note + because(reason))
    return FlagsChangedOut(changed=changed)


def _history(codename: str) -> QuerySet[FlagRevision]:
    rows = FlagRevision.objects.filter(subject=FlagRevision.Subject.FLAG).select_related("actor", "flag")
    if names.problem(codename):
        raise editing.unknown()
    if flag := FeatureFlag.objects.filter(codename=codename).first():
        return rows.filter(flag=flag)
    rows = rows.filter(flag=None, codename=codename)
    if not rows.exists():
        raise editing.unknown()
    return rows


def _revision(codename: str, pk: int) -> FlagRevision:
    if (row := _history(codename).filter(pk=pk).first()) is None:
        raise ProductError("REVISION_UNKNOWN", "The flag has no such entry in its history.", status=404)
    return row


def _seen(request: HttpRequest, row: FlagRevision) -> dict[str, Any]:
    """What not every reader of the history sees: people and flags stand in it, too."""
    user = user_of(request)
    who = row.who if may_see(user, get_user_model()) else None
    changes = row.change_lines if may_see(user, FeatureFlag) else None
    return {"by": row.actor_label, "who": who, "changes": changes}


@router.get("/flags/{codename}/schedules", response={200: SchedulesOut, **REFUSED})
@needs(VIEW)
def list_flag_schedules(request: HttpRequest, codename: str, asked: Query[SchedulesQuery]) -> SchedulesOut:
    """Changes that are planned, or were, those planned last first."""
    rows = editing.get(codename).schedule.filter(state=asked.state)
    of = f"schedules:{codename}"
    found, rest = db.page(rows, by="-id", cursor=asked.cursor, limit=asked.limit, of=of)
    return SchedulesOut(items=[ScheduleOut.of(row) for row in found], next=rest)


@router.post("/flags/{codename}/schedules", response={201: ScheduleOut, **REFUSED})
@needs(VIEW)
@worded()
def schedule_flag(request: HttpRequest, codename: str, payload: ScheduleIn) -> Status[ScheduleOut]:
    """Plan a change. Needs what it would need now: `switch_featureflag`, for a percentage `change_featureflag`."""
    flag, given = editing.get(codename), payload.model_dump()
    require(request, schedules.permission_for(payload.action))
    if payload.at <= timezone.now():
        raise InvalidFlag([Problem(("at",), "This time is over.")])
    with transaction.atomic():
        entry = schedules.schedule(flag, **given, actor=actor(request))
        log(request, flag, f"Planned: {entry}." + because(payload.reason))
    return Status(201, ScheduleOut.of(entry))


@router.delete("/flags/{codename}/schedules/{int:entry}", response={200: FlagsChangedOut, **REFUSED})
@needs(VIEW)
def cancel_flag_schedule(request: HttpRequest, codename: str, entry: int) -> FlagsChangedOut:
    """Forget a planned change, for those who may plan it; `changed` is false once it was applied or cancelled."""
    flag = editing.get(codename)
    planned: FlagSchedule | None = flag.schedule.filter(pk=entry).first()
    if planned is None:
        raise ProductError("SCHEDULE_UNKNOWN", "The flag has no such entry in its schedule.", status=404)
    require(request, schedules.permission_for(planned.action))
    with transaction.atomic():
        is_cancelled = schedules.cancel_schedule(planned, actor=actor(request))
        if is_cancelled:
            log(request, flag, f"Cancelled: {planned}.")
    return FlagsChangedOut(changed=is_cancelled)
