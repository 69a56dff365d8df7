"""The parts of Unleash's client document. Keys that decide nothing here (project, stale, dates) are not looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.alias_generators import to_camel

from feature_flags.engine.constraints import OPERATORS
from feature_flags.flag_document import Document

_OPERATORS = {operator.name: operator for operator in OPERATORS}


class Part(BaseModel):
    # Servers add keys with every release; those that are known have to be what they should be.
    model_config = ConfigDict(extra="ignore", strict=True, alias_generator=to_camel)


class Constraint(Part):
    context_name: str
    operator: str
    values: list[str] | None = None
    value: str | None = None
    inverted: bool | None = None
    case_insensitive: bool | None = None


class Payload(Part):
    type: str
    value: str


class Variant(Part):
    name: str
    weight: int
    stickiness: str | None = None
    payload: Payload | None = None
    overrides: list[Any] | None = None


class Strategy(Part):
    name: str
    title: str | None = None
    disabled: bool | None = None
    parameters: dict[str, Any] | None = None
    constraints: list[Constraint] | None = None
    segments: list[int | str] | None = None
    variants: list[Variant] | None = None

    @field_validator("parameters")
    @classmethod
    def _as_texts(cls, parameters: dict[str, Any] | None) -> dict[str, Any]:
        """Old servers write percentages as numbers, and null for what is not set."""
        return {
            key: str(value) if type(value) in (int, float) else value
            for key, value in (parameters or {}).items()
            if value is not None
        }

    @property
    def is_plain(self) -> bool:
        """Nothing but its name and parameters."""
        return not (self.constraints or self.segments or self.variants or self.disabled or self.title)


class Dependency(Part):
    feature: str
    enabled: bool | None = None
    variants: list[str] | None = None


class Feature(Part):
    name: str
    enabled: bool
    type: str | None = None
    description: str | None = None
    impression_data: bool | None = None
    strategies: list[Strategy] | None = None
    variants: list[Variant] | None = None
    dependencies: list[Dependency] | None = None


class Segment(Part):
    id: int
    name: str | None = None
    constraints: list[Constraint] | None = None

    @property
    def called(self) -> str:
        return self.name or f"segment {self.id}"


def constraints(parts: Sequence[Constraint]) -> list[Document]:
    return [_constraint(part) for part in parts]


def _constraint(part: Constraint) -> Document:
    """Ours has `values` or `value`, and heeds case only where the operator does."""
    known = _OPERATORS.get(part.operator)
    ours: Document = {
        "field": part.context_name,
        "operator": part.operator,
        "inverted": bool(part.inverted),
        "case_insensitive": bool(part.case_insensitive and known and known.has_case),
    }
    if known is None or known.many:
        return {**ours, "values": part.values or []}
    value = part.value or ""
    # Blanks around a number, date or version are not looked at; in a pattern they are.
    return {**ours, "value": value if known.kind == "regex" else value.strip(" \t")}
