"""Who gets a flag, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from django.contrib.auth import get_user_model
from django.http import HttpRequest
from ninja import Router
from pydantic import BaseModel, Field

from feature_flags import why
from feature_flags.context import flat
from feature_flags.engine.explain import Step
from feature_flags.models import Segment
from feature_flags.runtime import store
from feature_flags.services import editing
from feature_flags.staff_api.shared import user_of
from lib.admin import may_see
from lib.api import Schema
from lib.errors import ProductError
from lib.schemas import Text
from lib.staff_api import REFUSED, needs, require

router = Router(tags=["Staff: flags"])
VIEW = "feature_flags.view_featureflag"

Person = Annotated[Text, Field(max_length=254)]


class WhyIn(BaseModel):
    """`user` is an id or address; `context` counts before what is known of the user."""

    user: Person = ""
    context: dict[str, Any] = {}


class StepOut(Schema):
    """What was checked, in order; with `children` it passes when all of them do. `kind` is switch, dependency, rule,
    segment, constraint, target, rollout or variant."""

    kind: str
    label: str
    passed: bool
    note: str
    children: list[StepOut]
    field: str
    operator: str
    expected: str
    given: str | None
    inverted: bool
    bucket: int | None
    percentage: int | None
    stickiness: str
    group: str

    @classmethod
    def of(cls, step: Step) -> StepOut:
        return cls.model_validate(asdict(step))


class WhyOut(Schema):
    """`value` is what code gets, null for its own default; `reason` a sentence; `context` what was gone by."""

    codename: str
    enabled: bool
    value: Any
    variant: str
    reason: str
    steps: list[StepOut]
    context: dict[str, str]


@router.get("/flags/{codename}/why", response={200: WhyOut, **REFUSED})
@needs(VIEW)
def why_flag(request: HttpRequest, codename: str, user: Person = "") -> WhyOut:
    """What a person, by id or address, gets, and why; without one, what an empty context does.

    To ask about people needs `view_user`, too.
    """
    return _why(request, codename, WhyIn(user=user))


@router.post("/flags/{codename}/why", response={200: WhyOut, **REFUSED})
@needs(VIEW, reads=True)
def why_flag_in_context(request: HttpRequest, codename: str, payload: WhyIn) -> WhyOut:
    """The same for a context such as `{"country": "IT"}`, which counts before what is known of the person."""
    return _why(request, codename, payload)


def _why(request: HttpRequest, codename: str, asked: WhyIn) -> WhyOut:
    flag, context = editing.get(codename), flat(asked.context)
    if asked.user:
        people = get_user_model()._meta
        require(request, f"{people.app_label}.view_{people.model_name}")
        if (person := why.find_user(asked.user.strip())) is None:
            raise ProductError("USER_UNKNOWN", "There is no such user.", status=404)
        context = {**flat(person), **context}
    snapshot = store.current()
    if flag.is_archived:
        off: dict[str, Any] = {"enabled": False, "value": None, "variant": "", "reason": str(why.ARCHIVED), "steps": []}
        return WhyOut(codename=codename, context=context, **off)
    compiled = snapshot.flags.get(codename) if snapshot else None
    if snapshot is None or compiled is None:
        raise ProductError("FLAGS_UNAVAILABLE", "This process does not know the flag yet.", status=503, retry_after=1)
    shows_segments = may_see(user_of(request), Segment)
    found = why.explained(compiled, context, snapshot, shows_segments=shows_segments)
    return WhyOut(
        codename=codename,
        enabled=found.result.enabled,
        value=found.result.value,
        variant=found.result.variant.name if found.result.variant.enabled else "",
        reason=why.summary(found),
        steps=[StepOut.of(step) for step in found.steps],
        context=context,
    )
