"""The pages' own fields: a flag, a segment; and what a new one needs beyond them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from feature_flags import names
from feature_flags.admin import texts
from feature_flags.admin.parts import CONSTRAINT, RULE, VARIANT, PrerequisiteForm, percent, stickiness
from feature_flags.admin.tree import PartForm, Shape
from feature_flags.flag_document import Document
from feature_flags.models import FeatureFlag

_TEXT = {"class": "vTextField"}
_LARGE = {"class": "vLargeTextField", "rows": 3}


def _help(name: str) -> str:
    return str(getattr(FeatureFlag._meta.get_field(name), "help_text", ""))


def _lines(label: str, help_text: str) -> forms.CharField:
    area = forms.Textarea({"class": "vLargeTextField", "rows": 4, "spellcheck": "false"})
    return forms.CharField(required=False, label=label, help_text=help_text, widget=area)


class FlagForm(PartForm):
    label = forms.CharField(required=False, max_length=200, widget=forms.TextInput(_TEXT))
    description = forms.CharField(required=False, widget=forms.Textarea(_LARGE))
    rollout_percent = percent()
    stickiness = stickiness()
    targets_on = _lines("Always on", "User ids, one per line; they get the flag whatever the rules say.")
    targets_off = _lines("Always off", "User ids, one per line; they never get it by a rule or a percentage.")
    value_type = forms.ChoiceField(choices=FeatureFlag.ValueType.choices)
    off_value = forms.CharField(
        required=False,
        strip=False,
        label="Value when off",
        help_text="Of the flag's type; empty: whoever asks uses a value of their own. Not for boolean flags.",
        widget=forms.Textarea({**_LARGE, "rows": 2}),
    )
    kind = forms.ChoiceField(
        choices=FeatureFlag.Kind.choices,
        help_text="Its expected life: release and experiment 40 days, operational 7, the others for good.",
    )
    owner = forms.CharField(required=False, max_length=100, widget=forms.TextInput(_TEXT))
    tags = forms.CharField(required=False, widget=forms.TextInput(_TEXT), help_text="Between commas.")
    review_on = forms.DateField(required=False, widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d"))
    exposed = forms.BooleanField(required=False, help_text=_help("exposed"))
    is_protected = forms.BooleanField(required=False, label="Protected", help_text=_help("is_protected"))
    impression_data = forms.BooleanField(
        required=False, help_text="Tells Unleash clients to report each use of the flag."
    )

    aliases = {"targets": "targets_on", "targets.on": "targets_on", "targets.off": "targets_off"}

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        targets = part.get("targets") or {}
        return {
            "label": part.get("label") or "",
            "description": part.get("description") or "",
            "rollout_percent": part.get("rollout_percent", 100),
            "stickiness": part.get("stickiness", "default"),
            "targets_on": "\n".join(targets.get("on", ())),
            "targets_off": "\n".join(targets.get("off", ())),
            "value_type": part.get("value_type", "boolean"),
            "off_value": texts.payload_text(part.get("off_value")),
            "kind": part.get("kind", "release"),
            "owner": part.get("owner", ""),
            "tags": ", ".join(part.get("tags") or ()),
            "review_on": part.get("review_on") or "",
            "exposed": part.get("exposed", True),
            "is_protected": part.get("is_protected", False),
            "impression_data": part.get("impression_data", False),
        }

    def part(self, value_type: str) -> Document:
        given = dict(self.cleaned_data)
        on, off = texts.lines(given.pop("targets_on")), texts.lines(given.pop("targets_off"))
        review_on, off_value = given["review_on"], given["off_value"]
        return {
            **given,
            "label": given["label"] or None,
            "description": given["description"] or None,
            "stickiness": given["stickiness"] or "default",
            "targets": {"on": sorted(on), "off": sorted(off)},
            "tags": sorted(texts.lines(given["tags"])),
            "review_on": review_on.isoformat() if review_on else None,
            "off_value": texts.read_payload(off_value, value_type) if off_value else None,
        }


class NewFlagForm(FlagForm):
    codename = forms.CharField(max_length=names.MAX_LENGTH, help_text=_help("codename"), widget=forms.TextInput(_TEXT))
    field_order = ("codename",)
    first = "codename"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().draw(part), "codename": part.get("codename", "")}


class SegmentForm(PartForm):
    description = forms.CharField(required=False, widget=forms.Textarea(_LARGE))


class NewSegmentForm(SegmentForm):
    name = forms.CharField(
        max_length=100,
        help_text="What rules and exports call it; it does not change later.",
        widget=forms.TextInput(_TEXT),
    )
    field_order = ("name",)
    first = "name"


_FLAG_LISTS = {"rules": RULE, "variants": VARIANT, "prerequisites": Shape(PrerequisiteForm)}
FLAG, NEW_FLAG = Shape(FlagForm, _FLAG_LISTS), Shape(NewFlagForm, _FLAG_LISTS)
SEGMENT = Shape(SegmentForm, {"constraints": CONSTRAINT})
NEW_SEGMENT = Shape(NewSegmentForm, {"constraints": CONSTRAINT})
