"""Flags for staff: listed, read, made, and edited as one document; their buttons are in project/staff_api.py."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Query, Router, Status
from pydantic import BaseModel

from feature_flags import declarations, flag_document, flag_schema, inspection, names
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.formats import switchboard
from feature_flags.models import FeatureFlag
from feature_flags.services import editing
from feature_flags.staff_api.shared import (
    Described,
    Reason,
    Word,
    log,
    require_match,
    save,
    tag,
    with_revision,
    worded,
)
from lib import db
from lib.admin import because
from lib.api import Schema
from lib.staff_api import EDIT_EXTRA, EDIT_REFUSED, REFUSED, Listing, Row, actor, needs, require

router = Router(tags=["Staff: flags"])
VIEW, ADD, CHANGE, SWITCH = (f"feature_flags.{verb}_featureflag" for verb in ("view", "add", "change", "switch"))

Kind = Literal["release", "experiment", "operational", "kill_switch", "permission"]
_IN = {"field": "emailDomain", "operator": "IN", "values": ["example.org"]}
FlagDocument = Annotated[
    dict[str, Any], Described(flag_schema.Flag, codename="FF_NEW_CHECKOUT", rules=[{"constraints": [_IN]}])
]


class FlagsQuery(Listing):
    """`search` is a part of the codename or label."""

    search: Word = ""
    is_active: bool | None = None
    is_protected: bool | None = None
    archived: Literal["no", "yes", "all"] = "no"
    stale: bool | None = None
    tag: Word = ""
    kind: Kind | None = None


class UsageOut(Row):
    """`yes` and `no` of the last 24 hours; `stale`: why the flag has outlived its purpose, if it has."""

    last_seen_at: datetime | None
    yes: int
    no: int
    stale: tuple[str, ...]


class FlagRowOut(Row):
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


class FlagDocumentOut(Row):
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


@router.get("/flags", response={200: FlagsOut, **REFUSED})
@needs(VIEW)
def list_flags(request: HttpRequest, asked: Query[FlagsQuery]) -> FlagsOut:
    """Flags in the order of their codenames, archived ones on demand."""
    now, rows = timezone.now(), FeatureFlag.objects.all()
    if asked.search:
        rows = rows.filter(Q(codename__icontains=asked.search) | Q(label__icontains=asked.search))
    if asked.archived != "all":
        rows = rows.filter(archived_at__isnull=asked.archived == "no")
    if asked.stale is not None:
        rows = rows.filter(inspection.stale(now) if asked.stale else ~inspection.stale(now))
    if asked.tag:
        rows = rows.filter(tags__name=asked.tag)
    rows = rows.filter(**asked.model_dump(include={"is_active", "is_protected", "kind"}, exclude_none=True))
    found, rest = db.page(rows, by="codename", cursor=asked.cursor, limit=asked.limit, of="flags")
    activity = inspection.activity(found, now)
    items = [FlagRowOut.of(row, tags=row.document["tags"], usage=UsageOut.of(activity[row.pk])) for row in found]
    return FlagsOut(items=items, next=rest)


@router.post("/flags", response={201: FlagDocumentOut, **REFUSED})
@needs(ADD)
@worded("document")
def create_flag(request: HttpRequest, response: HttpResponse, payload: FlagIn) -> Status[FlagDocumentOut]:
    """A new flag, off unless it says otherwise, which needs `switch_featureflag`, too."""
    document = dict(payload.document)
    _require_verbs(request, document, {"is_active": False, "is_archived": False})
    if unknown := document.keys() - flag_document.BLANK.keys():
        raise InvalidFlag([Problem((name,), "A flag has no such member.") for name in sorted(unknown)])
    with transaction.atomic():
        codename = document.pop("codename", "")
        flag = editing.create(codename, **document, actor=actor(request), reason=payload.reason)
        log(request, flag, "Created." + because(payload.reason), flag=ADDITION)
    return Status(201, _out(response, flag.codename))


@router.get("/flags/{codename}", response={200: FlagDocumentOut, **REFUSED})
@needs(VIEW)
def get_flag(request: HttpRequest, response: HttpResponse, codename: str) -> FlagDocumentOut:
    """The whole flag. Its `ETag` is what a change of it is sent with."""
    return _out(response, codename)


@router.put("/flags/{codename}", response={200: FlagDocumentOut, **EDIT_REFUSED}, openapi_extra=EDIT_EXTRA)
@needs(CHANGE)
@worded("document")
def edit_flag(request: HttpRequest, response: HttpResponse, codename: str, payload: FlagIn) -> FlagDocumentOut:
    """Change it as one document. Needs the `ETag` in `If-Match`: 428 without, 412 when it was changed meanwhile.

    Another `is_active` needs `switch_featureflag`, too, and for a protected flag a `reason`. The codename and the
    archive have operations of their own.
    """
    flag = _found(codename)
    require_match(request, flag)
    _require_verbs(request, payload.document, flag.document)
    save(request, flag, payload, editing.edit, name="codename")
    return _out(response, codename)


def _found(codename: str) -> Any:
    rows = FeatureFlag.objects.none() if names.problem(codename) else FeatureFlag.objects.filter(codename=codename)
    if (flag := with_revision(rows, "flag").first()) is None:
        raise editing.unknown()
    return flag


def _out(response: HttpResponse, codename: str) -> FlagDocumentOut:
    flag = _found(codename)
    response["ETag"] = tag(flag)
    return FlagDocumentOut.of(
        flag,
        document=switchboard.flag_as_written(flag.document),
        is_declared=declarations.is_declared(codename),
        usage=UsageOut.of(inspection.activity([flag], timezone.now())[flag.pk]),
    )


def _require_verbs(request: HttpRequest, wanted: Document, before: Document) -> None:
    """What a button does takes its permission here, too; the archive has its own operations alone."""
    if wanted.get("is_archived", before["is_archived"]) != before["is_archived"]:
        raise InvalidFlag([Problem(("is_archived",), "The archive has operations of its own.")])
    if wanted.get("is_active", before["is_active"]) != before["is_active"]:
        require(request, SWITCH)
