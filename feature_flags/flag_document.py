"""One flag as one JSON document: what the history keeps, forms and imports bring, exports write.

`checked` refuses a document that cannot become a flag and names every place where it is wrong. `join` makes the
document of a stored row. Rows are written in `services/storage.py` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.translation import gettext as _

from feature_flags.engine import validation
from feature_flags.engine.values import read_payload
from feature_flags.unleash_feature import PAYLOAD_TYPES, wire_constraint, wire_payload
from lib.addresses import normal_domain
from lib.errors import ProductError
from lib.text import is_storable

if TYPE_CHECKING:
    from pydantic import BaseModel

Document = dict[str, Any]
Place = tuple[str | int, ...]

MAX_LEVELS = 100
_SAFE_INTEGER = 2**53
# What we call the keys of a constraint in the document.
_OURS = {"contextName": "field", "caseInsensitive": "case_insensitive"}


class Problem(NamedTuple):
    """One thing that is wrong: where (`("rules", 0, "constraints", 1, "values")`) and a sentence."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.place))}: {self.message}" if self.place else self.message


class InvalidFlag(ProductError):
    """FLAG_INVALID with every problem; the message is the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("FLAG_INVALID", str(problems[0]))
        self.problems = list(problems)


#: The members of a document that are columns of the row, under the same name; the others stand in `definition`.
COLUMNS = (
    "codename",
    "label",
    "description",
    "is_active",
    "kind",
    "value_type",
    "exposed",
    "is_protected",
    "owner",
    "review_on",
)
#: A flag with all defaults, its members in the order of every document; `flag_schema` has the types.
BLANK: Document = {
    "codename": "BLANK",
    "label": None,
    "description": None,
    "is_active": False,
    "is_archived": False,
    "kind": "release",
    "value_type": "boolean",
    "off_value": None,
    "rollout_percent": 100,
    "stickiness": "default",
    "group_id": "BLANK",
    "exposed": True,
    "is_protected": False,
    "impression_data": False,
    "owner": "",
    "tags": [],
    "review_on": None,
    "rules": [],
    "variants": [],
    "prerequisites": [],
    "targets": {"on": [], "off": []},
}
BLANK_RULE: Document = {
    "label": "",
    "is_enabled": True,
    "rollout_percent": 100,
    "stickiness": "default",
    "group_id": "",
    "constraints": [],
    "segments": [],
    "variants": [],
}
DEFINITION = tuple(name for name in BLANK if name not in {*COLUMNS, "is_archived"})
_NO_DEFINITION = {name: BLANK[name] for name in DEFINITION} | {"group_id": ""}
_NO_VARIANT = {"weight": 1, "payload": None, "written_as": None}


def checked(document: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Document:
    """The document with every member filled in; InvalidFlag names all places where it is wrong.

    What SDKs read in two ways is refused, too, unless `stored`, the document before, holds the same: rules that are
    newer than a flag must not keep it from being switched.
    """
    from feature_flags import flag_schema

    flag = _parsed(flag_schema.Flag, document)
    for rule in flag["rules"]:
        rule["constraints"] = [_shared(constraint) for constraint in rule["constraints"]]
    if problems := [*_flag_problems(flag), *_new_ambiguities(flag, stored)]:
        raise InvalidFlag(problems)
    return _normal(flag)


def checked_segment(document: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Document:
    """The same for a segment: `name`, `description`, `constraints`."""
    from feature_flags import flag_schema

    segment = _parsed(flag_schema.Segment, document)
    segment["constraints"] = [_shared(constraint) for constraint in segment["constraints"]]
    if problems := [*_constraint_problems(segment["constraints"], ()), *_new_ambiguities(segment, stored)]:
        raise InvalidFlag(problems)
    return segment


class Ambiguity(NamedTuple):
    """What SDKs that evaluate for themselves read in two ways: where, why, and the part itself, wherever it stands."""

    place: Place
    message: str
    part: Any


def ambiguities(document: Mapping[str, Any]) -> Iterator[Ambiguity]:
    """All of a flag's or a segment's own document, as it is served."""
    rules = [(("rules", number), rule) for number, rule in enumerate(document.get("rules") or [])]
    for place, part in [((), document), *rules]:
        for number, constraint in enumerate(readable(part.get("constraints"))):
            for key, message in validation.disagreements(wire_constraint(constraint)):
                yield Ambiguity((*place, "constraints", number, _OURS.get(key, key)), message, constraint)
        # What a percentage goes by.
        for key, problem_of in (("stickiness", validation.stickiness_problem), ("group_id", validation.group_problem)):
            if problem := problem_of(part.get(key) or ""):
                yield Ambiguity((*place, key), problem, {key: part[key]})
    for state, identifiers in (document.get("targets") or {}).items():
        for identifier in identifiers:
            if problem := validation.identifier_problem(identifier):
                yield Ambiguity(("targets", state), f"{identifier}: {problem}", identifier)
    for number, prerequisite in enumerate(document.get("prerequisites") or []):
        if prerequisite["variants"] and not prerequisite["required"]:
            message = _("Clients disagree about the variant of a flag that has to be off: leave it out.")
            yield Ambiguity(("prerequisites", number, "variants"), message, prerequisite)


def _new_ambiguities(document: Document, stored: Mapping[str, Any] | None) -> list[Problem]:
    found = list(ambiguities(document))
    known = [ambiguity.part for ambiguity in ambiguities(stored or {})] if found else []
    return [Problem(ambiguity.place, ambiguity.message) for ambiguity in found if ambiguity.part not in known]


def readable(constraints: object) -> list[Document]:
    """Those of the right shape: what was written past the verbs is for others to report."""
    parts = constraints if isinstance(constraints, list) else []
    return [part for part in parts if isinstance(part, dict) and {"field", "operator"} <= part.keys()]


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """`{member: [before, after]}` of what differs."""
    keys = [*before, *(key for key in after if key not in before)]
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}


def _parsed(model: type[BaseModel], document: Mapping[str, Any]) -> Document:
    from pydantic import ValidationError

    try:
        return model.model_validate(document).model_dump()
    except ValidationError as error:
        problems = []
        for found in error.errors(include_url=False):
            message = found["msg"].removeprefix("Value error, ")
            problems.append(Problem(found["loc"], message[:1].upper() + message[1:].rstrip(".") + "."))
        raise InvalidFlag(problems) from None


def _shared(constraint: Document) -> Document:
    """As it is saved: `values` or `value`, whichever was given, in the form that SDKs read alike, where it has one."""
    plain = {key: value for key, value in constraint.items() if value is not None}
    if plain["field"] == "emailDomain" and plain.get("values"):
        # A domain has one spelling.
        plain["values"] = list(map(normal_domain, plain["values"]))
    wire = wire_constraint(plain)
    return plain | {key: wire[key] for key in ("values", "value") if plain.get(key)}


def _flag_problems(flag: Document) -> Iterator[Problem]:
    value_type, off_value = flag["value_type"], flag["off_value"]
    if flag["is_active"] and flag["is_archived"]:
        yield Problem(("is_active",), _("An archived flag is off."))
    if value_type == "boolean":
        if off_value is not None:
            yield Problem(("off_value",), _("A boolean flag is false when off; leave this empty."))
    else:
        if off_value is not None and (problem := payload_problem(off_value, value_type)):
            yield Problem(("off_value",), problem)
        if flag["is_active"] and not flag["variants"] and not any(rule["variants"] for rule in flag["rules"]):
            yield Problem(
                ("is_active",),
                _("A flag of type %(value_type)s needs a variant before it can be switched on.")
                % {"value_type": value_type},
            )
    yield from _variant_problems(flag["variants"], ("variants",), value_type)
    for number, rule in enumerate(flag["rules"]):
        place: Place = ("rules", number)
        yield from _constraint_problems(rule["constraints"], place)
        yield from _variant_problems(rule["variants"], (*place, "variants"), value_type)
        yield from _twice(rule["segments"], (*place, "segments"))
    yield from _twice(flag["tags"], ("tags",))
    yield from _twice([*flag["targets"]["on"], *flag["targets"]["off"]], ("targets",))
    parents = [prerequisite["parent"] for prerequisite in flag["prerequisites"]]
    yield from _twice(parents, ("prerequisites",))
    for number, parent in enumerate(parents):
        if parent == flag["codename"]:
            yield Problem(("prerequisites", number, "parent"), _("A flag cannot require itself."))


def _constraint_problems(constraints: Sequence[Document], place: Place) -> Iterator[Problem]:
    for number, constraint in enumerate(constraints):
        for key, message in validation.constraint_problems(wire_constraint(constraint)):
            yield Problem((*place, "constraints", number, _OURS.get(key, key)), message)


def _variant_problems(variants: Sequence[Document], place: Place, value_type: str) -> Iterator[Problem]:
    yield from _twice([variant["name"] for variant in variants], place)
    for number, variant in enumerate(variants):
        payload, spelling = variant["payload"], variant["written_as"]
        if variant["name"] == "disabled":
            yield Problem((*place, number, "name"), _("“disabled” is what clients call having no variant."))
        if value_type == "boolean":
            if payload is not None or spelling:
                yield Problem((*place, number, "payload"), _("Variants of a boolean flag carry no payload."))
        elif payload is not None and (problem := payload_problem(payload, value_type)):
            yield Problem((*place, number, "payload"), problem)
        elif spelling and not _spells(spelling, payload, value_type):
            yield Problem((*place, number, "written_as"), _("This does not say what the payload says."))


def _spells(spelling: Document, payload: Any, value_type: str) -> bool:
    # Texts may be of any type that a client knows: csv, or numbers beyond what JSON readers keep.
    if value_type != "string" and spelling["type"] != PAYLOAD_TYPES[value_type]:
        return False
    try:
        return bool(read_payload(spelling["value"], value_type) == payload)
    except ValueError:
        return False


def _twice(values: Sequence[str], place: Place) -> Iterator[Problem]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            yield Problem(place, _("“%(value)s” stands there twice.") % {"value": value})
        seen.add(value)


def payload_problem(value: Any, value_type: str) -> str:
    """Why a value is not of the type, as a sentence; empty when it is."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = {
        "string": isinstance(value, str),
        "integer": isinstance(value, int) and is_number and abs(value) < _SAFE_INTEGER,
        "float": is_number and abs(value) < 1e300,
        "object": isinstance(value, (dict, list)),
    }
    if not fits[value_type]:
        sentence = _("This is not an %(type)s.") if value_type[0] in "io" else _("This is not a %(type)s.")
        return sentence % {"type": value_type}
    is_clean = is_storable(value) if isinstance(value, str) else _is_clean(value)
    return "" if is_clean else _("This holds what cannot be stored: a NUL, a lone surrogate, NaN, or too many levels.")


