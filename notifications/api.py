"""Preferences, unsubscribing, webhooks and the inbox."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.multipartparser import MultiPartParserError
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.cache import get_conditional_response
from ninja import Query, Router

from lib import mail_providers
from lib.actors import accepted_language
from lib.api import refusals
from lib.errors import ProductError
from notifications import metrics, registry, schemas
from notifications.rendering import engines
from notifications.services import inbox, preferences, webhooks

_logger = logging.getLogger("switchboard.notifications")

router = Router(tags=["Notifications"])


def in_lane(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view whose whole work is one hop into the lane."""

    @wraps(view)
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await sync_to_async(view)(*args, **kwargs)

    return call


def _of(request: HttpRequest) -> Any:
    """The user of the bearer."""
    return request.auth  # type: ignore[attr-defined]


def _asked_language(request: HttpRequest) -> str:
    return accepted_language(request.headers.get("Accept-Language", ""))


# --- Preferences ------------------------------------------------------------------------------------------------------


@router.get("/preferences", response={200: schemas.PreferencesOut, **refusals(401)})
@in_lane
def get_preferences(request: HttpRequest) -> schemas.PreferencesOut:
    """What one may choose, and what is fixed and why."""
    return _worded(request, preferences.choices(_of(request)))


@router.put("/preferences", response={200: schemas.PreferencesOut, **refusals(400, 401, 413, 422)})
@in_lane
def put_preferences(request: HttpRequest, payload: list[schemas.PreferenceIn]) -> schemas.PreferencesOut:
    """Choose, all or nothing; what is not named stays. `PREFERENCE_FIXED`, `PREFERENCE_UNKNOWN`."""
    wanted = {(choice.category, choice.channel): choice.enabled for choice in payload}
    return _worded(request, preferences.choose(_of(request), wanted))


def _worded(request: HttpRequest, choices: preferences.Choices) -> schemas.PreferencesOut:
    with translation.override(engines.written(_asked_language(request) or _of(request).language)):
        return schemas.PreferencesOut.of(choices)


# --- Unsubscribing ----------------------------------------------------------------------------------------------------


@router.get("/unsubscribe/{token}", auth=None, response={200: None, **refusals(404)})
@in_lane
def unsubscribe_page(request: HttpRequest, token: str) -> HttpResponse:
    """A page that asks; it changes nothing, for programs follow links as well."""
    link = preferences.read_link(token)
    return _page(request, link, is_on=preferences.is_subscribed(link))


@router.post("/unsubscribe/{token}", auth=None, response={200: None, **refusals(404, 413)})
@in_lane
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """End mail of this kind, with any body (RFC 8058 sends `List-Unsubscribe=One-Click`); `undo` takes it back."""
    link = preferences.read_link(token)
    try:
        asks_to_undo = "undo" in request.POST
    except (BadRequest, MultiPartParserError, SuspiciousOperation):
        # A form that cannot be read asks for no more mail all the same.
        asks_to_undo = False
    if asks_to_undo:
        is_on = preferences.resubscribe(link)
        return _page(request, link, is_on=is_on, has_changed=True, is_blocked=not is_on)
    preferences.unsubscribe(link, source="link")
    return _page(request, link, is_on=False)


def _page(
    request: HttpRequest, link: preferences.Link, *, is_on: bool, has_changed: bool = False, is_blocked: bool = False
) -> HttpResponse:
    name, _, domain = link.address.partition("@")
    context = {
        "product_name": settings.PRODUCT_NAME,
        "support_email": settings.SUPPORT_EMAIL,
        # Enough to recognise one's own; the mail may have been forwarded, and others see this page.
        "address": f"{name[:1]}•••@{domain}",
        "category": registry.category(link.category).label,
        "has_changed": has_changed,
        "is_blocked": is_blocked,
    }
    with translation.override(engines.written(_asked_language(request) or preferences.language(link))):
        content = render_to_string(f"notifications/unsubscribe{'' if is_on else 'd'}.html", context)
    return HttpResponse(content, headers={"Cache-Control": "no-store", "X-Robots-Tag": "noindex"})


# --- Webhooks ---------------------------------------------------------------------------------------------------------


@router.api_operation(
    ["POST", "HEAD"], "/webhooks/{provider}", auth=None, response={200: None, **refusals(400, 401, 404, 413, 503)}
)
@in_lane
def webhook(request: HttpRequest, provider: str) -> HttpResponse:
    """Reports of the configured provider, signed or with basic auth as it does it."""
    return _receive(request, provider)


# --- The inbox --------------------------------------------------------------------------------------------------------


