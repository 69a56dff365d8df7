"""What staff do with flags, segments and tokens at the API, as on the pages of the admin: by the same services, for the
same permissions. The buttons (switch, archive, rename, delete, revoke) are there already (project/staff_api.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.http import parse_etags
from ninja import Query, Router, Status

from feature_flags import declarations, flag_document, inspection, names, why
from feature_flags.context import flat
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.formats import refuse, switchboard
from feature_flags.http import staff_schemas as shapes
from feature_flags.models import FeatureFlag, FlagRevision, FlagSchedule, FlagToken, Segment
from feature_flags.runtime import store
from feature_flags.services import editing, exporting, importing, schedules, segments, tokens
from lib import db
from lib.admin import because, may_see
from lib.api import refusals
from lib.errors import ProductError
from lib.staff_api import REFUSED, Listing, actor, needs, require
from lib.text import is_storable

VIEW, ADD, CHANGE_IT, SWITCH, ARCHIVE = (
    f"feature_flags.{verb}_featureflag" for verb in ("view", "add", "change", "switch", "archive")
)
VIEW_SEGMENT, ADD_SEGMENT, CHANGE_SEGMENT = (f"feature_flags.{verb}_segment" for verb in ("view", "add", "change"))
HISTORY, TOKENS, MANAGE_TOKENS = (
    f"feature_flags.{name}" for name in ("view_flagrevision", "view_flagtoken", "manage_flagtoken")
)
#: What an export notes of the flags it holds.
NAMES_NOTED = 100
_EDITED = {**REFUSED, **refusals(412, 428)}
_IF_MATCH: dict[str, Any] = {"in": "header", "name": "If-Match", "required": True, "schema": {"type": "string"}}
_IF_MATCH["description"] = "The `ETag` of what was read; `*` for whatever it is now."

router = Router(tags=["Staff: flags"])


def _user(request: HttpRequest) -> Any:
    return request.auth  # type: ignore[attr-defined]


def _log(request: HttpRequest, obj: Any, text: str, *, flag: int = CHANGE) -> None:
    """Beside the history of the flags, the log of the admin's pages."""
    LogEntry.objects.log_actions(_user(request).pk, [obj], flag, change_message=text, single_object=True)


@contextmanager
def _worded(*place: str) -> Iterator[None]:
    """Refusals of a service about what stands at this place of the body: every problem of a document with where it is
    (422), a reason that is missing (422), and what was changed meanwhile (412)."""
    try:
        yield
    except InvalidFlag as error:
        raise _invalid("FLAG_INVALID", _listed(error.problems, "body", *place)) from error
    except ProductError as error:
        if error.code == "REASON_REQUIRED":
            raise _invalid(error.code, _listed([Problem(("reason",), error.message)], "body")) from error
        if error.code == "FLAG_CHANGED":
            error.status = 412
        raise


def _invalid(code: str, problems: list[dict[str, Any]]) -> ProductError:
    return ProductError(code, problems[0]["msg"], status=422, detail=problems)


def _listed(problems: Sequence[Problem], *before: str) -> list[dict[str, Any]]:
    return [{"type": "flag_invalid", "loc": [*before, *place], "msg": message} for place, message in problems]


def _with_revision(rows: QuerySet[Any], link: str) -> QuerySet[Any]:
    """With the id of their newest entry in the history, read by the same statement as the rest."""
    newest = FlagRevision.objects.filter(**{link: OuterRef("pk")}).order_by("-pk").values("pk")[:1]
    with_revision: QuerySet[Any] = rows.annotate(revision=Coalesce(Subquery(newest), 0))
    return with_revision


def _require_match(request: HttpRequest, row: Any) -> None:
    """The condition of a change (RFC 9110, 13.1.1). Raises: IF_MATCH_MISSING (428), FLAG_CHANGED (412)."""
    given = request.headers.get("If-Match")
    if given is None:
        message = "Send the ETag of what you have read as If-Match."
        raise ProductError("IF_MATCH_MISSING", message, status=428)
    # A proxy that compresses makes tags weak; ours name a revision, whatever the bytes.
    tags = [tag.removeprefix("W/") for tag in parse_etags(given)]
    if tags != ["*"] and _tag(row) not in tags:
        raise ProductError("FLAG_CHANGED", "It was changed in the meantime: read it again.", status=412)


def _tag(row: Any) -> str:
    return f'"{row.revision}"'


# --- Flags ------------------------------------------------------------------------------------------------------------


