"""Messages for staff: read, sent, retried, cancelled, sent again."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.admin.models import ADDITION, CHANGE
from django.db import transaction
from django.http import HttpRequest
from ninja import Query, Router, Status

from lib import staff_api
from lib.errors import ProductError
from notifications import schemas
from notifications.models import Message
from notifications.services import staff_actions

router = Router(tags=["Staff: messages"])


@router.get("/messages", response={200: schemas.MessagesOut, **staff_api.REFUSED})
@staff_api.needs("notifications.view_message")
def list_messages(request: HttpRequest, asked: Query[schemas.MessagesQuery]) -> schemas.MessagesOut:
    """Messages, the newest first."""
    items, rest = staff_actions.page(**asked.model_dump())
    return schemas.MessagesOut(items=[schemas.MessageOut.of(row) for row in items], next=rest)


_REPEATS = {**staff_api.REPEATS, "schema": {"type": "string", "pattern": f"^[ -~]{{1,{staff_actions.KEY_LIMIT}}}$"}}


@router.post(
    "/messages",
    response={202: schemas.UidOut, **staff_api.REFUSED},
    openapi_extra={"parameters": [{**_REPEATS, "description": "Repeats with the same key get the first message."}]},
)
@staff_api.needs("notifications.add_message", knows_repeats=True)
def send_message(request: HttpRequest, payload: schemas.SendIn) -> Status[schemas.UidOut]:
    """Queue one mail; with an `Idempotency-Key` a repeat gets the first one.

    One address gets three of a type a minute, five in ten minutes, twenty a day, unless the type says otherwise: 429.
    """
    actor = staff_api.actor(request)
    if staff_actions.kind_of(payload.type).secrets:
        raise ProductError("TYPE_HAS_SECRETS", "Codes and links are made with the change they belong to.")
    given = payload.model_dump()
    key = request.headers.get("Idempotency-Key")
    with transaction.atomic():
        if key is None:
            message, is_new = staff_actions.send(**given, actor=actor), True
        else:
            message, is_new = staff_actions.send_once(**given, actor=actor, key=key)
        if is_new:
            _log(request, message, "Sent through the API.", "message.sent", flag=ADDITION)
    return Status(202, schemas.UidOut(uid=str(message.uid)))


@router.get("/messages/stats", response={200: schemas.StatsOut, **staff_api.REFUSED})
@staff_api.needs("notifications.view_message")
def message_stats(request: HttpRequest) -> schemas.StatsOut:
    """How many messages are in which state, and how late the first one is."""
    return schemas.StatsOut(**staff_actions.stats())


@router.get("/messages/{uid}", response={200: schemas.MessagePageOut, **staff_api.REFUSED})
@staff_api.needs("notifications.view_message")
def get_message(request: HttpRequest, uid: str) -> schemas.MessagePageOut:
    """A message with its attempts and what was reported of it; `text` and `html` need `view_message_body`."""
    user = request.auth  # type: ignore[attr-defined]
    message = staff_actions.find(uid)
    shows_reports = user.has_perm("notifications.view_deliveryevent")
    body = staff_actions.body(message) if user.has_perm("notifications.view_message_body") else None
    return schemas.MessagePageOut.whole(message, body, shows_reports=shows_reports)


@router.post("/messages/{uid}/retry", response={200: schemas.MessageOut, **staff_api.REFUSED})
@staff_api.needs("notifications.retry_message")
def retry_message(request: HttpRequest, uid: str) -> schemas.MessageOut:
    """Queue a failed, unknown or expired one again, as it is."""
    return _change(request, uid, staff_actions.retry, "Retry: queued again", "message.retried")


@router.post("/messages/{uid}/cancel", response={200: schemas.MessageOut, **staff_api.REFUSED})
@staff_api.needs("notifications.cancel_message")
def cancel_message(request: HttpRequest, uid: str) -> schemas.MessageOut:
    """Stop one that no mail server was given."""
    return _change(request, uid, staff_actions.cancel, "Cancel: cancelled", "message.cancelled")


@router.post("/messages/{uid}/resend", response={200: schemas.MessageOut, **staff_api.REFUSED})
@staff_api.needs("notifications.resend_message")
def resend_message(request: HttpRequest, uid: str) -> schemas.MessageOut:
    """Queue a copy of one that is through; the answer is the copy."""
    return _change(request, uid, staff_actions.resend, "Resend as new: queued", "message.resent")


@router.get("/types/{code}/preview", response={200: schemas.PreviewOut, **staff_api.REFUSED})
@staff_api.needs("notifications.view_message")
def preview_type(request: HttpRequest, code: str, lang: str = "") -> schemas.PreviewOut:
    """What a type looks like, filled with its sample."""
    made = staff_actions.preview(code, language=lang)
    return schemas.PreviewOut(subject=made.subject, text=made.text, html=made.html)


def _change(
    request: HttpRequest, uid: str, verb: Callable[..., Message | None], text: str, event: str
) -> schemas.MessageOut:
    message = staff_actions.find(uid)
    with transaction.atomic():
        made = verb(message, actor=staff_api.actor(request))
        _log(request, message, f"{text}, through the API.", event)
    return schemas.MessageOut.of(staff_actions.find(str((made or message).uid)))


def _log(request: HttpRequest, message: Message, text: str, event: str, *, flag: int = CHANGE) -> None:
    """History and audit trail, as lib/admin/verbs.py writes them for the buttons."""
    actor = staff_api.actor(request)
    staff_actions.log(message, text, actor=actor, flag=flag)
    actor.note(event, kind=message.type, user_id=message.user_id, email=message.to_address)