@router.get("", response={200: schemas.InboxOut, **refusals(400, 401, 422)})
async def list_notifications(request: HttpRequest, asked: Query[schemas.InboxQuery]) -> schemas.InboxOut:
    """The newest first; `next` is the cursor of the rest. `seen_at` is empty on what is shown for the first time."""
    items, rest = await inbox.page(_of(request), **asked.model_dump())
    return schemas.InboxOut(items=[schemas.ItemOut.of(row) for row in items], next=rest)


@router.get("/unread-count", response={200: schemas.UnreadOut, 304: None, **refusals(401)}, operation_id="count_unread")
async def unread_count(request: HttpRequest) -> HttpResponse:
    """How many are unread, counted to 100; 304 while the `ETag` in `If-None-Match` is still the same."""
    unread, tag = await inbox.unread_count(_of(request))
    # Browsers ask again by themselves, with the tag.
    headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache", "Vary": "Authorization, Cookie"}
    response = JsonResponse({"unread": unread}, headers=headers)
    return get_conditional_response(request, etag=f'"{tag}"', response=response) or response


@router.post("/read-all", response={200: schemas.ChangedOut, **refusals(401, 413, 422)}, operation_id="mark_all_read")
@in_lane
def read_all(request: HttpRequest, payload: schemas.ReadAllIn | None = None) -> schemas.ChangedOut:
    """Mark all as read, or those made at `before` and earlier."""
    return schemas.ChangedOut(changed=inbox.mark_all_read(_of(request), before=payload.before if payload else None))


@router.post("/{notification_id}/read", response={200: schemas.ItemOut, **refusals(401, 404)}, operation_id="mark_read")
@in_lane
def read(request: HttpRequest, notification_id: str) -> schemas.ItemOut:
    """Mark as read."""
    return schemas.ItemOut.of(inbox.mark_read(_of(request), notification_id))


@router.post(
    "/{notification_id}/unread", response={200: schemas.ItemOut, **refusals(401, 404)}, operation_id="mark_unread"
)
@in_lane
def unread(request: HttpRequest, notification_id: str) -> schemas.ItemOut:
    """Mark as unread."""
    return schemas.ItemOut.of(inbox.mark_unread(_of(request), notification_id))


@router.post(
    "/{notification_id}/archive",
    response={200: schemas.ItemOut, **refusals(401, 404)},
    operation_id="archive_notification",
)
@in_lane
def archive(request: HttpRequest, notification_id: str) -> schemas.ItemOut:
    """Take off the list."""
    return schemas.ItemOut.of(inbox.archive(_of(request), notification_id))


def _receive(request: HttpRequest, provider: str) -> HttpResponse:
    """Process one call of the provider, and answer it as it expects.

    Reports without a meaning here are counted and answered 200: after refusals a provider retries for days, and may
    then pause the webhook. An error on our side is raised after all other reports were stored: the provider retries.

    Raises: Http404 for any other provider, or without NOTIFICATIONS_WEBHOOK_SECRET; SuspiciousOperation for a call that
    is not from the provider; WEBHOOK_UNREADABLE (400).
    """
    if not provider or provider != webhooks.configured():
        raise Http404
    # Read first, so that a body that is too large is refused as such.
    body = request.body
    if mail_providers.is_ping(provider, request):
        metrics.REPORTS.add(provider, "ping")
        return HttpResponse()
    secret = settings.NOTIFICATIONS_WEBHOOK_SECRET
    if not secret:
        raise Http404
    if request.method == "HEAD":
        return HttpResponse()
    if provider == "ses" and "Authorization" not in request.headers:
        # SNS sends the user and password of the address only after a challenge.
        return HttpResponse(status=401, headers={"WWW-Authenticate": 'Basic realm="Switchboard"'})
    if not mail_providers.is_genuine(provider, request, secret):
        raise SuspiciousOperation(f"a webhook call that is not from {provider}")
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        content = None
    if provider == "ses" and isinstance(content, dict) and "Type" in content:
        # The headers name the same type and id as the body; a raw message has them there alone.
        named = request.headers.get("x-amz-sns-message-type"), request.headers.get("x-amz-sns-message-id")
        if (content["Type"], content.get("MessageId")) != named:
            raise SuspiciousOperation("a webhook call whose headers speak of another message of SNS")
    if not isinstance(content, (dict, list)):
        _logger.warning("webhook unreadable", extra={"provider": provider})
        raise ProductError("WEBHOOK_UNREADABLE", "This report cannot be read.")
    if provider == "ses" and isinstance(content, dict) and content.get("Type") == "SubscriptionConfirmation":
        webhooks.confirm_subscription(content)
        return HttpResponse()
    webhooks.store_each(provider, content if isinstance(content, list) else [content], request.headers)
    return HttpResponse()