@router.get("/flags", response={200: shapes.FlagsOut, **REFUSED})
@needs(VIEW)
def list_flags(request: HttpRequest, asked: Query[shapes.FlagsQuery]) -> shapes.FlagsOut:
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
    items = [
        shapes.FlagRowOut.of(row, tags=row.document["tags"], usage=shapes.UsageOut.of(activity[row.pk]))
        for row in found
    ]
    return shapes.FlagsOut(items=items, next=rest)


@router.post("/flags", response={201: shapes.FlagOut, **REFUSED})
@needs(ADD)
@_worded("document")
def create_flag(request: HttpRequest, response: HttpResponse, payload: shapes.FlagIn) -> Status[shapes.FlagOut]:
    """A new flag, off unless it says otherwise, which needs `switch_featureflag`, too."""
    document = dict(payload.document)
    _require_verbs(request, document, {"is_active": False, "is_archived": False})
    if unknown := document.keys() - flag_document.BLANK.keys():
        raise InvalidFlag([Problem((name,), "A flag has no such member.") for name in sorted(unknown)])
    with transaction.atomic():
        codename = document.pop("codename", "")
        flag = editing.create(codename, **document, actor=actor(request), reason=payload.reason)
        _log(request, flag, "Created." + because(payload.reason), flag=ADDITION)
    return Status(201, _out(response, flag.codename))


@router.get("/flags/{codename}", response={200: shapes.FlagOut, **REFUSED})
@needs(VIEW)
def get_flag(request: HttpRequest, response: HttpResponse, codename: str) -> shapes.FlagOut:
    """The whole flag. Its `ETag` is what a change of it is sent with."""
    return _out(response, codename)


@router.put("/flags/{codename}", response={200: shapes.FlagOut, **_EDITED}, openapi_extra={"parameters": [_IF_MATCH]})
@needs(CHANGE_IT)
@_worded("document")
def edit_flag(request: HttpRequest, response: HttpResponse, codename: str, payload: shapes.FlagIn) -> shapes.FlagOut:
    """Change it as one document. Needs the `ETag` in `If-Match`: 428 without, 412 when it was changed meanwhile.

    Another `is_active` needs `switch_featureflag`, too, and for a protected flag a `reason`. The codename and the
    archive have operations of their own.
    """
    flag = _found(codename)
    _require_match(request, flag)
    before = flag.document
    _require_verbs(request, payload.document, before)
    _require_name(payload.document, "codename", codename)
    with transaction.atomic():
        given: dict[str, Any] = {"actor": actor(request), "reason": payload.reason, "base": flag.revision}
        if editing.edit(flag, payload.document, **given):
            changed = ", ".join(sorted(flag_document.diff(before, flag.document)))
            _log(request, flag, f"Saved: {changed}." + because(payload.reason))
    return _out(response, codename)


def _found(codename: str) -> Any:
    rows = FeatureFlag.objects.none() if names.problem(codename) else FeatureFlag.objects.filter(codename=codename)
    if (flag := _with_revision(rows, "flag").first()) is None:
        raise editing.unknown()
    return flag


def _out(response: HttpResponse, codename: str) -> shapes.FlagOut:
    flag = _found(codename)
    response["ETag"] = _tag(flag)
    return shapes.FlagOut.of(
        flag,
        document=switchboard.flag_as_written(flag.document),
        is_declared=declarations.is_declared(codename),
        usage=shapes.UsageOut.of(inspection.activity([flag], timezone.now())[flag.pk]),
    )


def _require_verbs(request: HttpRequest, wanted: Document, before: Document) -> None:
    """What a button does takes its permission here, too; the archive has its own operations alone."""
    if wanted.get("is_archived", before["is_archived"]) != before["is_archived"]:
        raise InvalidFlag([Problem(("is_archived",), "The archive has operations of its own.")])
    if wanted.get("is_active", before["is_active"]) != before["is_active"]:
        require(request, SWITCH)


def _require_name(document: Document, member: str, name: str) -> None:
    if document.get(member, name) != name:
        raise InvalidFlag([Problem((member,), "It is not the one in the address, and does not change here.")])


# --- History ----------------------------------------------------------------------------------------------------------


@router.get("/flags/{codename}/history", response={200: shapes.RevisionsOut, **REFUSED})
@needs(HISTORY)
def list_flag_history(request: HttpRequest, codename: str, asked: Query[Listing]) -> shapes.RevisionsOut:
    """What was changed, the newest first; of a deleted flag, too, until another takes its name."""
    rows, of = _history(codename), f"history:{codename}"
    found, rest = db.page(rows, by="-id", cursor=asked.cursor, limit=asked.limit, of=of)
    return shapes.RevisionsOut(items=[shapes.RevisionOut.of(row, **_seen(request, row)) for row in found], next=rest)


