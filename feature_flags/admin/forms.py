"""What the pages of flags and segments ask for, and how it stands in a field.

All that is stored survives a save without changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from feature_flags import names
from feature_flags.admin.nested_forms import PartForm, Shape
from feature_flags.engine.constraints import BY_NAME, OPERATORS
from feature_flags.flag_document import Document
from feature_flags.models import FeatureFlag

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
_GROUPS = {
    _("Text"): ("list", "text"),
    _("Number"): ("number",),
    _("Date"): ("date",),
    _("Version"): ("semver",),
    _("Pattern"): ("regex",),
    _("Network"): ("cidr",),
}
_OPERATORS = [
    (group, [(operator.name, _(operator.label)) for operator in OPERATORS if operator.kind in kinds])
    for group, kinds in _GROUPS.items()
]


def _text(size: int = 20, *, offers: str = "", **options: Any) -> forms.CharField:
    """A short field of a row, with what the list of this name offers; the services judge what is in it."""
    attributes = {"size": size, "spellcheck": "false", "autocomplete": "off", **({"list": offers} if offers else {})}
    return forms.CharField(required=False, widget=forms.TextInput(attributes), **options)


def _area(**options: Any) -> forms.CharField:
    """The same of two lines, where blanks matter."""
    widget = forms.Textarea({"rows": 2, "cols": 30, "spellcheck": "false"})
    return forms.CharField(required=False, strip=False, widget=widget, **options)


def _wide(rows: int = 0, *, required: bool = False, spellcheck: bool = True, **options: Any) -> forms.CharField:
    """A field as wide as the page."""
    spelled = {} if spellcheck else {"spellcheck": "false"}
    area = forms.Textarea({"class": "vLargeTextField", "rows": rows, **spelled})
    widget = area if rows else forms.TextInput({"class": "vTextField"})
    return forms.CharField(required=required, widget=widget, **options)


class _PlacedForm(PartForm):
    """A flag or a rule: a share of people, and what places them in it."""

    rollout_percent = forms.IntegerField(min_value=0, max_value=100, label=_("Rollout, %"), initial=100)
    stickiness = _text(offers="flag-stickiness", label=_("Placed by"), initial="default")

    def part(self, value_type: str) -> Document:
        return {**self.cleaned_data, "stickiness": self.cleaned_data["stickiness"] or "default"}


# --- Rows -------------------------------------------------------------------------------------------------------------


class ConstraintForm(PartForm):
    field = _text(16, offers="flag-fields", strip=False, label=_("Field"))
    operator = forms.CharField(
        required=False, label=_("Operator"), widget=forms.Select(choices=_OPERATORS), initial=OPERATORS[0].name
    )
    values = _area(label=_("Values"), help_text=_("One per line, or between commas; one for >, <, patterns."))
    inverted = forms.BooleanField(required=False, label=_("not"))
    case_insensitive = forms.BooleanField(required=False, label=_("ignore case"))
    aliases = {"value": "values"}
    first = "field"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        text = part.get("value")
        if text is None:
            values = list(part.get("values") or ())
            text = "\n".join(values)
            if read_values(text) != values:
                # A single comma, blanks and line breaks come back only as JSON.
                text = json.dumps(values, ensure_ascii=False)
        return {**super().draw(part), "values": text}

    def part(self, value_type: str) -> Document:
        given = dict(self.cleaned_data)
        text = given.pop("values")
        operator = BY_NAME.get(given["operator"])
        if operator is None or operator.many:
            return {**given, "values": read_values(text)}
        # A value as it was typed: patterns may begin and end with blanks.
        return {**given, "value": text.removesuffix("\n")}


class VariantForm(PartForm):
    name = _text(16, label=_("Name"))
    weight = forms.IntegerField(
        label=_("Weight"), min_value=1, max_value=1000, widget=forms.NumberInput({"min": 1, "max": 1000}), initial=1
    )
    payload = _area(label=_("Payload"), help_text=_("Its value, of the flag's type; empty for boolean flags."))
    # The payload as it is stored: kept to the letter while its text is left as it is.
    stored = forms.CharField(required=False, strip=False, widget=forms.HiddenInput)
    aliases = {"written_as": "payload"}
    first = "name"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        # What the text alone does not say: how the payload is spelled, or that there is none.
        is_plain = "payload" not in part or (part["payload"] is not None and not part.get("written_as"))
        stored = "" if is_plain else json.dumps({key: part.get(key) for key in ("payload", "written_as")})
        return {**super().draw(part), "payload": _variant_text(part), "stored": stored}

    def part(self, value_type: str) -> Document:
        given = dict(self.cleaned_data)
        text, stored = given["payload"], given.pop("stored")
        if value_type == "boolean":
            # Refused if there is any; an empty field is none.
            return {**given, "payload": text or None}
        try:
            variant = json.loads(stored)
            if re.sub("\r\n?", "\n", _variant_text(variant)) == text:
                return {**given, "payload": variant["payload"], "written_as": variant["written_as"]}
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            pass  # Nothing to keep; the field is hidden, but not out of reach.
        value = read_payload(text, value_type)
        # An empty field is refused as a value of no type: it may have been forgotten.
        return {**given, "payload": text if value is None else value}


class RuleForm(_PlacedForm):
    label = _text(24, max_length=200, label=_("Label"))
    is_enabled = forms.BooleanField(required=False, label=_("enabled"), initial=True)
    # Frozen when the rule was made, so it travels with it.
    group_id = forms.CharField(required=False, widget=forms.HiddenInput)
    segments = forms.MultipleChoiceField(required=False, label=_("Segments"), widget=forms.CheckboxSelectMultiple)
    first = "label"

    def offer(self, options: Mapping[str, Any]) -> None:
        chosen = [(name, name) for name in options["segments"]]
        self.fields["segments"].widget.choices = chosen
        self.fields["segments"].choices = chosen  # type: ignore[attr-defined]


class PrerequisiteForm(PartForm):
    parent = _text(24, offers="flag-parents", label=_("flag"))
    required = forms.ChoiceField(choices=(("on", _("must be on")), ("off", _("must be off"))), label=_("state"))
    variants = _text(24, label=_("with variant"), help_text=_("Names between commas; empty for any."))
    first = "parent"

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        state, variants = "on" if part.get("required", True) else "off", ", ".join(part.get("variants") or ())
        return {**super().draw(part), "required": state, "variants": variants}

    def part(self, value_type: str) -> Document:
        given = self.cleaned_data
        return {**given, "required": given["required"] == "on", "variants": read_names(given["variants"])}


# --- Pages ------------------------------------------------------------------------------------------------------------


def _help(name: str) -> Any:
    return getattr(FeatureFlag._meta.get_field(name), "help_text", "")


class FlagForm(_PlacedForm):
    label = _wide(max_length=200, label=_("Label"))
    description = _wide(rows=3, label=_("Description"))
    targets_on = _wide(
        rows=4,
        spellcheck=False,
        label=_("Always on"),
        help_text=_("User ids, one per line; they get the flag whatever the rules say."),
    )
    targets_off = _wide(
        rows=4,
        spellcheck=False,
        label=_("Always off"),
        help_text=_("User ids, one per line; they never get it by a rule or a percentage."),
    )
    value_type = forms.ChoiceField(label=_("Value type"), choices=FeatureFlag.ValueType.choices, initial="boolean")
    off_value = _wide(
        rows=2,
        strip=False,
        label=_("Value when off"),
        help_text=_("Of the flag's type; empty: everyone draws by a value of their own. Not for boolean flags."),
    )
    kind = forms.ChoiceField(
        label=_("Kind"),
        choices=FeatureFlag.Kind.choices,
        initial="release",
        help_text=_("Its expected life: release and experiment 40 days, operational 7, the others for good."),
    )
    owner = _wide(max_length=100, label=_("Owner"))
    tags = _wide(label=_("Tags"), help_text=_("Between commas."))
    review_on = forms.DateField(
        required=False, label=_("Review on"), widget=forms.DateInput({"type": "date"}, format="%Y-%m-%d")
    )
    exposed = forms.BooleanField(required=False, label=_("Exposed"), help_text=_help("exposed"), initial=True)
    is_protected = forms.BooleanField(required=False, label=_("Protected"), help_text=_help("is_protected"))
    impression_data = forms.BooleanField(
        required=False, label=_("Impression data"), help_text=_("Tells Unleash clients to report each use of the flag.")
    )

    aliases = {"targets": "targets_on", "targets.on": "targets_on", "targets.off": "targets_off"}

    @classmethod
    def draw(cls, part: Mapping[str, Any]) -> dict[str, Any]:
        targets = part.get("targets") or {}
        return {
            **super().draw(part),
            "targets_on": "\n".join(targets.get("on", ())),
            "targets_off": "\n".join(targets.get("off", ())),
            "off_value": _payload_text(part.get("off_value")),
            "tags": ", ".join(part.get("tags") or ()),
        }

    def part(self, value_type: str) -> Document:
        given = super().part(value_type)
        on, off = read_names(given.pop("targets_on")), read_names(given.pop("targets_off"))
        review_on, off_value = given["review_on"], given["off_value"]
        return {
            **given,
            "label": given["label"] or None,
            "description": given["description"] or None,
            "targets": {"on": sorted(on), "off": sorted(off)},
            "tags": sorted(read_names(given["tags"])),
            "review_on": review_on.isoformat() if review_on else None,
            "off_value": read_payload(off_value, value_type) if off_value else None,
        }


class NewFlagForm(FlagForm):
    codename = _wide(label=_("Codename"), required=True, max_length=names.MAX_LENGTH, help_text=_help("codename"))
    field_order = ("codename",)
    first = "codename"

    def part(self, value_type: str) -> Document:
        given = super().part(value_type)
        if not given["is_protected"]:
            # Not asked for: the kind decides.
            del given["is_protected"]
        return given


class SegmentForm(PartForm):
    description = _wide(rows=3, label=_("Description"))


class NewSegmentForm(SegmentForm):
    name = _wide(
        label=_("Name"),
        required=True,
        max_length=100,
        help_text=_("What rules and exports call it; it does not change later."),
    )
    field_order = ("name",)
    first = "name"


_CONSTRAINT, _VARIANT = Shape(ConstraintForm), Shape(VariantForm)
_FLAG_LISTS = {
    "rules": Shape(RuleForm, {"constraints": _CONSTRAINT, "variants": _VARIANT}),
    "variants": _VARIANT,
    "prerequisites": Shape(PrerequisiteForm),
}
FLAG, NEW_FLAG = Shape(FlagForm, _FLAG_LISTS), Shape(NewFlagForm, _FLAG_LISTS)
SEGMENT = Shape(SegmentForm, {"constraints": _CONSTRAINT})
NEW_SEGMENT = Shape(NewSegmentForm, {"constraints": _CONSTRAINT})


# --- Lists and payloads as the text of a field, and back --------------------------------------------------------------


def read_names(text: str) -> list[str]:
    """One name per line or between commas, without the blanks around them."""
    return [name for part in text.replace(",", "\n").splitlines() if (name := part.strip())]


def read_values(text: str) -> list[str]:
    """One value per line; in a single line, between commas; or a JSON list of texts."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, list) and all(isinstance(value, str) for value in found):
            return found
    parts = text.split("\n") if "\n" in text else text.split(",")
    return [value for part in parts if (value := part.strip())]


def read_payload(text: str, value_type: str) -> Any:
    """The value of a declared type; a text that is none comes back as it is, and is refused as such later."""
    if value_type == "string":
        return text
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _payload_text(payload: Any) -> str:
    if payload is None or isinstance(payload, str):
        return payload or ""
    return json.dumps(payload, ensure_ascii=False)


def _variant_text(variant: Mapping[str, Any]) -> str:
    """The payload of a variant, spelled as where it came from."""
    written = variant.get("written_as")
    return str(written["value"]) if written else _payload_text(variant.get("payload"))
