"""The forms and the text of one type in one language, as staff read and write it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

from django import forms
from django.utils.translation import get_language_info

from notifications.models import TemplateOverride
from notifications.registry import NotificationType
from notifications.rendering import engines, overriding
from notifications.services import overrides


@dataclass(frozen=True)
class LocalizedTemplate:
    """A type in a language, and the versions of staff that are in use."""

    kind: NotificationType
    language: str
    active: Mapping[str, overriding.Override]

    @cached_property
    def trouble(self) -> dict[str, str]:
        return overrides.trouble(self.kind, self.language, self.active)

    @property
    def language_name(self) -> str:
        return language_name(self.language)

    @property
    def seen(self) -> str:
        return json.dumps({part: self.active[part].id if part in self.active else None for part in overrides.PARTS})

    @property
    def title(self) -> str:
        return f"{self.kind.label}, {self.language_name}"

    def file(self, part: str) -> str:
        return engines.source(self.kind, part, self.language)

    def body(self, part: str) -> str:
        return self.active[part].body if part in self.active else self.file(part)

    def states(self) -> list[dict[str, str]]:
        """A line for each part that is not the file's."""
        return [
            {"part": part, "label": part_label(part), "why": self.trouble.get(part, "")}
            for part in overrides.PARTS
            if part in self.active
        ]


def _note_field() -> forms.CharField:
    return forms.CharField(
        label="Reason",
        max_length=overrides.NOTE_LIMIT,
        help_text="It stays in the history.",
        error_messages={"required": "Say why."},
        widget=forms.TextInput({"class": "vTextField", "autocomplete": "off"}),
    )


class TemplateForm(forms.Form):
    """The three parts together: a link of the HTML must stand in the text as well."""

    use_required_attribute = False
    subject = forms.CharField(strip=False, widget=forms.Textarea({"rows": 2}))
    text = forms.CharField(strip=False, widget=forms.Textarea({"rows": 16}))
    html = forms.CharField(label="HTML", strip=False, widget=forms.Textarea({"rows": 24}))
    note = _note_field()
    seen = forms.CharField(required=False, max_length=500, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in overrides.PARTS:
            self.fields[part].error_messages["required"] = "It must not be empty."
            self.fields[part].widget.attrs |= {"class": "vLargeTextField code", "spellcheck": "false"}

    def clean_seen(self) -> dict[str, int | None]:
        try:
            given = json.loads(self.cleaned_data["seen"])
            return {part: given[part] for part in overrides.PARTS}
        except (ValueError, TypeError, LookupError):
            raise forms.ValidationError("Open the page again: this form is not ours.") from None

    @property
    def bodies(self) -> dict[str, str]:
        return {part: self.cleaned_data[part] for part in overrides.PARTS if part in self.cleaned_data}


class NoteForm(forms.Form):
    note = _note_field()


def part_label(part: str) -> str:
    return str(TemplateOverride.Part(part).label)


def language_name(code: str) -> str:
    try:
        return str(get_language_info(code)["name"])
    except KeyError:
        return code


def labels(parts: list[str]) -> str:
    return ", ".join(part_label(part) for part in parts)


def differences(before: str, after: str) -> list[dict[str, str]]:
    """Lines with their kind: `gone`, `new`, `same` or `place`."""
    kinds = {"-": "gone", "+": "new", " ": "same", "@": "place"}
    lines = difflib.unified_diff(before.strip("\n").split("\n"), after.strip("\n").split("\n"), lineterm="", n=2)
    # The first two name files.
    return [{"kind": kinds[line[0]], "text": line} for line in islice(lines, 2, None)]