@router.get("/flags/{codename}/history/{int:revision}", response={200: shapes.WholeRevisionOut, **REFUSED})
@needs(HISTORY)
def get_flag_revision(request: HttpRequest, codename: str, revision: int) -> shapes.WholeRevisionOut:
    """One change, and the whole flag after it."""
    row = _revision(codename, revision)
    hidden = {} if may_see(_user(request), FeatureFlag) else {"diff": None, "snapshot": None}
    return shapes.WholeRevisionOut.of(row, **_seen(request, row), **hidden)


@router.post("/flags/{codename}/history/{int:revision}/restore", response={200: shapes.ChangedOut, **REFUSED})
@needs(VIEW)
@_worded()
def restore_flag(
    request: HttpRequest, codename: str, revision: int, payload: shapes.ReasonIn | None = None
) -> shapes.ChangedOut:
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
            _log(request, row.flag, note + because(reason))
    return shapes.ChangedOut(changed=changed)


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
    user = _user(request)
    who = row.who if may_see(user, get_user_model()) else None
    changes = row.change_lines if may_see(user, FeatureFlag) else None
    return {"by": row.actor_label, "who": who, "changes": changes}


# --- Why --------------------------------------------------------------------------------------------------------------


@router.get("/flags/{codename}/why", response={200: shapes.WhyOut, **REFUSED})
@needs(VIEW)
def why_flag(request: HttpRequest, codename: str, user: shapes.Person = "") -> shapes.WhyOut:
    """What a person, by id or address, gets, and why; without one, what an empty context does.

    To ask about people needs `view_user`, too.
    """
    return _why(request, codename, shapes.WhyIn(user=user))


@router.post("/flags/{codename}/why", response={200: shapes.WhyOut, **REFUSED})
@needs(VIEW)
def why_flag_in_context(request: HttpRequest, codename: str, payload: shapes.WhyIn) -> shapes.WhyOut:
    """The same for a context such as `{"country": "IT"}`, which counts before what is known of the person."""
    return _why(request, codename, payload)


def _why(request: HttpRequest, codename: str, asked: shapes.WhyIn) -> shapes.WhyOut:
    flag = editing.get(codename)
    try:
        context = flat(asked.context)
    except (ValueError, OverflowError):
        raise _invalid(
            "CONTEXT_INVALID", _listed([Problem(("context",), "A number in it is too large.")], "body")
        ) from None
    if asked.user:
        people = get_user_model()._meta
        require(request, f"{people.app_label}.view_{people.model_name}")
        if (person := why.find_user(asked.user.strip())) is None:
            raise ProductError("USER_UNKNOWN", "There is no such user.", status=404)
        context = {**flat(person), **context}
    snapshot = store.current()
    if flag.is_archived:
        off: dict[str, Any] = {"enabled": False, "value": None, "variant": "", "reason": str(why.ARCHIVED), "steps": []}
        return shapes.WhyOut(codename=codename, context=context, **off)
    compiled = snapshot.flags.get(codename) if snapshot else None
    if snapshot is None or compiled is None:
        raise ProductError("FLAGS_UNAVAILABLE", "This process does not know the flag yet.", status=503, retry_after=1)
    shows_segments = may_see(_user(request), Segment)
    found = why.explained(compiled, context, snapshot, shows_segments=shows_segments)
    return shapes.WhyOut(
        codename=codename,
        enabled=found.result.enabled,
        value=found.result.value,
        variant=found.result.variant.name if found.result.variant.enabled else "",
        reason=why.summary(found),
        steps=[shapes.StepOut.of(step) for step in found.steps],
        context=context,
    )


# --- The schedule -----------------------------------------------------------------------------------------------------


@router.get("/flags/{codename}/schedules", response={200: shapes.SchedulesOut, **REFUSED})
@needs(VIEW)
def list_flag_schedules(
    request: HttpRequest, codename: str, asked: Query[shapes.SchedulesQuery]
) -> shapes.SchedulesOut:
    """Changes that are planned, or were, those planned last first."""
    rows = editing.get(codename).schedule.filter(state=asked.state)
    of = f"schedules:{codename}"
    found, rest = db.page(rows, by="-id", cursor=asked.cursor, limit=asked.limit, of=of)
    return shapes.SchedulesOut(items=[shapes.ScheduleOut.of(row) for row in found], next=rest)


