"""Endpoints of webhooks and what was sent to them, for staff: what the verbs of their pages do not say."""

from __future__ import annotations

from typing import Annotated, Any

from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.http import HttpRequest
from ninja import Router, Status
from pydantic import BaseModel, Field

from lib import staff_api
from lib.admin import because
from lib.api import Schema
from lib.schemas import Text
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.schemas import Time, Word
from notifications.services import endpoints, staff_actions

router = Router(tags=["Staff: webhooks"])


class EndpointOut(Schema):
    """`failures`: tries without success since the last one that had it."""

    id: int
    name: str
    url: str
    events: list[str]
    paused_at: Time | None
    paused_by: str
    paused_reason: str
    failures: int
    failing_since: Time | None
    last_success_at: Time | None
    old_secret_until: Time | None
    created_at: Time
    updated_at: Time

    @classmethod
    def of(cls, row: WebhookEndpoint) -> EndpointOut:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class SecretOut(Schema):
    """The one answer that holds the secret."""

    id: int
    secret: str


class EndpointIn(BaseModel):
    name: Annotated[Text, Field(max_length=100)]
    url: Annotated[Text, Field(max_length=2000)]
    events: list[Word]
    reason: Annotated[Text, Field(max_length=200)] = ""


class DeliveryOut(Schema):
    """`webhook_id` is that of every try; `last_code` a status, or why there was no answer."""

    id: int
    webhook_id: str
    endpoint: int
    event: str
    state: str
    attempts: int
    last_code: str
    created_at: Time
    due_at: Time | None
    finished_at: Time | None

    @classmethod
    def of(cls, row: WebhookDelivery) -> DeliveryOut:
        own: dict[str, Any] = {"webhook_id": row.uid.hex, "endpoint": row.endpoint_id}
        return cls(**own, **{name: getattr(row, name) for name in cls.model_fields.keys() - own.keys()})


@router.post("/webhook-endpoints", response={201: SecretOut, **staff_api.REFUSED}, operation_id="add_endpoint")
@staff_api.needs("notifications.add_webhookendpoint", sensitive=True, answers_secret=True)
def add_endpoint(request: HttpRequest, payload: EndpointIn) -> Status[SecretOut]:
    """A new endpoint, and its secret."""
    actor = staff_api.actor(request)
    with transaction.atomic():
        made, secret = endpoints.create(**payload.model_dump(), actor=actor)
        staff_actions.log(made, "Added." + because(payload.reason), actor=actor, flag=ADDITION)
    return Status(201, SecretOut(id=made.pk, secret=secret))


@router.post(
    "/webhook-endpoints/{int:key}/rotate", response={200: SecretOut, **staff_api.REFUSED}, operation_id="rotate_secret"
)
@staff_api.needs("notifications.change_webhookendpoint", sensitive=True, answers_secret=True)
def rotate_secret(request: HttpRequest, key: int) -> SecretOut:
    """A new secret; the one before goes on signing beside it for 24 hours."""
    actor = staff_api.actor(request)
    with transaction.atomic():
        endpoint = endpoints.find(key)
        secret = endpoints.rotate_secret(endpoint, actor=actor)
        staff_actions.log(endpoint, "Rotate secret: secret rotated.", actor=actor)
    return SecretOut(id=key, secret=secret)
