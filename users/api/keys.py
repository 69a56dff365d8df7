"""API keys of one's own: listed, made, rotated, revoked. Only people who have signed in do so, never a key."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from django.http import HttpRequest, HttpResponse
from ninja import Router, Status
from pydantic import BaseModel, Field

from lib.api import Schema, refusals
from lib.asgi import on_lane
from lib.schemas import Text, TimeIn
from lib.text import read_id
from users.api.auth import act, person
from users.models import ApiKey
from users.responses import never_store
from users.services import api_keys, key_scopes

router = Router(tags=["API keys"])

Word = Annotated[Text, Field(max_length=100)]


class KeyOut(Schema):
    """`prefix` is how the key begins; `networks` empty: from anywhere; `expires_at` null: never."""

    id: str
    name: str
    prefix: str
    scopes: list[str]
    networks: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    last_used_ip: str

    @classmethod
    def of(cls, row: ApiKey) -> KeyOut:
        fields = {name: getattr(row, name) for name in cls.model_fields.keys() - {"id", "scopes", "networks"}}
        return cls(id=row.pk.hex, scopes=row.scopes.split(), networks=row.networks.split(), **fields)


class NewKeyOut(Schema):
    """`secret` is shown this once."""

    secret: str
    key: KeyOut


class ScopeOut(Schema):
    name: str
    label: str
    permissions: list[str]


class KeysOut(Schema):
    """`scopes` are those that a key of this person may have."""

    keys: list[KeyOut]
    scopes: list[ScopeOut]


class KeyIn(BaseModel):
    """Without `expires_at` it ends after 90 days, with null never."""

    name: Word
    scopes: Annotated[list[Word], Field(max_length=100)]
    networks: Annotated[list[Word], Field(max_length=20)] = []
    expires_at: TimeIn | None = None


class RotateIn(BaseModel):
    """The old key goes on for `overlap_hours`."""

    overlap_hours: Annotated[int, Field(ge=0, le=api_keys.MOST_OVERLAP_HOURS)] = api_keys.OVERLAP_HOURS


@router.get("/auth/api-keys", response={200: KeysOut, **refusals(401, 503)}, operation_id="list_own_keys")
async def list_keys(request: HttpRequest, response: HttpResponse) -> KeysOut:
    """The live keys, the newest first, and the scopes there are to give."""
    never_store(response)
    rows, names = await on_lane(lambda user: (api_keys.own(user), key_scopes.offered(user)), person(request))
    scopes = [
        ScopeOut(name=name, label=str(scope.label), permissions=list(scope.permissions))
        for name, scope in key_scopes.SCOPES.items()
        if name in names
    ]
    return KeysOut(keys=[KeyOut.of(row) for row in rows], scopes=scopes)


@router.post(
    "/auth/api-keys",
    response={201: NewKeyOut, **refusals(401, 403, 409, 413, 422, 429, 503)},
    operation_id="create_own_key",
)
async def create_key(request: HttpRequest, response: HttpResponse, payload: KeyIn) -> Status[NewKeyOut]:
    """Make a key. It takes a fresh proof of who one is: `REAUTHENTICATION_REQUIRED`."""
    never_store(response)
    for_ever = "expires_at" in payload.model_fields_set and payload.expires_at is None
    given = {**payload.model_dump(), "lasts_for_ever": for_ever}
    key, secret = await act(request, api_keys.create, person(request), **given)
    return Status(201, NewKeyOut(secret=secret, key=KeyOut.of(key)))


@router.post(
    "/auth/api-keys/{key_id}/rotate",
    response={201: NewKeyOut, **refusals(401, 403, 404, 409, 413, 422, 429, 503)},
    operation_id="rotate_own_key",
)
async def rotate_key(
    request: HttpRequest, response: HttpResponse, key_id: str, payload: RotateIn | None = None
) -> Status[NewKeyOut]:
    """Make a key like this one, which goes on beside it for a while."""
    never_store(response)
    user = person(request)
    old = await on_lane(api_keys.find_own, user, read_id(key_id))
    given = (payload or RotateIn()).model_dump()
    key, secret = await act(request, api_keys.rotate, old, **given)
    return Status(201, NewKeyOut(secret=secret, key=KeyOut.of(key)))


@router.delete(
    "/auth/api-keys/{key_id}", response={204: None, **refusals(401, 403, 404, 503)}, operation_id="revoke_own_key"
)
async def revoke_key(request: HttpRequest, key_id: str) -> Status[None]:
    """End a key at once; 404 for one that has ended and for anybody else's."""
    old = await on_lane(api_keys.find_own, person(request), read_id(key_id))
    await act(request, api_keys.revoke, old)
    return Status(204, None)
