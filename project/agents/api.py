"""Proposals at the API: made by keys, read by who made them and by staff, decided by people alone (their buttons)."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from django.http import Http404, HttpRequest, HttpResponse
from ninja import Query, Router, Status
from ninja.errors import ValidationError
from pydantic import BaseModel, Field

from lib import db
from lib.api import Schema
from lib.errors import ProductError
from lib.schemas import Text
from lib.staff_api import REFUSED, Listing, actor, needs
from lib.text import read_id
from project.agents import operations
from project.agents.operations import Operation
from users.models import Proposal, Proposals, User
from users.services import proposals

router = Router(tags=["Staff: proposals"])
_FLAG = {"key": "FF_NEW_CHECKOUT"}


class ProposalIn(BaseModel):
    """`operation` is the id of an operation for staff that changes something, `parameters` hold what its path and query
    take, `body` what it is sent. With the `ETag` of what was read in `if_match` it is refused where that has changed
    since; without one it is made against what there is now. `reason` is for who decides."""

    operation: Annotated[Text, Field(max_length=100, examples=["switch_on_flag"])]
    parameters: Annotated[dict[str, Any], Field(examples=[_FLAG])] = {}
    body: Annotated[Any, Field(examples=[{"reason": "launch"}])] = None
    if_match: Annotated[Text, Field(max_length=200)] = ""
    reason: Annotated[Text, Field(max_length=500, examples=["The launch is today."])] = ""


class ProposalOut(Schema):
    """`key` is how the API key begins that proposed it, `user` the id of its owner, `decided_by` that of a person.
    Approved, `outcome` says what was done; failed, `outcome_code` and `outcome` why nothing was. Of what was kept,
    `parameters` and `body` are empty after 30 days."""

    id: str
    operation: str
    summary: str
    parameters: Annotated[dict[str, Any], Field(examples=[_FLAG])]
    body: Any
    reason: str
    user: str
    key: str
    state: Literal["pending", "approved", "declined", "failed", "lapsed"]
    created_at: datetime
    lapses_at: datetime
    decided_at: datetime | None
    decided_by: str
    decision_reason: str
    outcome: str
    outcome_code: str

    @classmethod
    def of(cls, row: Proposal) -> ProposalOut:
        found = operations.known().get(row.operation)
        own: dict[str, Any] = {
            "id": row.pk.hex,
            "summary": found.summary if found else "",
            "user": row.user_id.hex,
            "key": row.key_prefix,
            "state": row.state_now,
        }
        return cls(**own, **{name: getattr(row, name) for name in cls.model_fields.keys() - own.keys()})


class ProposalsQuery(Listing):
    state: Literal["pending", "approved", "declined", "failed", "lapsed"] | None = None


class ProposalsOut(Schema):
    items: list[ProposalOut]
    next: str | None


def visible(user: Any) -> Proposals:
    """To a key its own, to people what they may do themselves."""
    rows: Proposals = Proposal.objects.select_related("user")
    if user.api_key:
        return rows.filter(key_prefix=user.api_key.prefix, user_id=user.pk)
    return rows.filter(operation__in=decidable(user))


def decidable(user: User) -> list[str]:
    """The operations that the person may run."""
    names = operations.known().items()
    allowed = {permission: user.has_perm(permission) for permission in {each.needed.permission for _, each in names}}
    return [name for name, each in names if allowed[each.needed.permission]]


def _user(request: HttpRequest) -> User:
    return request.auth  # type: ignore[attr-defined, no-any-return]


def _tag(operation: Operation, given: dict[str, Any], owner: User, request: HttpRequest) -> str:
    """Of what the operation is about. Raises: THING_UNKNOWN (404), THING_UNREADABLE (403), CHANGED_MEANWHILE (412)."""
    unknown = ProductError("THING_UNKNOWN", "There is no such thing, or no more.", status=404)
    try:
        found = operations.read(operation, given["parameters"], user=owner, like=request)
    except ProductError as error:
        if error.status == 404:
            raise unknown from error
        message = "The owner of the key may not read what this is about."
        raise ProductError("THING_UNREADABLE", message, status=403) from error
    if operation.verb and operations.thing(operation.verb[0], str(given["parameters"]["key"]), request) is None:
        raise unknown
    return operations.require_unchanged(found, given)


@router.get("/proposals", response={200: ProposalsOut, **REFUSED}, operation_id="list_proposals")
@needs("users.view_proposal")
def list_proposals(request: HttpRequest, asked: Query[ProposalsQuery]) -> ProposalsOut:
    """Proposals, the newest first: of an API key those it made, of people those they may decide about."""
    rows = visible(_user(request))
    if asked.state:
        rows = rows.in_state(asked.state)
    found, rest = db.page(rows, by="-created_at", cursor=asked.cursor, limit=asked.limit, of="proposals")
    return ProposalsOut(items=[ProposalOut.of(row) for row in found], next=rest)


@router.get("/proposals/{key}", response={200: ProposalOut, **REFUSED}, operation_id="get_proposal")
@needs("users.view_proposal")
def get_proposal(request: HttpRequest, key: str) -> ProposalOut:
    """One proposal, and what has become of it."""
    row = visible(_user(request)).filter(pk__in=[read_id(key)]).first()
    if row is None:
        raise Http404
    return ProposalOut.of(row)


@router.post("/proposals", response={200: ProposalOut, 201: ProposalOut, **REFUSED}, operation_id="create_proposal")
@needs("users.add_proposal")
def create_proposal(request: HttpRequest, response: HttpResponse, payload: ProposalIn) -> Status[ProposalOut]:
    """Ask for a change, which a person carries out by saying yes in the admin; nothing is changed now. The owner of the
    key has to be one who may do it. The same asked for again while it waits is 200 with what waits.
    """
    proposals.require_plain([payload.parameters, payload.body])
    given = payload.model_dump()
    operation, owner = operations.find(payload.operation), operations.without_scopes(_user(request))
    if operation.is_read or not operation.is_for_agents:
        message = f"{operation.id} is not to be proposed: it " + (
            "changes nothing, call it." if operation.is_read else "is for people alone."
        )
        raise ProductError("NOT_PROPOSABLE", message, status=422)
    operation.require_body_fits(payload.body)
    if not owner.has_perm(operation.needed.permission):
        raise ProductError(
            "PERMISSION_MISSING",
            f"The owner of the key needs the permission {operation.needed.permission}.",
            status=403,
            detail="Forbidden",
            slug="forbidden",
            extra={"permission": operation.needed.permission},
        )
    asked = operations.request_of(operation, given, user=owner, like=request)
    try:
        arguments, _response = operations.check(operation, asked, payload.parameters)
    except ValidationError as error:
        raise operations.as_refusal(error) from error
    operations.require_known(operation, payload.body, arguments)
    given["if_match"] = _tag(operation, given, owner, request)
    row, is_new = proposals.propose(**given, actor=actor(request))
    return Status(201 if is_new else 200, ProposalOut.of(row))
