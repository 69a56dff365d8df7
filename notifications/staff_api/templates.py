"""The words of mails for staff: read, changed, tried out and put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lib.api import Schema
from lib.errors import ProductError
from lib.schemas import Text
from lib.staff_api import EDIT_EXTRA, EDIT_REFUSED, REFUSED, Listing, actor, needs, require_match
from lib.text import whole_number
from notifications.models import TemplateOverride
from notifications.rendering import overriding, words
from notifications.rendering.words import Words
from notifications.schemas import MessageOut, PreviewOut, Time
from notifications.services import overrides, staff_actions
from notifications.services.overrides import LocalizedTemplate

router = Router(tags=["Staff: mail templates"])
ONE = "/templates/{type}/{language}"
CHANGE = "notifications.change_templateoverride"

Part = Literal["subject", "text", "html"]
_EXAMPLE: dict[str, Any] = {"parts": {"subject": "Welcome, {{ first_name }}"}}
Note = Annotated[Text, Field(min_length=1, max_length=overrides.NOTE_LIMIT)]


class WordsShape(BaseModel):
    """A mail as plain paragraphs: names of values in double braces, `[Sign in]({{ login_url }})` for a button."""

    subject: Text
    paragraphs: list[Text]


class TemplateOut(Schema):
    """`changed`: the parts that staff wrote, `broken`: why one of them gives way to the file."""

    type: str
    label: str
    language: str
    changed: list[str]
    broken: dict[str, str]

    @classmethod
    def of(cls, template: LocalizedTemplate) -> TemplateOut:
        return cls(
            type=template.kind.code,
            label=str(template.kind.label),
            language=template.language,
            changed=[part for part in overrides.PARTS if part in template.active],
            broken=template.trouble,
        )


class TemplatesOut(Schema):
    items: list[TemplateOut]


class TemplatePageOut(TemplateOut):
    """What is in use: `words`, null where it is not written so, and the source of each part. `names` may stand in
    words, `variables` in the source; the `secrets` have to."""

    words: WordsShape | None
    parts: dict[str, str]
    names: list[str]
    variables: list[str]
    secrets: list[str]

    @classmethod
    def whole(cls, template: LocalizedTemplate) -> TemplatePageOut:
        kind, found = template.kind, template.words
        return cls(
            **TemplateOut.of(template).model_dump(),
            words=WordsShape(subject=found.subject, paragraphs=found.paragraphs) if found else None,
            parts={part: template.body(part) for part in overrides.PARTS},
            names=words.names(kind, template.language),
            variables=sorted(overriding.known(kind)),
            secrets=list(kind.secrets),
        )


class VersionOut(Schema):
    """The `parts` that were not the file's; `by` is an id, or a word such as `command:NAME`."""

    version: int
    in_use: bool
    saved_at: Time
    by: str
    note: str
    parts: dict[str, str]

    @classmethod
    def of(cls, rows: list[TemplateOverride], template: LocalizedTemplate) -> VersionOut:
        first = rows[0]
        return cls(
            version=first.pk,
            in_use={row.pk for row in rows} == {override.id for override in template.active.values()},
            saved_at=first.created_at,
            by=first.edited_by_label,
            note=first.note,
            parts={row.part: row.body for row in rows},
        )


class VersionsOut(Schema):
    items: list[VersionOut]
    next: str | None


