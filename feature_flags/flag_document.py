"""One flag as one JSON document: what the history keeps, forms and imports bring, exports write.

`checked` refuses a document that cannot become a flag and names every place where it is wrong. `join` makes the
document of a stored row. Rows are written in `services/storage.py` alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from feature_flags import names
from feature_flags.engine import validation
from feature_flags.engine.validation import constraint_problems
from feature_flags.engine.values import read_payload
from feature_flags.unleash_feature import PAYLOAD_TYPES, wire_constraint, wire_payload
from lib.addresses import normal_domain
from lib.errors import ProductError
from lib.text import Text, is_storable, require_storable

Document = dict[str, Any]
Place = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)

MAX_RULES = 100
MAX_TARGETS = 5_000
MAX_VARIANTS = 100
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


def _codename(value: str) -> str:
    if problem := names.problem(value):
        raise ValueError(problem)
    return value


def _identifier(value: str) -> str:
    if value != value.strip() or not value:
        raise ValueError("A user id has no blanks around it.")
    if "," in value:
        raise ValueError("A user id holds no comma.")
    return require_storable(value)


def _named(value: str) -> str:
    if value != value.strip() or not value:
        raise ValueError("A name has no blanks around it.")
    return require_storable(value)


Codename = Annotated[str, AfterValidator(_codename)]
Identifier = Annotated[str, StringConstraints(max_length=200), AfterValidator(_identifier)]
Percent = Annotated[int, Field(ge=0, le=100)]
Label = Annotated[Text, StringConstraints(max_length=200)]
Group = Annotated[Text, StringConstraints(max_length=100)]
Stickiness = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_named)]
TagName = Annotated[str, StringConstraints(max_length=50), AfterValidator(_named)]
SegmentName = Annotated[str, StringConstraints(max_length=100), AfterValidator(_named)]


class _Part(BaseModel):
    # Strict: "true" is no boolean and 50.0 no percentage. Forbidden: a misspelt key must not be lost in silence.
    model_config = ConfigDict(extra="forbid", strict=True)


class Constraint(_Part):
    field: Text
    operator: Text
    values: list[Text] | None = None
    value: Text | None = None
    inverted: bool = False
    case_insensitive: bool = False


class Spelling(_Part):
    """A payload as the Unleash document has it."""

    type: Text
    value: Text


class Variant(_Part):
    """Without a payload (None), the value of the variant is the flag's value when off.

    `written_as` is how the payload was spelled where it came from, if otherwise than we would spell it: clients read
    the same text here as there.
    """

    name: Codename
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    payload: Any = None
    written_as: Spelling | None = None


class Rule(_Part):
    label: Label = ""
    is_enabled: bool = True
    rollout_percent: Percent = 100
    stickiness: Stickiness = "default"
    group_id: Group = ""
    constraints: list[Constraint] = []
    segments: list[SegmentName] = []
    variants: Annotated[list[Variant], Field(max_length=MAX_VARIANTS)] = []


class Prerequisite(_Part):
    parent: Codename
    required: bool = True
    variants: list[Text] = []


class Targets(_Part):
    on: Annotated[list[Identifier], Field(max_length=MAX_TARGETS)] = []
    off: Annotated[list[Identifier], Field(max_length=MAX_TARGETS)] = []


class Flag(_Part):
    codename: Codename
    label: Label | None = None
    description: Text | None = None
    is_active: bool = False
    is_archived: bool = False
    kind: Literal["release", "experiment", "operational", "kill_switch", "permission"] = "release"
    value_type: Literal["boolean", "string", "integer", "float", "object"] = "boolean"
    off_value: Any = None
    rollout_percent: Percent = 100
    stickiness: Stickiness = "default"
    group_id: Group = ""
    exposed: bool = True
    is_protected: bool = False
    impression_data: bool = False
    owner: Annotated[Text, StringConstraints(max_length=100)] = ""
    tags: list[TagName] = []
    review_on: Annotated[date, Field(strict=False)] | None = None
    rules: Annotated[list[Rule], Field(max_length=MAX_RULES)] = []
    variants: Annotated[list[Variant], Field(max_length=MAX_VARIANTS)] = []
    prerequisites: list[Prerequisite] = []
    targets: Targets = Targets()


class SegmentDocument(_Part):
    name: SegmentName
    description: Text = ""
    constraints: list[Constraint] = []


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
DEFINITION = tuple(name for name in Flag.model_fields if name not in {*COLUMNS, "is_archived"})
_NO_RULE = Rule().model_dump()
_NO_VARIANT = {"weight": 1, "payload": None, "written_as": None}


def checked(document: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Document:
    """The document with every member filled in; InvalidFlag names all places where it is wrong.

    What SDKs read in two ways is refused, too, unless `stored`, the document before, holds the same: rules that are
    newer than a flag must not keep anybody from switching it.
    """
    flag = _parsed(Flag, document)
    for rule in flag.rules:
        rule.constraints = [_shared(constraint) for constraint in rule.constraints]
    new = _new(ambiguities(flag.model_dump(exclude_none=True)), ambiguities(stored or {}))
    if problems := [*_flag_problems(flag), *new]:
        raise InvalidFlag(problems)
    return _normal(flag)


def checked_segment(document: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Document:
    """The same for a segment: `name`, `description`, `constraints`."""
    segment = _parsed(SegmentDocument, document)
    segment.constraints = [_shared(constraint) for constraint in segment.constraints]
    found = {**segment.model_dump(), "constraints": [_plain(constraint) for constraint in segment.constraints]}
    new = _new(ambiguities(found), ambiguities(stored or {}))
    if problems := [*_constraint_problems(segment.constraints, ()), *new]:
        raise InvalidFlag(problems)
    return found


class Ambiguity(NamedTuple):
    """What SDKs that evaluate for themselves read in two ways: where, why, and the part itself, wherever it stands."""

    place: Place
    message: str
    part: Any


def ambiguities(document: Mapping[str, Any]) -> Iterator[Ambiguity]:
    """All of a flag's or a segment's own document, as it is served."""
    yield from _two_readings(document.get("constraints"), ())
    yield from _two_places(document, ())
    for number, rule in enumerate(document.get("rules") or []):
        yield from _two_readings(rule["constraints"], ("rules", number))
        yield from _two_places(rule, ("rules", number))
    for state, identifiers in (document.get("targets") or {}).items():
        for identifier in identifiers:
            if problem := validation.identifier_problem(identifier):
                yield Ambiguity(("targets", state), f"{identifier}: {problem}", identifier)
    for number, prerequisite in enumerate(document.get("prerequisites") or []):
        if prerequisite["variants"] and not prerequisite["required"]:
            message = "Clients disagree about the variant of a flag that has to be off: leave it out."
            yield Ambiguity(("prerequisites", number, "variants"), message, prerequisite)


def _two_readings(constraints: object, place: Place) -> Iterator[Ambiguity]:
    for number, constraint in enumerate(readable(constraints)):
        for key, message in validation.disagreements(wire_constraint(constraint)):
            yield Ambiguity((*place, "constraints", number, _OURS.get(key, key)), message, constraint)


def _two_places(part: Mapping[str, Any], place: Place) -> Iterator[Ambiguity]:
    """Of the percentage of a flag or a rule."""
    for key, problem_of in (("stickiness", validation.stickiness_problem), ("group_id", validation.group_problem)):
        if problem := problem_of(part.get(key) or ""):
            yield Ambiguity((*place, key), problem, {key: part[key]})


def _new(found: Iterable[Ambiguity], stored: Iterable[Ambiguity]) -> Iterator[Problem]:
    known = [ambiguity.part for ambiguity in stored]
    return (Problem(ambiguity.place, ambiguity.message) for ambiguity in found if ambiguity.part not in known)


def readable(constraints: object) -> list[Document]:
    """Those of the right shape: what was written past the verbs is for others to report."""
    parts = constraints if isinstance(constraints, list) else []
    return [part for part in parts if isinstance(part, dict) and {"field", "operator"} <= part.keys()]


def _shared(constraint: Constraint) -> Constraint:
    """As it is saved: in the form that SDKs read alike, where it has one."""
    wire = wire_constraint(_plain(constraint))
    return constraint.model_copy(update={key: wire[key] for key in ("values", "value") if getattr(constraint, key)})


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    """`{member: [before, after]}` of what differs."""
    keys = [*before, *(key for key in after if key not in before)]
    return {key: [before.get(key), after.get(key)] for key in keys if before.get(key) != after.get(key)}


def _parsed(model: type[Model], document: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InvalidFlag([_problem(found) for found in error.errors(include_url=False)]) from None


def _problem(found: Any) -> Problem:
    message = str(found["msg"]).removeprefix("Value error, ")
    return Problem(tuple(found["loc"]), message[:1].upper() + message[1:].rstrip(".") + ".")


def _flag_problems(flag: Flag) -> Iterator[Problem]:
    if flag.is_active and flag.is_archived:
        yield Problem(("is_active",), "An archived flag is off.")
    yield from _value_problems(flag)
    yield from _variant_problems(flag.variants, ("variants",), flag.value_type)
    for number, rule in enumerate(flag.rules):
        place: Place = ("rules", number)
        yield from _constraint_problems(rule.constraints, place)
        yield from _variant_problems(rule.variants, (*place, "variants"), flag.value_type)
        yield from _twice(rule.segments, (*place, "segments"))
    yield from _twice(flag.tags, ("tags",))
    yield from _twice([*flag.targets.on, *flag.targets.off], ("targets",))
    yield from _twice([prerequisite.parent for prerequisite in flag.prerequisites], ("prerequisites",))
    for number, prerequisite in enumerate(flag.prerequisites):
        if prerequisite.parent == flag.codename:
            yield Problem(("prerequisites", number, "parent"), "A flag cannot require itself.")


def _value_problems(flag: Flag) -> Iterator[Problem]:
    if flag.value_type == "boolean":
        if flag.off_value is not None:
            yield Problem(("off_value",), "A boolean flag is false when off; leave this empty.")
        return
    if flag.off_value is not None and (problem := payload_problem(flag.off_value, flag.value_type)):
        yield Problem(("off_value",), problem)
    if flag.is_active and not flag.variants and not any(rule.variants for rule in flag.rules):
        yield Problem(("is_active",), f"A flag of type {flag.value_type} needs a variant before it can be switched on.")


def _variant_problems(variants: Sequence[Variant], place: Place, value_type: str) -> Iterator[Problem]:
    yield from _twice([variant.name for variant in variants], place)
    for number, variant in enumerate(variants):
        if variant.name == "disabled":
            yield Problem((*place, number, "name"), "“disabled” is what clients call having no variant.")
        if value_type == "boolean":
            if variant.payload is not None or variant.written_as:
                yield Problem((*place, number, "payload"), "Variants of a boolean flag carry no payload.")
        elif variant.payload is not None and (problem := payload_problem(variant.payload, value_type)):
            yield Problem((*place, number, "payload"), problem)
        elif variant.written_as and not _spells(variant.written_as, variant.payload, value_type):
            yield Problem((*place, number, "written_as"), "This does not say what the payload says.")


def _spells(spelling: Spelling, payload: Any, value_type: str) -> bool:
    # Texts may be of any type that a client knows: csv, or numbers beyond what JSON readers keep.
    if value_type != "string" and spelling.type != PAYLOAD_TYPES[value_type]:
        return False
    try:
        return bool(read_payload(spelling.value, value_type) == payload)
    except ValueError:
        return False


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
        article = "an" if value_type[0] in "io" else "a"
        return f"This is not {article} {value_type}."
    is_clean = is_storable(value) if isinstance(value, str) else _is_clean(value) and not _is_deep(value)
    return "" if is_clean else "This holds what cannot be stored: a NUL, a lone surrogate, NaN, or too many levels."


def _is_clean(value: Any) -> bool:
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return not re.search(r"\\u(0000|d[89a-f]..)", re.sub(_PAIRS, "", text), re.IGNORECASE)


def _is_deep(value: Any) -> bool:
    """More levels than everybody on the way can read: pydantic stops at 255, some clients earlier."""
    level = [value]
    for _ in range(MAX_LEVELS):
        level = [
            inner
            for part in level
            if isinstance(part, (dict, list))
            for inner in (part.values() if isinstance(part, dict) else part)
        ]
        if not level:
            return False
    return True


# What json.dumps writes for characters beyond the basic plane, and for a backslash: neither is a fault.
_PAIRS = r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"


def _constraint_problems(constraints: Sequence[Constraint], place: Place) -> Iterator[Problem]:
    for number, constraint in enumerate(constraints):
        for key, message in constraint_problems(wire_constraint(_plain(constraint))):
            yield Problem((*place, "constraints", number, _OURS.get(key, key)), message)


def _twice(values: Sequence[str], place: Place) -> Iterator[Problem]:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            yield Problem(place, f"“{value}” stands there twice.")
        seen.add(value)


def _plain(constraint: Constraint) -> Document:
    """`values` or `value`, whichever was given: the other is left out. A domain has one spelling."""
    document = constraint.model_dump(exclude_none=True)
    if constraint.field == "emailDomain" and constraint.values:
        document["values"] = list(map(normal_domain, constraint.values))
    return document


def _normal(flag: Flag) -> Document:
    document = flag.model_dump(mode="json")
    document["label"], document["description"] = flag.label or None, flag.description or None
    document["group_id"] = flag.group_id or flag.codename
    document["tags"] = sorted(flag.tags)
    document["targets"] = {"on": sorted(flag.targets.on), "off": sorted(flag.targets.off)}
    document["prerequisites"].sort(key=lambda prerequisite: prerequisite["parent"])
    for rule, given in zip(document["rules"], flag.rules, strict=True):
        rule["group_id"] = given.group_id or document["group_id"]
        rule["constraints"] = [_plain(constraint) for constraint in given.constraints]
        rule["segments"] = sorted(given.segments)
    variants = [*document["variants"], *(variant for rule in document["rules"] for variant in rule["variants"])]
    if flag.value_type == "float":
        _as_floats(document, variants)
    for variant in variants:
        # The keys of an object come back from a database in another order: only its spelling keeps them.
        if flag.value_type not in {"boolean", "object"} and variant["payload"] is not None:
            is_ours = variant["written_as"] == wire_payload(variant["payload"], flag.value_type)
            variant["written_as"] = None if is_ours else variant["written_as"]
    return document


def _as_floats(document: Document, variants: Sequence[Document]) -> None:
    """5 is stored as 5.0, so that clients in every language get the same type."""
    for variant in variants:
        if variant["payload"] is not None:
            variant["payload"] = float(variant["payload"])
    if document["off_value"] is not None:
        document["off_value"] = float(document["off_value"])


#: A flag with all defaults.
BLANK = checked({"codename": "BLANK"})
_NO_DEFINITION = {name: BLANK[name] for name in DEFINITION} | {"group_id": ""}


def join(row: Mapping[str, Any]) -> Document:
    """The document of a stored row, given COLUMNS, `archived_at` and `definition`, in the order of `Flag`."""
    review_on = row["review_on"].isoformat() if row["review_on"] else None
    found = {
        **_complete(row["definition"]),
        **{name: row[name] for name in COLUMNS},
        "is_archived": row["archived_at"] is not None,
        "review_on": review_on,
    }
    return {name: found[name] for name in Flag.model_fields}


def _complete(definition: Any) -> Document:
    """With the members that it was stored without. What was written past the services in another shape breaks the flag.

    Readers can rely on the shape of everything but constraints, which have always been free JSON.
    """
    try:
        found: Document = {**_NO_DEFINITION, **definition}
        found["rules"] = [{**_NO_RULE, **rule} for rule in found["rules"]]
        found["targets"] = {state: list(found["targets"].get(state, ())) for state in ("on", "off")}
        for part in (found, *found["rules"]):
            part["variants"] = [{**_NO_VARIANT, **variant} for variant in part["variants"]]
        return found
    except (AttributeError, TypeError):
        return {**_NO_DEFINITION, "rules": [{**_NO_RULE, "constraints": [definition]}]}
