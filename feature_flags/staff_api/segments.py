"""Segments for staff: listed, read, made and edited."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import BaseModel, Field

from feature_flags import flag_document, flag_schema
from feature_flags.formats import switchboard
from feature_flags.models import FeatureFlag, Segment
from feature_flags.services import segments
from feature_flags.staff_api.shared import (
    Described,
    Reason,
    Word,
    log,
    require_match,
    save,
    tag,
    user_of,
    with_revision,
    worded,
)
from lib import db
from lib.admin import because, may_see
from lib.api import Schema
from lib.staff_api import EDIT_EXTRA, EDIT_REFUSED, REFUSED, Listing, Row, actor, needs
from lib.text import is_storable

router = Router(tags=["Staff: segments"])
VIEW, ADD, CHANGE = (f"feature_flags.{verb}_segment" for verb in ("view", "add", "change"))
_IN = {"field": "emailDomain", "operator": "IN", "values": ["example.org"]}
SegmentDocument = Annotated[dict[str, Any], Described(flag_schema.Segment, name="beta", constraints=[_IN])]


class SegmentsQuery(Listing):
    """`search` is a part of the name or description."""

    # Of a name of a hundred letters that are not ASCII.
    cursor: Annotated[str, Field(max_length=2_000)] = ""
    search: Word = ""


class SegmentRowOut(Row):
    name: str
    description: str
    constraints: int
    updated_at: datetime


class SegmentsOut(Schema):
    items: list[SegmentRowOut]
    next: str | None


class SegmentOut(Row):
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


@router.get("/segments", response={200: SegmentsOut, **REFUSED})
@needs(VIEW)
def list_segments(request: HttpRequest, asked: Query[SegmentsQuery]) -> SegmentsOut:
    """Segments in the order of their names."""
    rows = Segment.objects.all()
    if asked.search:
        rows = rows.filter(Q(name__icontains=asked.search) | Q(description__icontains=asked.search))
    found, rest = db.page(rows, by="name", cursor=asked.cursor, limit=asked.limit, of="segments")
    return SegmentsOut(items=[SegmentRowOut.of(row, constraints=len(row.constraints)) for row in found], next=rest)


@router.post("/segments", response={201: SegmentOut, **REFUSED})
@needs(ADD)
@worded("document")
def create_segment(request: HttpRequest, response: HttpResponse, payload: SegmentIn) -> Status[SegmentOut]:
    """A new segment, which rules can refer to."""
    # Checked whole first: the service takes its members one by one.
    document = flag_document.checked_segment(payload.document)
    with transaction.atomic():
        segment = segments.create_segment(**document, actor=actor(request), reason=payload.reason)
        log(request, segment, "Created." + because(payload.reason), flag=ADDITION)
    return Status(201, _segment_out(request, response, segment.name))


@router.get("/segments/{name}", response={200: SegmentOut, **REFUSED})
@needs(VIEW)
def get_segment(request: HttpRequest, response: HttpResponse, name: str) -> SegmentOut:
    """The whole segment. Its `ETag` is what a change of it is sent with."""
    return _segment_out(request, response, name)


@router.put("/segments/{name}", response={200: SegmentOut, **EDIT_REFUSED}, openapi_extra=EDIT_EXTRA)
@needs(CHANGE)
@worded("document")
def edit_segment(request: HttpRequest, response: HttpResponse, name: str, payload: SegmentIn) -> SegmentOut:
    """Change description and constraints, and with them every flag that uses it. `If-Match` as for flags."""
    segment = _segment(name)
    require_match(request, segment)
    save(request, segment, payload, segments.edit_segment, name="name")
    return _segment_out(request, response, name)


def _segment(name: str) -> Any:
    rows = Segment.objects.filter(name=name) if is_storable(name) else Segment.objects.none()
    if (segment := with_revision(rows, "segment").first()) is None:
        raise segments.unknown()
    return segment


def _segment_out(request: HttpRequest, response: HttpResponse, name: str) -> SegmentOut:
    segment = _segment(name)
    response["ETag"] = tag(segment)
    shows_flags = may_see(user_of(request), FeatureFlag)
    used_by = sorted(segment.flags.values_list("codename", flat=True)) if shows_flags else None
    document = switchboard.segment_as_written(segment.document)
    return SegmentOut.of(segment, document=document, used_by=used_by)