class DraftIn(BaseModel):
    """Either `words`, of which text and HTML are made, or the source of some `parts`."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    words: WordsShape | None = None
    parts: Annotated[dict[Part, Text], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def one_of_both(self) -> Self:
        if (self.words is None) == (self.parts is None):
            raise ValueError("give either words or parts")
        return self

    def bodies(self, template: LocalizedTemplate) -> Mapping[Any, str]:
        """The source by part. Raises: InvalidTemplate."""
        if self.words is None:
            return self.parts or {}
        typed = Words.typed(self.words.subject, "\n\n".join(self.words.paragraphs))
        return overrides.bodies_of(template.kind, template.language, typed)


class SaveIn(DraftIn):
    """With why, for the history."""

    model_config = ConfigDict(json_schema_extra={"example": {**_EXAMPLE, "note": "Say the name"}})

    note: Note


class UseIn(BaseModel):
    """Of one `part` alone, or of the whole mail."""

    note: Note
    part: Part | None = None


def _find(type: str, language: str) -> LocalizedTemplate:
    if (found := LocalizedTemplate.find(type, language)) is None:
        raise Http404
    return found


def _answer(template: LocalizedTemplate, response: HttpResponse) -> TemplatePageOut:
    """As it is now, with its tag."""
    template = _find(template.kind.code, template.language)
    response["ETag"] = f'"{_tag(template)}"'
    return TemplatePageOut.whole(template)


def _tag(template: LocalizedTemplate) -> str:
    return ".".join(str(pk or 0) for pk in template.in_use.values())


@router.get("/templates", response={200: TemplatesOut, **REFUSED})
@needs("notifications.view_templateoverride")
def list_templates(request: HttpRequest) -> TemplatesOut:
    """Every mail in every language, and whether staff changed it."""
    return TemplatesOut(items=[TemplateOut.of(template) for template in LocalizedTemplate.every()])


@router.get(ONE, response={200: TemplatePageOut, **REFUSED})
@needs("notifications.view_templateoverride")
def get_template(request: HttpRequest, response: HttpResponse, type: str, language: str) -> TemplatePageOut:
    """The words of a mail, and their source. Its `ETag` is what a change of it is sent with."""
    return _answer(_find(type, language), response)


@router.put(ONE, response={200: TemplatePageOut, **EDIT_REFUSED}, openapi_extra=EDIT_EXTRA)
@needs(CHANGE, sensitive=True)
def save_template(
    request: HttpRequest, response: HttpResponse, type: str, language: str, payload: SaveIn
) -> TemplatePageOut:
    """Put words or source in use, as one version. A mail with a code or link takes a superuser.

    Needs the `ETag` in `If-Match`: 428 without, 412 when it was changed meanwhile. `INVALID_TEMPLATE` (400) names the
    `problems` by part.
    """
    template, by = _find(type, language), actor(request)
    require_match(request, _tag(template), "TEMPLATE_CHANGED")
    kind, bodies = template.kind, payload.bodies(template)
    given: Any = {"bodies": bodies, "note": payload.note, "seen": template.in_use}
    with transaction.atomic():
        changed = overrides.save(kind, language=language, **given, actor=by)
        overrides.record(kind, language, changed, "Saved", "template.saved", note=payload.note, actor=by)
    return _answer(template, response)


@router.post(f"{ONE}/preview", response={200: PreviewOut, **REFUSED})
@needs(CHANGE, reads=True)
def preview_template(request: HttpRequest, type: str, language: str, payload: DraftIn | None = None) -> PreviewOut:
    """What would be sent, filled with the sample; with a body what that would make, checked and not kept."""
    template = _find(type, language)
    if payload is None:
        made = staff_actions.preview(type, language=language)
    else:
        overrides.require_author(template.kind, actor(request))
        made = overrides.check(template.kind, language=language, bodies=payload.bodies(template))
    return PreviewOut(subject=made.subject, text=made.text, html=made.html)


@router.post(f"{ONE}/test", response={202: MessageOut, **REFUSED})
@needs(CHANGE)
def test_template(request: HttpRequest, type: str, language: str) -> Status[MessageOut]:
    """Send it to oneself, filled with the sample: no code or link in it works. The message may be `suppressed`."""
    template = _find(type, language)
    try:
        sent = staff_actions.send_test(template.kind, user=actor(request).user, language=language)
    except ValueError:
        raise ProductError("NO_ADDRESS", "Your account has no address that mail can be sent to.") from None
    return Status(202, MessageOut.of(sent))


@router.get(f"{ONE}/versions", response={200: VersionsOut, **REFUSED})
@needs("notifications.view_templateoverride")
def list_template_versions(request: HttpRequest, type: str, language: str, asked: Query[Listing]) -> VersionsOut:
    """What staff saved, the newest first."""
    template = _find(type, language)
    found, rest = overrides.saved(template.kind, language, **asked.model_dump())
    return VersionsOut(items=[VersionOut.of(rows, template) for rows in found], next=rest)


@router.post(f"{ONE}/versions/{{version}}/use", response={200: TemplatePageOut, **REFUSED})
@needs(CHANGE, sensitive=True)
def use_template_version(
    request: HttpRequest, response: HttpResponse, type: str, language: str, version: str, payload: UseIn
) -> TemplatePageOut:
    """Put an older version in use again, or `file` in place of all of them."""
    template, by = _find(type, language), actor(request)
    kind, part = template.kind, payload.part
    rows = dict.fromkeys(overrides.PARTS)
    if version != "file" and not (rows := overrides.saved_with(kind, language, whole_number(version) or 0)):
        raise Http404
    if part:
        rows = {part: rows[part]}
    row = next(filter(None, rows.values()), None)
    with transaction.atomic():
        changed = overrides.put_back(kind, language=language, parts=rows, actor=by)
        what = f"Back to {overrides.source_label(row, part or '')}"
        overrides.record(kind, language, changed, what, "template.restored", note=payload.note, actor=by)
    return _answer(template, response)
