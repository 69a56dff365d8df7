"""Every button of the admin as an operation of the API: `POST /api/staff/<things>/<key>/<verb>`.

Made of the verbs that the pages of the admin name (lib/admin/verbs.py), so that one added there is there here, with the
same permission, the same rules for each object, history and audit log. What is only read has operations of its own in
the apps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, QueryDict
from ninja import NinjaAPI, Router
from ninja.errors import ValidationError
from pydantic import BaseModel, Field, create_model

from lib.actors import Actor
from lib.admin.verbs import Outcome, Verb, VerbAdmin, holds, in_english
from lib.staff_api import REFUSED, actor, needs
from lib.text import is_storable
from project import staff_lists
from project.staff_places import Place, camel, place_of
from users.services import staff


class VerbOut(BaseModel):
    """`changed` is false where it was so already; `message` says what was done, in English."""

    changed: bool
    message: str


def install(api: NinjaAPI, routers: Sequence[Router]) -> None:
    """Add the operations for staff: those of `routers`, the lists of the admin, and the verbs of its pages
    that have none there."""
    routers = [*routers, *staff_lists.install(routers)]
    for each in routers:
        api.add_router("", each)
    own = {_bare(path) for each in routers for path in each.path_operations}
    router = Router(tags=["Staff: verbs"])
    for model_admin in admin.site._registry.values():
        if isinstance(model_admin, VerbAdmin):
            for verb in model_admin.verbs:
                if _bare(_path(model_admin, verb)) not in own:
                    _add(router, model_admin, verb)
    api.add_router("", router)


def _bare(path: str) -> str:
    """Without the names of what it holds."""
    return re.sub(r"{[^}]*}", "{}", path)


def _path(model_admin: VerbAdmin, verb: Verb) -> str:
    return f"/{place_of(model_admin.model).path}/{{key}}/{verb.name}"


def _add(router: Router, model_admin: VerbAdmin, verb: Verb) -> None:
    place = place_of(model_admin.model)
    with in_english():
        label, noun = str(verb.label), place.noun.replace("-", " ")
        body = _body(verb, f"{verb.slug} {noun} in")
    prove = staff.require_proof if verb.sensitive else None
    run = partial(_run, model_admin=model_admin, verb=verb, place=place, prove=prove)
    if body is None:

        def view(request: HttpRequest, key: str) -> Any:
            return run(request, key, {})
    else:

        def view(request: HttpRequest, key: str, payload: Any = None) -> Any:  # type: ignore[misc]
            return run(request, key, payload.model_dump(exclude_unset=True) if payload else {})

        is_optional = not any(field.is_required() for field in body.model_fields.values())
        view.__annotations__["payload"] = body | None if is_optional else body
        view.__defaults__ = (None,) if is_optional else None

    call: Any = needs(verb.permission)(view)
    call.needed, call.verb = replace(call.needed, sensitive=bool(verb.sensitive)), (model_admin, verb)
    router.add_api_operation(
        _path(model_admin, verb),
        ["POST"],
        call,
        response={200: None if verb.downloads else VerbOut, **REFUSED},
        operation_id=f"{verb.slug}_{place.noun}".replace("-", "_"),
        summary=f"{label} ({noun})",
        description="The answer is a file." if verb.downloads else "",
    )


def _body(verb: Verb, name: str) -> type[BaseModel] | None:
    """What the fields of the verb's form are on the wire; None where nothing is asked."""
    fields: dict[str, Any] = {field: (kind, ...) for field, kind in verb.body.items()}
    if verb.asks_reason is not False:
        for field, asked in verb.form.base_fields.items():
            is_required = asked.required
            if field == "reason":
                # Where that depends on the object, the form says so.
                is_required = verb.asks_reason is True and verb.reason_required is True
            fields[field] = _member(asked, is_required=is_required)
    return create_model(camel(name), **fields) if fields else None


def _member(asked: forms.Field, *, is_required: bool) -> tuple[Any, Any]:
    """The type and the default of a form's field; the form checks what came."""
    kind: Any = str
    if isinstance(asked, forms.BooleanField):
        kind = bool
    elif isinstance(asked, forms.IntegerField):
        kind = int
    elif isinstance(asked, forms.MultipleChoiceField):
        several: Any = asked.choices
        kind = list[Literal[tuple(value for value, _ in several)]]  # type: ignore[misc]
    elif isinstance(asked, forms.ChoiceField):
        choices: Any = asked.choices
        coerce = asked.coerce if isinstance(asked, forms.TypedChoiceField) else str
        kind = Literal[tuple(coerce(value) for value, _ in choices if value)]
    elif isinstance(asked, forms.CharField) and asked.max_length:
        kind = Annotated[str, Field(max_length=asked.max_length)]
    return (kind, ...) if is_required else (kind | None, None)


def _run(
    request: HttpRequest,
    key: str,
    given: dict[str, Any],
    *,
    model_admin: VerbAdmin,
    verb: Verb,
    place: Place,
    prove: Callable[[Actor], None] | None,
) -> Any:
    # Answers are English as all of the API.
    with in_english():
        if not (is_storable(key) and model_admin.has_verb_permission(request, verb)):
            raise PermissionDenied
        obj = model_admin.get_object(request, key, place.key or None)
        if obj is None:
            raise Http404
        if not model_admin.has_verb_permission(request, verb, obj):
            raise PermissionDenied
        user_actor = actor(request)
        if prove and holds(verb.sensitive, obj):
            prove(user_actor)
        return _answer(model_admin.perform(request, verb, obj, _read(request, verb, obj, given)))


def _read(request: HttpRequest, verb: Verb, obj: Any, given: dict[str, Any]) -> dict[str, Any]:
    """What the verb's form makes of the body. Raises: ValidationError (422)."""
    posted = QueryDict(mutable=True)
    for name, value in given.items():
        if value is not None:
            posted.setlist(name, [str(each) for each in (value if isinstance(value, list) else [value])])
    request.POST = posted  # type: ignore[assignment]
    if not verb.asks(obj) and not given.get("reason"):
        return {}
    form = verb.form(posted)
    form.fields["reason"].required = verb.asks(obj) and holds(verb.reason_required, obj)
    if form.is_valid():
        return form.cleaned_data
    raise ValidationError(
        [
            {"type": f"form_{error.code or 'invalid'}", "loc": ["body", name], "msg": str(message)}
            for name, errors in form.errors.as_data().items()
            for error in errors
            for message in error.messages
        ]
    )


def _answer(outcome: Outcome) -> Any:
    return outcome.response or VerbOut(changed=outcome.level == messages.SUCCESS, message=str(outcome.text))
