"""Announcements for staff: drafts, and what became of them. Sending and stopping are verbs of the admin's page."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from django.contrib.admin.models import ADDITION, CHANGE
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import BaseModel, ConfigDict, Field

from lib.admin import may_see
from lib.api import Schema
from lib.db import page
from lib.errors import ProductError
from lib.schemas import Text
from lib.staff_api import EDIT_EXTRA, EDIT_REFUSED, REFUSED, Listing, Row, actor, needs, require, require_match
from lib.text import whole_number
from notifications import audiences
from notifications.models import Announcement
from notifications.schemas import Time, Word
from notifications.services import announcements, staff_actions

router = Router(tags=["Staff: announcements"])
VIEW, (WRITE, ALSO) = "notifications.view_announcement", announcements.PERMISSIONS

Address = Annotated[Text, Field(max_length=254)]
Severity = Literal["info", "success", "warning", "error"]
State = Literal["draft", "sending", "paused", "done", "cancelled"]


class AnnouncementsQuery(Listing):
    state: State | None = None


class TitleAndBody(BaseModel):
    title: Annotated[Text, Field(min_length=1, max_length=announcements.TITLE_LIMIT)]
    body: Annotated[Text, Field(min_length=1, max_length=announcements.BODY_LIMIT)]


class AnnouncementOut(Row):
    """`people`, `mails`, `in_app`: whom a draft reaches, once it `is_counted`, or how many were written to, of those
    `expected` when it was sent. `choice` is null for those who may not see the audience."""

    id: int
    state: State
    version: int
    title: str
    severity: Severity
    channels: list[str]
    url: str
    audience: str
    choice: str | None
    audience_label: str
    is_counted: bool
    people: int
    mails: int
    in_app: int
    expected: int | None
    note: str
    created_at: Time
    created_by: str
    updated_at: Time
    updated_by: str
    started_at: Time | None
    started_by: str
    finished_at: Time | None

    @classmethod
    def of(cls, row: Announcement, **more: Any) -> Self:
        """`user` is whose view of it this is."""
        user = more.pop("user")
        return super().of(
            row,
            title=str(row),
            choice=row.choice if audiences.is_visible_to(user, row.audience) else None,
            audience_label=announcements.shown_audience(row, user),
            is_counted=row.counted_at is not None,
            expected=row.expected.get("people"),
            **{name: row.counts.get(name, 0) for name in ("people", "mails", "in_app")},
            **more,
        )


class AnnouncementsOut(Schema):
    items: list[AnnouncementOut]
    next: str | None


class AnnouncementPageOut(AnnouncementOut):
    """`named`: the addresses of the audience `people`, for those who may see people; `left_out`: how many do not get
    it, by reason; `delivery`: its mails by state."""

    words: dict[str, TitleAndBody]
    named: list[str] | None
    left_out: dict[str, int]
    delivery: dict[str, int]

    @classmethod
    def of(cls, row: Announcement, **more: Any) -> Self:
        model, named = get_user_model(), None
        if row.audience == audiences.PEOPLE and may_see(more["user"], model):
            named = list(row.people.order_by(model.USERNAME_FIELD).values_list(model.USERNAME_FIELD, flat=True))
        return super().of(row, named=named, left_out=announcements.left_out(row, more["user"]), **more)


class AnnouncementIn(BaseModel):
    """`words` by language. `people`: addresses of users, for the audience `people`; a draft that has some keeps them
    where none are given."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "words": {"en": {"title": "We move house", "body": "On Sunday all is new."}},
                "channels": ["email", "in_app"],
                "audience": "everybody",
            }
        }
    )

    words: Annotated[dict[Word, TitleAndBody], Field(min_length=1, json_schema_extra={"additionalProperties": False})]
    channels: Annotated[list[Literal["email", "in_app"]], Field(min_length=1)]
    audience: Word
    choice: Annotated[Text, Field(max_length=300)] = ""
    people: (
        Annotated[list[Annotated[Text, Field(max_length=254)]], Field(max_length=announcements.PEOPLE_LIMIT)] | None
    ) = None
    url: Annotated[Text, Field(max_length=2_000)] = ""
    severity: Severity = "info"


class AudienceChoiceOut(Schema):
    value: str
    label: str


class AudienceOut(Schema):
    """`choices`: what `choice` may be, one that is empty where nothing is to be chosen; `is_cut`: there are more."""

    name: str
    label: str
    choices: list[AudienceChoiceOut]
    is_cut: bool


class AudiencesOut(Schema):
    items: list[AudienceOut]


class TestIn(BaseModel):
    """`language`: one that it is written in."""

    language: Word


