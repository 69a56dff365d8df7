"""What the operations of all modules here share: how they word refusals, what a change is sent with, the log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

from django.contrib.admin.models import CHANGE, LogEntry
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from pydantic import BaseModel, Field

from feature_flags import flag_document
from feature_flags.flag_document import InvalidFlag, Problem
from feature_flags.models import FlagRevision
from lib import staff_api
from lib.admin import because
from lib.api import Schema
from lib.errors import ProductError
from lib.schemas import Text
from lib.staff_api import actor

Word = Annotated[Text, Field(max_length=100)]
Reason = Annotated[Text, Field(max_length=200)]


class Described:
    """The API's description shows the members of this model; whether they are right is for the service to say."""

    def __init__(self, model: type[BaseModel], **example: Any) -> None:
        self.model, self.example = model, example

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> Any:
        self.model.model_rebuild()
        return {**handler(self.model.__pydantic_core_schema__), "examples": [self.example]}


class FlagsChangedOut(Schema):
    """`changed` is false where it was so already."""

    changed: bool


def user_of(request: HttpRequest) -> Any:
    return request.auth  # type: ignore[attr-defined]


def log(request: HttpRequest, obj: Any, text: str, *, flag: int = CHANGE) -> None:
    """Beside the history of the flags, the log of the admin's pages."""
    if by := actor(request).request.proposed_by:
        text += f" Proposed by {by}."
    LogEntry.objects.log_actions(user_of(request).pk, [obj], flag, change_message=text, single_object=True)


@contextmanager
def worded(*place: str) -> Iterator[None]:
    """Refusals of a service about what stands at this place of the body: every problem of a document with where it is
    (422), a reason that is missing (422), and what was changed meanwhile (412)."""
    try:
        yield
    except InvalidFlag as error:
        raise _invalid("FLAG_INVALID", listed(error.problems, "body", *place)) from error
    except ProductError as error:
        if error.code == "REASON_REQUIRED":
            raise _invalid("REASON_REQUIRED", listed([Problem(("reason",), error.message)], "body")) from error
        if error.code == "FLAG_CHANGED":
            raise ProductError("FLAG_CHANGED", error.message, status=412) from error
        raise


def _invalid(code: str, problems: list[dict[str, Any]]) -> ProductError:
    return ProductError(code, problems[0]["msg"], status=422, detail=problems)


def listed(problems: Sequence[Problem], *before: str) -> list[dict[str, Any]]:
    return [{"type": "flag_invalid", "loc": [*before, *place], "msg": message} for place, message in problems]


def with_revision(rows: QuerySet[Any], link: str) -> QuerySet[Any]:
    """With the id of their newest entry in the history, read by the same statement as the rest."""
    newest = FlagRevision.objects.filter(**{link: OuterRef("pk")}).order_by("-pk").values("pk")[:1]
    with_revision: QuerySet[Any] = rows.annotate(revision=Coalesce(Subquery(newest), 0))
    return with_revision


def tag(row: Any) -> str:
    return f'"{row.revision}"'


def require_match(request: HttpRequest, row: Any) -> None:
    """Raises: IF_MATCH_MISSING (428), FLAG_CHANGED (412)."""
    staff_api.require_match(request, row.revision, "FLAG_CHANGED")


def save(request: HttpRequest, row: Any, payload: Any, edit: Callable[..., bool], *, name: str) -> None:
    """Change the row, which was read `with_revision`, by this service; its member `name` stays."""
    before, wanted, reason = row.document, payload.document, payload.reason
    if wanted.get(name, before[name]) != before[name]:
        raise InvalidFlag([Problem((name,), "It is not the one in the address, and does not change here.")])
    with transaction.atomic():
        if edit(row, wanted, actor=actor(request), reason=reason, base=row.revision):
            changed = ", ".join(sorted(flag_document.diff(before, row.document)))
            log(request, row, f"Saved: {changed}." + because(reason))