def _is_clean(value: Any) -> bool:
    """Whether it can be stored, and read by all on the way: pydantic stops at 255 levels, some clients earlier."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    # What json.dumps writes for characters beyond the basic plane, and for a backslash: neither is a fault.
    text = re.sub(r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}", "", text)
    if re.search(r"\\u(0000|d[89a-f]..)", text, re.IGNORECASE):
        return False
    level = [value]
    for _level in range(MAX_LEVELS):
        parts = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, (dict, list))]
        if not (level := [inner for part in parts for inner in part]):
            return True
    return False


def _normal(flag: Document) -> Document:
    """A checked document in the one form in which it is stored."""
    flag["review_on"] = flag["review_on"].isoformat() if flag["review_on"] else None
    flag["label"], flag["description"] = flag["label"] or None, flag["description"] or None
    flag["group_id"] = flag["group_id"] or flag["codename"]
    flag["tags"].sort()
    flag["targets"] = {state: sorted(ids) for state, ids in flag["targets"].items()}
    flag["prerequisites"].sort(key=lambda prerequisite: prerequisite["parent"])
    for rule in flag["rules"]:
        rule["group_id"] = rule["group_id"] or flag["group_id"]
        rule["segments"].sort()
    is_float = flag["value_type"] == "float"
    if is_float and flag["off_value"] is not None:
        # 5 is stored as 5.0, so that clients in every language get the same type.
        flag["off_value"] = float(flag["off_value"])
    for variant in [*flag["variants"], *(variant for rule in flag["rules"] for variant in rule["variants"])]:
        if variant["payload"] is None:
            continue
        if is_float:
            variant["payload"] = float(variant["payload"])
        # The keys of an object come back from a database in another order: only its spelling keeps them.
        if flag["value_type"] != "object" and variant["written_as"] == wire_payload(
            variant["payload"], flag["value_type"]
        ):
            variant["written_as"] = None
    return flag


def join(row: Mapping[str, Any]) -> Document:
    """The document of a stored row, given COLUMNS, `archived_at` and `definition`, in the order of BLANK."""
    found = _complete(row["definition"])
    found.update((name, row[name]) for name in COLUMNS)
    found["is_archived"] = row["archived_at"] is not None
    found["review_on"] = row["review_on"].isoformat() if row["review_on"] else None
    return {name: found[name] for name in BLANK}


def _complete(definition: Any) -> Document:
    """With the members that it was stored without. What was written past the services in another shape breaks the flag.

    Readers can rely on the shape of everything but constraints, which have always been free JSON.
    """
    try:
        found: Document = {**_NO_DEFINITION, **definition}
        found["rules"] = [{**BLANK_RULE, **rule} for rule in found["rules"]]
        found["targets"] = {state: list(found["targets"].get(state, ())) for state in ("on", "off")}
        for part in (found, *found["rules"]):
            part["variants"] = [{**_NO_VARIANT, **variant} for variant in part["variants"]]
        return found
    except (AttributeError, TypeError):
        return {**_NO_DEFINITION, "rules": [{**BLANK_RULE, "constraints": [definition]}]}