@router.post("/flags/{codename}/schedules", response={201: shapes.ScheduleOut, **REFUSED})
@needs(VIEW)
@_worded()
def schedule_flag(request: HttpRequest, codename: str, payload: shapes.ScheduleIn) -> Status[shapes.ScheduleOut]:
    """Plan a change. Needs what it would need now: `switch_featureflag`, for a percentage `change_featureflag`."""
    flag, given = editing.get(codename), payload.model_dump()
    require(request, schedules.permission_for(payload.action))
    if payload.at <= timezone.now():
        raise InvalidFlag([Problem(("at",), "This time is over.")])
    with transaction.atomic():
        entry = schedules.schedule(flag, **given, actor=actor(request))
        _log(request, flag, f"Planned: {entry}." + because(payload.reason))
    return Status(201, shapes.ScheduleOut.of(entry))


@router.delete("/flags/{codename}/schedules/{int:entry}", response={200: shapes.ChangedOut, **REFUSED})
@needs(VIEW)
def cancel_flag_schedule(request: HttpRequest, codename: str, entry: int) -> shapes.ChangedOut:
    """Forget a planned change, for those who may plan it; `changed` is false once it was applied or cancelled."""
    flag = editing.get(codename)
    planned: FlagSchedule | None = flag.schedule.filter(pk=entry).first()
    if planned is None:
        raise ProductError("SCHEDULE_UNKNOWN", "The flag has no such entry in its schedule.", status=404)
    require(request, schedules.permission_for(planned.action))
    with transaction.atomic():
        is_cancelled = schedules.cancel_schedule(planned, actor=actor(request))
        if is_cancelled:
            _log(request, flag, f"Cancelled: {planned}.")
    return shapes.ChangedOut(changed=is_cancelled)


# --- Segments ---------------------------------------------------------------------------------------------------------


@router.get("/segments", response={200: shapes.SegmentsOut, **REFUSED})
@needs(VIEW_SEGMENT)
def list_segments(request: HttpRequest, asked: Query[shapes.SegmentsQuery]) -> shapes.SegmentsOut:
    """Segments in the order of their names."""
    rows = Segment.objects.all()
    if asked.search:
        rows = rows.filter(Q(name__icontains=asked.search) | Q(description__icontains=asked.search))
    found, rest = db.page(rows, by="name", cursor=asked.cursor, limit=asked.limit, of="segments")
    return shapes.SegmentsOut(
        items=[shapes.SegmentRowOut.of(row, constraints=len(row.constraints)) for row in found], next=rest
    )


@router.post("/segments", response={201: shapes.SegmentOut, **REFUSED})
@needs(ADD_SEGMENT)
@_worded("document")
def create_segment(
    request: HttpRequest, response: HttpResponse, payload: shapes.SegmentIn
) -> Status[shapes.SegmentOut]:
    """A new segment, which rules can refer to."""
    # Checked whole first: the service takes its members one by one.
    document = flag_document.checked_segment(payload.document)
    with transaction.atomic():
        segment = segments.create_segment(**document, actor=actor(request), reason=payload.reason)
        _log(request, segment, "Created." + because(payload.reason), flag=ADDITION)
    return Status(201, _segment_out(request, response, segment.name))


@router.get("/segments/{name}", response={200: shapes.SegmentOut, **REFUSED})
@needs(VIEW_SEGMENT)
def get_segment(request: HttpRequest, response: HttpResponse, name: str) -> shapes.SegmentOut:
    """The whole segment. Its `ETag` is what a change of it is sent with."""
    return _segment_out(request, response, name)


@router.put("/segments/{name}", response={200: shapes.SegmentOut, **_EDITED}, openapi_extra={"parameters": [_IF_MATCH]})
@needs(CHANGE_SEGMENT)
@_worded("document")
def edit_segment(
    request: HttpRequest, response: HttpResponse, name: str, payload: shapes.SegmentIn
) -> shapes.SegmentOut:
    """Change description and constraints, and with them every flag that uses it. `If-Match` as for flags."""
    segment = _segment(name)
    _require_match(request, segment)
    _require_name(payload.document, "name", name)
    before = segment.document
    with transaction.atomic():
        given: dict[str, Any] = {"actor": actor(request), "reason": payload.reason, "base": segment.revision}
        if segments.edit_segment(segment, payload.document, **given):
            changed = ", ".join(sorted(flag_document.diff(before, segment.document)))
            _log(request, segment, f"Saved: {changed}." + because(payload.reason))
    return _segment_out(request, response, name)


