"""A proposal in words: what it would do to what, and what would be different."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from feature_flags import descriptions, flag_document
from feature_flags.flag_document import InvalidFlag
from lib.admin.lists import actor_names
from lib.errors import ProductError
from lib.text import visible
from project.agents import operations
from project.agents.operations import Answer, Operation
from project.staff_places import place_of
from users.models import Proposal, User

#: Of operations that are no button; others go by the summary of the API.
LABELS: dict[str, Any] = {
    "create_person": gettext_lazy("Create account"),
    "rename_person": gettext_lazy("Rename person"),
    "change_rights": gettext_lazy("Give or take rights"),
    "create_service_account": gettext_lazy("Create service account"),
    "create_group": gettext_lazy("Create group"),
    "change_group": gettext_lazy("Change group"),
    "delete_group": gettext_lazy("Delete group"),
    "create_flag": gettext_lazy("Create flag"),
    "edit_flag": gettext_lazy("Edit flag"),
    "restore_flag": gettext_lazy("Restore an older version of flag"),
    "schedule_flag": gettext_lazy("Plan a change of flag"),
    "cancel_flag_schedule": gettext_lazy("Cancel a planned change of flag"),
    "create_segment": gettext_lazy("Create segment"),
    "edit_segment": gettext_lazy("Edit segment"),
    "import_flags": gettext_lazy("Import flags"),
    "send_message": gettext_lazy("Send message"),
    "retry_message": gettext_lazy("Retry message"),
    "cancel_message": gettext_lazy("Cancel message"),
    "resend_message": gettext_lazy("Send message anew"),
    "add_suppression": gettext_lazy("Suppress address"),
    "save_template": gettext_lazy("Change mail template"),
    "test_template": gettext_lazy("Test mail template"),
    "use_template_version": gettext_lazy("Put an older mail template back"),
    "create_announcement": gettext_lazy("Create announcement"),
    "change_announcement": gettext_lazy("Change announcement"),
    "test_announcement": gettext_lazy("Test announcement"),
}
_NAMES = ("codename", "email", "name", "title", "address", "to", "type")
_LONGEST = 300


def title(row: Proposal, thing: str) -> str:
    """`Switch on FF_CHECKOUT`; an operation that is no more by its id."""
    operation = operations.known().get(row.operation)
    if operation is None:
        return " ".join((row.operation, thing))
    label = operation.verb[1].label if operation.verb else LABELS.get(operation.id, operation.summary)
    return f"{label}: {_shown(visible(thing))}" if thing else str(label)


def things(rows: list[Proposal]) -> dict[Any, str]:
    """What each is about, as its address names it; people, who are named by an id there, by theirs, and other things
    that are named by one with their kind before it."""
    keys = {row.pk: _keys(row) or _named(row) for row in rows}
    names = actor_names(key for found in keys.values() for key in found)
    return {row.pk: " ".join([*_kind(row), *(names[key] for key in keys[row.pk])]) for row in rows}


def _kind(row: Proposal) -> list[str]:
    operation = operations.known().get(row.operation)
    model = operation.verb[0].model if operation and operation.verb else User
    return [] if model is User or place_of(model).key else [str(model._meta.verbose_name)]


def _keys(row: Proposal) -> list[str]:
    operation = operations.known().get(row.operation)
    return [str(row.parameters[name]) for name in operation.names if name in row.parameters] if operation else []


def _named(row: Proposal) -> list[str]:
    """What something new is to be called; of a file nothing, which may hold any name."""
    operation = operations.known().get(row.operation)
    body = row.body if operation and operation.reads_body and isinstance(row.body, dict) else {}
    given = body.get("document", body)
    names = (given.get(name) for name in _NAMES) if isinstance(given, dict) else ()
    return [name for name in names if isinstance(name, str) and name][:1]


def current(row: Proposal, request: HttpRequest) -> Answer | None:
    """What it is about as it is now, if this reader may see that."""
    operation = operations.known().get(row.operation)
    if operation is None or not row.parameters.keys() >= set(operation.names):
        return None
    try:
        return operations.read(operation, row.parameters, user=request.user, like=request)  # type: ignore[arg-type]
    except ProductError:
        return None


def changes(row: Proposal, found: Answer | None) -> list[str]:
    """What would be different, a line each; of what has no counterpart now, what is sent."""
    body = row.body if isinstance(row.body, dict) else {}
    before = found.value if found and isinstance(found.value, dict) else {}
    lines = []
    for name, after in body.items():
        if name == "document" and isinstance(after, dict):
            lines += list(_document(before.get("document"), after))
        elif name != "reason" and (name not in before or before[name] != after):
            lines.append(_line(name, before.get(name), after, is_new=name not in before))
    operation = operations.known().get(row.operation)
    query = operation.query if operation else []
    lines += [f"{name}: {_shown(row.parameters[name])}" for name in query if name in row.parameters]
    return [visible(line) for line in lines]


def _document(before: Any, wanted: Mapping[str, Any]) -> Iterator[str]:
    """A flag or a segment, of which members that are left out stay."""
    old = before if isinstance(before, dict) else {}
    checked = flag_document.checked if "codename" in {**old, **wanted} else flag_document.checked_segment
    try:
        known = checked(old, old) if old else {}
        after = checked({**old, **wanted}, known)
    except InvalidFlag as error:
        yield _("It would be refused: %(problem)s") % {"problem": error.message}
        yield from (_line(name, old.get(name), value, is_new=name not in old) for name, value in wanted.items())
    else:
        changed = flag_document.diff(known or flag_document.BLANK, after)
        own = {} if known else {"codename", "group"}  # which the title tells
        yield from descriptions.describe_changes({name: pair for name, pair in changed.items() if name not in own})


def _line(name: str, before: Any, after: Any, *, is_new: bool) -> str:
    return f"{name}: {_shown(after)}" if is_new else f"{name}: {_shown(before)} → {_shown(after)}"


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def explanation(row: Proposal, request: HttpRequest) -> str:
    """What the button that it stands for says of itself."""
    operation = operations.known().get(row.operation)
    if operation is None or operation.verb is None or not (keys := _keys(row)):
        return ""
    page, verb = operation.verb
    obj = operations.thing(page, keys[0], request)
    return str(verb.explain(obj)) if obj is not None else ""


def asked(row: Proposal) -> str:
    """The request: a line as in HTTP, and the body."""
    operation: Operation | None = operations.known().get(row.operation)
    if operation is None or not row.parameters.keys() >= set(operation.names):
        return row.operation
    try:
        path, query = operation.target(row.parameters)
    except ProductError:
        return row.operation
    lines = [f"{operation.method} {path}{'?' if query else ''}{query}"]
    lines += [f"If-Match: {row.if_match}"] * bool(row.if_match)
    lines += ["", json.dumps(row.body, ensure_ascii=False, indent=2)] * (row.body is not None)
    return visible("\n".join(lines))


def held(row: Proposal) -> str:
    """Instead of what it held."""
    return _("Emptied, 30 days after it was asked for.") if not row.fingerprint else ""
