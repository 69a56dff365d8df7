"""The rows of the flag and segment pages: what a rule, a constraint, a variant, a prerequisite asks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from feature_flags.admin import texts
from feature_flags.admin.tree import PartForm, Shape
from feature_flags.engine.constraints import OPERATORS
from feature_flags.flag_document import Document

#: Offered while typing; any other name may stand in a context, too.
FIELDS = (
    "userId",
    "email",
    "emailDomain",
    "isStaff",
    "remoteAddress",
    "sessionId",
    "environment",
    "currentTime",
    "appName",
)
STICKINESS = ("default", "random", "userId", "sessionId", "email", "remoteAddress")
_KINDS = {
    "list": "Text",
    "text": "Text",
    "number": "Number",
    "date": "Date",
    "semver": "Version",
    "regex": "Pattern",
    "cidr": "Network",
}
_BY_NAME = {operator.name: operator for operator in OPERATORS}


def _operators() -> list[tuple[str, list[tuple[str, str]]]]:
    groups: dict[str, list[tuple[str, str]]] = {}
    for operator in OPERATORS:
        groups.setdefault(_KINDS[operator.kind], []).append((operator.name, operator.label))
    return list(groups.items())


def _text(size: int = 20, **attributes: str) -> forms.TextInput:
    return forms.TextInput({"size": size, "spellcheck": "false", "autocomplete": "off", **attributes})


def _area(rows: int = 2) -> forms.Textarea:
    return forms.Textarea({"rows": rows, "cols": 30, "spellcheck": "false"})


def percent(label: str = "Rollout, %") -> forms.IntegerField:
    return forms.IntegerField(min_value=0, max_value=100, label=label)


def stickiness() -> forms.CharField:
    return forms.CharField(required=False, label="Placed by", widget=_text(list="flag-stickiness"))


class ConstraintForm(PartForm):
    field = forms.CharField(required=False, strip=False, widget=_text(16, list="flag-fields"))
    operator = forms.CharField(required=False, widget=forms.Select(choices=_operators()))
    values = forms.CharField(
        required=False,
        strip=False,
        widget=_area(),
        help_text="One per line, or between commas; one for >, <, patterns.",
    )
    inverted = forms.BooleanField(required=False, label="not")
    case_insensitive = forms.BooleanField(required=False, label="ignore case")
    aliases = {"value": "values"}
    first = "field"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        value = part.get("value")
        text = texts.values_text(part.get("values") or ()) if value is None else value
        operator = part.get("operator", OPERATORS[0].name)
        return {**super().draw(part), "operator": operator, "values": text}

    def part(self, value_type: str) -> Document:
        given = dict(self.cleaned_data)
        text = given.pop("values")
        operator = _BY_NAME.get(given["operator"])
        if operator is None or operator.many:
            return {**given, "values": texts.read_values(text)}
        return {**given, "value": texts.one_line_break_less(text)}


class VariantForm(PartForm):
    name = forms.CharField(required=False, widget=_text(16))
    weight = forms.IntegerField(min_value=1, max_value=1000, widget=forms.NumberInput({"min": 1, "max": 1000}))
    payload = forms.CharField(
        required=False, strip=False, widget=_area(), help_text="Its value, of the flag's type; empty for boolean flags."
    )
    # The payload as it is stored: kept to the letter while its text is left as it is.
    stored = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    aliases = {"written_as": "payload"}
    first = "name"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "name": part.get("name", ""),
            "weight": part.get("weight", 1),
            "payload": texts.variant_text(part),
            "stored": texts.stored_payload(part),
        }

    def part(self, value_type: str) -> Document:
        given = dict(self.cleaned_data)
        stored = texts.read_stored(given.pop("stored"), given["payload"])
        if value_type == "boolean":
            # Refused if there is any; an empty field is none.
            return {**given, "payload": given["payload"] or None}
        if stored is not None:
            return {**given, **stored}
        value = texts.read_payload(given["payload"], value_type)
        # An empty field is refused as a value of no type: it may have been forgotten.
        return {**given, "payload": given["payload"] if value is None else value}


class RuleForm(PartForm):
    label = forms.CharField(required=False, max_length=200, widget=_text(24))
    is_enabled = forms.BooleanField(required=False, label="enabled")
    rollout_percent = percent()
    stickiness = stickiness()
    # Frozen when the rule was made, so it travels with it.
    group_id = forms.CharField(required=False, widget=forms.HiddenInput)
    segments = forms.MultipleChoiceField(required=False, widget=forms.CheckboxSelectMultiple)
    first = "label"

    def offer(self, options: Mapping[str, Any]) -> None:
        chosen = [(name, name) for name in options["segments"]]
        self.fields["segments"].widget.choices = chosen
        self.fields["segments"].choices = chosen  # type: ignore[attr-defined]

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "label": part.get("label", ""),
            "is_enabled": part.get("is_enabled", True),
            "rollout_percent": part.get("rollout_percent", 100),
            "stickiness": part.get("stickiness", "default"),
            "group_id": part.get("group_id", ""),
            "segments": list(part.get("segments") or ()),
        }

    def part(self, value_type: str) -> Document:
        return {**self.cleaned_data, "stickiness": self.cleaned_data["stickiness"] or "default"}


class PrerequisiteForm(PartForm):
    parent = forms.CharField(required=False, label="flag", widget=_text(24, list="flag-parents"))
    required = forms.ChoiceField(choices=(("on", "must be on"), ("off", "must be off")), label="state")
    variants = forms.CharField(
        required=False, widget=_text(24), label="with variant", help_text="Names between commas; empty for any."
    )
    first = "parent"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "parent": part.get("parent", ""),
            "required": "on" if part.get("required", True) else "off",
            "variants": ", ".join(part.get("variants") or ()),
        }

    def part(self, value_type: str) -> Document:
        given = self.cleaned_data
        return {**given, "required": given["required"] == "on", "variants": texts.lines(given["variants"])}


CONSTRAINT, VARIANT = Shape(ConstraintForm), Shape(VariantForm)
RULE = Shape(RuleForm, {"constraints": CONSTRAINT, "variants": VARIANT})