def _find(key: str) -> Announcement:
    row = Announcement.objects.filter(pk=whole_number(key) or 0).first()
    if row is None:
        raise Http404
    return row


def _answer(request: HttpRequest, response: HttpResponse, row: Announcement) -> AnnouncementPageOut:
    """With its tag."""
    response["ETag"] = f'"{row.version}"'
    return AnnouncementPageOut.of(row, user=actor(request).user)


def _save(request: HttpRequest, draft: Announcement, payload: AnnouncementIn) -> Announcement:
    by, is_new = actor(request), not draft.pk
    if not audiences.is_visible_to(by.user, payload.audience):
        reason = "This is no audience that you may choose."
        raise ProductError("ANNOUNCEMENT_INVALID", reason, reason=reason)
    is_named = not is_new and draft.audience == audiences.PEOPLE and draft.people.exists()
    people = None
    if payload.audience == audiences.PEOPLE and (payload.people is not None or not is_named):
        people = announcements.named_people("\n".join(payload.people or ()))
    with transaction.atomic():
        given = payload.model_dump(exclude={"people"})
        saved = announcements.save(draft, **given, people=people, version=draft.version, actor=by)
        staff_actions.log(saved, "Draft saved.", actor=by, flag=ADDITION if is_new else CHANGE)
    return saved


@router.get("/announcements", response={200: AnnouncementsOut, **REFUSED})
@needs(VIEW)
def list_announcements(request: HttpRequest, asked: Query[AnnouncementsQuery]) -> AnnouncementsOut:
    """Announcements, the newest first."""
    rows = Announcement.objects.filter(state=asked.state) if asked.state else Announcement.objects.all()
    items, rest = page(rows, by="-pk", cursor=asked.cursor, limit=asked.limit, of="announcements")
    user = actor(request).user
    return AnnouncementsOut(items=[AnnouncementOut.of(row, user=user) for row in items], next=rest)


@router.post("/announcements", response={201: AnnouncementPageOut, **REFUSED})
@needs(WRITE)
def create_announcement(
    request: HttpRequest, response: HttpResponse, payload: AnnouncementIn
) -> Status[AnnouncementPageOut]:
    """Write a draft, and count whom it reaches. Also needs `notifications.add_message`.

    Nothing is sent: that is `POST /announcements/{key}/send` with the `version` that was read.
    """
    require(request, ALSO)
    return Status(201, _answer(request, response, _save(request, Announcement(), payload)))


@router.get("/announcements/audiences", response={200: AudiencesOut, **REFUSED})
@needs(WRITE)
def list_audiences(request: HttpRequest) -> AudiencesOut:
    """Whom one may write to."""
    return AudiencesOut(
        items=[
            AudienceOut(
                name=audience.name,
                label=str(audience.label),
                choices=[AudienceChoiceOut(value=value, label=str(label)) for value, label in choices],
                is_cut=is_cut,
            )
            for audience, choices, is_cut in audiences.offered(actor(request).user)
        ]
    )


@router.get("/announcements/{key}", response={200: AnnouncementPageOut, **REFUSED})
@needs(VIEW)
def get_announcement(request: HttpRequest, response: HttpResponse, key: str) -> AnnouncementPageOut:
    """One with its words, whom it reaches and what became of its mails."""
    row = _find(key)
    announcements.look_at_delivery(row)
    return _answer(request, response, row)


@router.put(
    "/announcements/{key}",
    response={200: AnnouncementPageOut, **EDIT_REFUSED},
    openapi_extra=EDIT_EXTRA,
)
@needs(WRITE)
def change_announcement(
    request: HttpRequest, response: HttpResponse, key: str, payload: AnnouncementIn
) -> AnnouncementPageOut:
    """Write a draft anew. Also needs `notifications.add_message`.

    Needs the `ETag`, its `version`, in `If-Match`: 428 without, 412 when it was changed meanwhile.
    """
    require(request, ALSO)
    row = _find(key)
    if not audiences.is_visible_to(actor(request).user, row.audience):
        raise PermissionDenied
    require_match(request, row.version, "ANNOUNCEMENT_CHANGED")
    return _answer(request, response, _save(request, row, payload))


@router.post("/announcements/{key}/test", response={202: None, **REFUSED})
@needs(WRITE)
def test_announcement(request: HttpRequest, key: str, payload: TestIn) -> Status[None]:
    """Send it to oneself, in one language. Also needs `notifications.add_message`."""
    user, row = require(request, ALSO), _find(key)
    if payload.language not in row.words:
        raise Http404
    announcements.send_test(row, user=user, language=payload.language)
    return Status(202, None)