def _segment(name: str) -> Any:
    rows = Segment.objects.filter(name=name) if is_storable(name) else Segment.objects.none()
    if (segment := _with_revision(rows, "segment").first()) is None:
        raise segments.unknown()
    return segment


def _segment_out(request: HttpRequest, response: HttpResponse, name: str) -> shapes.SegmentOut:
    segment = _segment(name)
    response["ETag"] = _tag(segment)
    used_by = sorted(segment.flags.values_list("codename", flat=True)) if may_see(_user(request), FeatureFlag) else None
    document = switchboard.segment_as_written(segment.document)
    return shapes.SegmentOut.of(segment, document=document, used_by=used_by)


# --- Tokens -----------------------------------------------------------------------------------------------------------


@router.get("/flag-tokens", response={200: shapes.TokensOut, **REFUSED})
@needs(TOKENS)
def list_flag_tokens(request: HttpRequest, asked: Query[Listing]) -> shapes.TokensOut:
    """Tokens of clients that read flags, the newest first."""
    rows = FlagToken.objects.all()
    found, rest = db.page(rows, by="-id", cursor=asked.cursor, limit=asked.limit, of="flag-tokens")
    return shapes.TokensOut(items=[shapes.TokenOut.of(row) for row in found], next=rest)


@router.post("/flag-tokens", response={201: shapes.NewTokenOut, **REFUSED})
@needs(MANAGE_TOKENS, sensitive=True, knows_repeats=True)
@_worded()
def create_flag_token(
    request: HttpRequest, response: HttpResponse, payload: shapes.TokenIn
) -> Status[shapes.NewTokenOut]:
    """A new token. Its secret is in this answer alone, which is kept for no repeat: one makes another token.

    People need a fresh proof of who they are.
    """
    response["Cache-Control"] = "no-store"
    who = actor(request)
    with transaction.atomic():
        token, secret = tokens.create_token(**payload.model_dump(), actor=who)
        _log(request, token, f"Created, {token.kind}." + because(payload.reason), flag=ADDITION)
        who.note("flag_token.created", name=token.name, kind=str(token.kind), reason=payload.reason)
    return Status(201, shapes.NewTokenOut(secret=secret, token=shapes.TokenOut.of(token)))


# --- Files ------------------------------------------------------------------------------------------------------------


@router.get("/flags-export", response={200: None, **REFUSED})
@needs(VIEW, sensitive=True)
def export_flags(request: HttpRequest, format: Literal["switchboard", "unleash"] = "switchboard") -> HttpResponse:
    """All flags as a file, segments too for those who may see them; without them there is none for `unleash`. Audited.

    People need a fresh proof of who they are.
    """
    if format == "unleash":
        require(request, VIEW_SEGMENT)
    text = exporting.text(format, has_segments=may_see(_user(request), Segment))
    flags = FeatureFlag.objects.order_by("codename").values_list("codename", flat=True)
    actor(request).note("flags.exported", count=len(flags), flags=list(flags[:NAMES_NOTED]))
    headers = {"Content-Disposition": f'attachment; filename="{format}-flags.json"', "Cache-Control": "no-store"}
    return HttpResponse(text, content_type="application/json", headers=headers)


@router.post(
    "/flags-import",
    response={200: shapes.ImportOut, **REFUSED},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
)
@needs(CHANGE_IT)
@_worded()
def import_flags(request: HttpRequest, asked: Query[shapes.ImportQuery]) -> shapes.ImportOut:
    """Make flags and segments what the file in the body says, as the command does; `dry_run` tells what would change.

    A file may create, change, switch and archive: it needs `add_featureflag`, `switch_featureflag` and
    `archive_featureflag`, too, and with segments in it `add_segment` and `change_segment`; a dry run needs the same.
    """
    notes: list[str] = []
    contents = importing.read(asked.format, _text(request), notes.append)
    needed = (VIEW, ADD, SWITCH, ARCHIVE)
    for permission in (*needed, VIEW_SEGMENT, ADD_SEGMENT, CHANGE_SEGMENT) if contents.segments else needed:
        require(request, permission)
    options = asked.model_dump(exclude={"format"})
    report = importing.import_flags(*contents, **options, actor=actor(request))
    return shapes.ImportOut.of(report, notes=notes, problems=_listed(report.problems, "body"))


def _text(request: HttpRequest) -> str:
    try:
        return request.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse("The file is not UTF-8.")
