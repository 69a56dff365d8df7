"""Tokens of clients that read flags: listed and made."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from django.contrib.admin.models import ADDITION
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Status
from pydantic import BaseModel, Field

from feature_flags.models import FlagToken
from feature_flags.services import tokens
from feature_flags.staff_api.shared import Reason, Word, log, worded
from lib import db
from lib.admin import because
from lib.api import Schema
from lib.schemas import Text, TimeIn
from lib.staff_api import REFUSED, Listing, Row, actor, needs

router = Router(tags=["Staff: flag tokens"])


class FlagTokenIn(BaseModel):
    """`allowed_origins` (`https://app.example.org`) limits browsers, none allows any; without `expires_at` it is good
    until it is revoked."""

    name: Word
    kind: Literal["server", "frontend"]
    allowed_origins: list[Annotated[Text, Field(max_length=300)]] = Field(
        [], max_length=100, examples=[["https://app.example.org"]]
    )
    expires_at: TimeIn | None = Field(None, examples=["2030-01-31T08:30:00Z"])
    reason: Reason = ""


class TokenOut(Row):
    """`prefix` is how the secret begins."""

    id: int
    name: str
    kind: str
    prefix: str
    allowed_origins: list[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_on: date | None
    created_at: datetime
    created_by: str


class TokensOut(Schema):
    items: list[TokenOut]
    next: str | None


class NewTokenOut(Schema):
    """`secret` is shown this once."""

    secret: str
    token: TokenOut


@router.get("/flag-tokens", response={200: TokensOut, **REFUSED})
@needs("feature_flags.view_flagtoken")
def list_flag_tokens(request: HttpRequest, asked: Query[Listing]) -> TokensOut:
    """Tokens of clients that read flags, the newest first."""
    rows = FlagToken.objects.all()
    found, rest = db.page(rows, by="-id", cursor=asked.cursor, limit=asked.limit, of="flag-tokens")
    return TokensOut(items=[TokenOut.of(row) for row in found], next=rest)


@router.post("/flag-tokens", response={201: NewTokenOut, **REFUSED})
@needs("feature_flags.manage_flagtoken", sensitive=True, answers_secret=True)
@worded()
def create_flag_token(request: HttpRequest, response: HttpResponse, payload: FlagTokenIn) -> Status[NewTokenOut]:
    """A new token. Its secret is in this answer alone, which is kept for no repeat: one makes another token.

    People need a fresh proof of who they are.
    """
    response["Cache-Control"] = "no-store"
    who = actor(request)
    with transaction.atomic():
        token, secret = tokens.create_token(**payload.model_dump(), actor=who)
        log(request, token, f"Created, {token.kind}." + because(payload.reason), flag=ADDITION)
        who.note("flag_token.created", name=token.name, kind=str(token.kind), reason=payload.reason)
    return Status(201, NewTokenOut(secret=secret, token=TokenOut.of(token)))
