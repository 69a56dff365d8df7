"""django-waffle, as `manage.py dumpdata waffle` writes it: flags, switches and samples.

Waffle is on for users who meet any one condition; so are rules. A flag with languages, groups or own fields stays out:
no context of ours has them. A model of one's own (WAFFLE_FLAG_MODEL) is known by its columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from feature_flags import names
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.formats import Contents, Findings, Warn, name_of, parse, refuse

Model = TypeVar("Model", bound="_Named")


class _Named(BaseModel):
    # An added column would be lost in silence.
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)

    name: str
    note: str = ""
    created: str | None = None
    modified: str | None = None


class _Share(_Named):
    """Decimals are texts in a dump."""

    percent: float | None = None

    @field_validator("percent", mode="before")
    @classmethod
    def _as_number(cls, percent: Any) -> Any:
        return float(percent) if isinstance(percent, str) else percent

    @field_validator("percent")
    @classmethod
    def _in_range(cls, percent: float | None) -> float | None:
        if percent is not None and not 0 <= percent <= 100:
            raise ValueError("it is not between 0 and 100")
        return percent


class _Flag(_Share):
    everyone: bool | None = None
    testing: bool = False
    superusers: bool = True
    staff: bool = False
    authenticated: bool = False
    languages: str = ""
    rollout: bool = False
    groups: list[Any] = []
    users: list[Any] = []


class _Switch(_Named):
    active: bool = False


class _Sample(_Share):
    pass


def load(text: str, warn: Warn = lambda sentence: None) -> Contents:
    """Flags, switches and samples as flags; FILE_INVALID."""
    data = parse(text)
    if not isinstance(data, list) or not all(isinstance(row, dict) and "model" in row for row in data):
        refuse("This is no output of `manage.py dumpdata waffle`.")
    findings = Findings()
    flags = []
    for number, row in enumerate(data, start=1):
        read = _READERS.get(_kind(row))
        if read is not None:
            with findings.of(name_of(row.get("fields"), "name", number)):
                flags.append(read(row.get("fields"), warn))
    if not flags and not findings.problems:
        refuse("The file holds no flag, switch or sample of django-waffle.")
    if others := sorted({str(row["model"]) for row in data if _kind(row) not in _READERS}):
        warn(f"left out, as not django-waffle's own: {', '.join(others)}")
    return Contents(flags, [], findings.problems)


def _kind(row: Mapping[str, Any]) -> str:
    """`waffle.flag`, also for a model of another name that has all of its columns; a flag's may be more."""
    columns = set(row["fields"]) if isinstance(row.get("fields"), dict) else set()
    if columns >= _FLAG_COLUMNS:
        return "waffle.flag"
    others: dict[str, type[_Named]] = {"waffle.switch": _Switch, "waffle.sample": _Sample}
    return next((kind for kind, model in others.items() if columns == set(model.model_fields)), str(row["model"]))


def _flag(fields: Any, warn: Warn) -> Document:
    flag = _parsed(_Flag, fields)
    held = {"Languages": flag.languages.strip(), "Groups": ", ".join(map(str, flag.groups))}
    message = "{} cannot be held ({}): write a rule for them here, or empty them there."
    if problems := [Problem((), message.format(name, value)) for name, value in held.items() if value]:
        raise InvalidFlag(problems)
    if flag.testing:
        warn(f"{flag.name}: testing mode is left out")
    conditions: list[Document] = []
    if flag.superusers:
        conditions.append({"label": "superusers", "constraints": [_is_true("isSuperuser")]})
    if flag.staff:
        conditions.append({"label": "staff", "constraints": [_is_true("isStaff")]})
    if flag.authenticated:
        # At 100 %, exactly the users who have the field of the rollout are in: every client does so.
        conditions.append({"label": "authenticated", "stickiness": "userId"})
    percent, targets = _percent(flag.name, flag.percent, warn), _targets(flag, warn)
    if flag.everyone:
        if flag.percent or flag.staff or flag.authenticated or flag.users:
            warn(f"{flag.name}: it is on for everyone; whom it was for otherwise is left out")
        return {**_document(flag), "is_active": True}
    if flag.percent and flag.rollout:
        warn(f"{flag.name}: everybody keeps their place in the percentage, also those who are out")
    # Unknown, and on for no user: that is off.
    is_active = flag.everyone is None and bool(conditions or percent or targets)
    document = {**_document(flag), "is_active": is_active, "targets": {"on": targets, "off": []}}
    if not conditions:
        return {**document, "rollout_percent": percent if percent or targets else 100}
    # One rule a condition and one for the percentage.
    share = [{"label": "percent", "rollout_percent": percent}] if percent else []
    return {**document, "rules": [{**rule, "group_id": flag.name} for rule in [*conditions, *share]]}


def _is_true(field: str) -> Document:
    return {"field": field, "operator": "IN", "values": ["true"]}


def _targets(flag: _Flag, warn: Warn) -> list[str]:
    # A natural key is a list: the user's name.
    ids = [",".join(map(str, user)) if isinstance(user, list) else str(user) for user in flag.users]
    if ids:
        count = "1 user keeps its id" if len(ids) == 1 else f"{len(ids)} users keep their ids"
        warn(f"{flag.name}: {count} of the old project as targets, to be replaced by ours")
    return list(dict.fromkeys(ids))


def _switch(fields: Any, warn: Warn) -> Document:
    switch = _parsed(_Switch, fields)
    return {**_document(switch), "is_active": switch.active}


def _sample(fields: Any, warn: Warn) -> Document:
    """Each question is answered by chance."""
    sample = _parsed(_Sample, fields)
    percent = _percent(sample.name, sample.percent, warn)
    placed = {"rollout_percent": percent, "stickiness": "default" if percent == 100 else "random"}
    return {**_document(sample), "is_active": percent > 0, **placed}


def _document(part: _Named) -> Document:
    """The members a dump speaks about; the others stay as they are."""
    return {
        "codename": part.name,
        "description": part.note.strip() or None,
        "is_archived": False,
        "value_type": "boolean",
        "rollout_percent": 100,
        "stickiness": "default",
        "rules": [],
        "variants": [],
        "prerequisites": [],
        "targets": {"on": [], "off": []},
    }


def _percent(name: str, percent: float | None, warn: Warn) -> int:
    """A whole number; a little stays a little, and nearly everybody does not become everybody."""
    if not percent:
        return 0
    whole = 100 if percent == 100 else min(max(math.floor(percent + 0.5), 1), 99)
    if whole != percent:
        warn(f"{name}: {percent:g} % becomes {whole} %")
    return whole


def _parsed(model: type[Model], fields: Any) -> Model:
    if isinstance(fields, dict):
        # An added column that holds nothing decides nothing.
        nothing: tuple[Any, ...] = (None, False, "", [], {})
        fields = {key: value for key, value in fields.items() if key in model.model_fields or value not in nothing}
    try:
        parsed = model.model_validate(fields)
    except ValidationError as error:
        problems = []
        for found in error.errors():
            message = f"{found['msg'].removeprefix('Value error, ')}."
            if found["type"] == "extra_forbidden":
                message = "This column is not django-waffle's own and cannot be held."
            problems.append(Problem(found["loc"], message))
        raise InvalidFlag(problems) from None
    if problem := names.problem(parsed.name):
        raise InvalidFlag([Problem(("name",), problem)])
    return parsed


_FLAG_COLUMNS = set(_Flag.model_fields) - {"note", "created", "modified", "groups", "users"}
_READERS: dict[str, Callable[[Any, Warn], Document]] = {
    "waffle.flag": _flag,
    "waffle.switch": _switch,
    "waffle.sample": _sample,
}
