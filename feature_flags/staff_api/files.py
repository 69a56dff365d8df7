"""All flags and segments as one file, out and in."""

from __future__ import annotations

from typing import Literal

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router
from pydantic import BaseModel

from feature_flags.formats import refuse
from feature_flags.models import FeatureFlag, Segment
from feature_flags.services import exporting, importing
from feature_flags.staff_api.shared import Reason, listed, user_of, worded
from lib.admin import may_see
from lib.api import Problem
from lib.staff_api import REFUSED, Row, actor, needs, require

router = Router(tags=["Staff: flags"])
FLAG_VERBS = ("view", "add", "change", "switch", "archive")
VIEW, ADD, CHANGE, SWITCH, ARCHIVE = (f"feature_flags.{verb}_featureflag" for verb in FLAG_VERBS)
VIEW_SEGMENT, ADD_SEGMENT, CHANGE_SEGMENT = (f"feature_flags.{verb}_segment" for verb in FLAG_VERBS[:3])
#: What an export notes of the flags it holds.
NAMES_NOTED = 100


class ImportQuery(BaseModel):
    """`strict` takes nothing unless all can be taken, `prune` archives the flags that the file lacks."""

    format: Literal["switchboard", "unleash", "waffle"] = "switchboard"
    dry_run: bool = False
    strict: bool = False
    prune: bool = False
    reason: Reason = ""


class ImportOut(Row):
    """Counts of flags; `lines` such as `FF_A: active: off → on`; `notes` what came in otherwise than it stood in the
    file; `problems` what was not taken, and why."""

    created: int
    changed: int
    archived: int
    unchanged: int
    lines: list[str]
    notes: list[str]
    problems: list[Problem]


@router.get("/flags-export", response={200: None, **REFUSED})
@needs(VIEW, sensitive=True)
def export_flags(request: HttpRequest, format: Literal["switchboard", "unleash"] = "switchboard") -> HttpResponse:
    """All flags as a file, segments too for those who may see them; without them there is none for `unleash`. Audited.

    People need a fresh proof of who they are.
    """
    if format == "unleash":
        require(request, VIEW_SEGMENT)
    text = exporting.text(format, has_segments=may_see(user_of(request), Segment))
    flags = FeatureFlag.objects.order_by("codename").values_list("codename", flat=True)
    actor(request).note("flags.exported", count=len(flags), flags=list(flags[:NAMES_NOTED]))
    headers = {"Content-Disposition": f'attachment; filename="{format}-flags.json"', "Cache-Control": "no-store"}
    return HttpResponse(text, content_type="application/json", headers=headers)


@router.post(
    "/flags-import",
    response={200: ImportOut, **REFUSED},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": {}}}}},
)
@needs(CHANGE)
@worded()
def import_flags(request: HttpRequest, asked: Query[ImportQuery]) -> ImportOut:
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
    return ImportOut.of(report, notes=notes, problems=listed(report.problems, "body"))


def _text(request: HttpRequest) -> str:
    try:
        return request.body.decode("utf-8-sig")
    except UnicodeDecodeError:
        refuse("The file is not UTF-8.")
