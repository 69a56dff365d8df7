"""The words of a mail on its page: what is typed, what a version changed, what was there before."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice, zip_longest
from typing import Any, ClassVar

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from lib.admin.fields import reason_field
from notifications.models import TemplateOverride
from notifications.registry import NotificationType
from notifications.rendering import engines, words
from notifications.rendering.words import Words
from notifications.services import overrides

#: Of these the list of versions shows what they changed.
_EXPLAINED = 10
#: Longer paragraphs are compared as a whole.
_COMPARED = 5_000


def part_label(part: str) -> str:
    return str(TemplateOverride.Part(part).label)


# --- What changed -----------------------------------------------------------------------------------------------------


def compared(kind: NotificationType, language: str, before: Mapping[str, str], after: Mapping[str, str]) -> Any:
    """From these bodies in place of the files to those: `paragraphs` where both are Words, else `parts` with lines."""
    old, new = words.read(kind, language, before), words.read(kind, language, after)
    if old and new:
        return {"paragraphs": list(paragraph_changes(old, new))}

    def body(bodies: Mapping[str, str], part: str) -> str:
        return bodies[part] if part in bodies else engines.source(kind, part, language)

    parts = [(part_label(part), differences(body(before, part), body(after, part))) for part in overrides.PARTS]
    return {"parts": [{"label": label, "lines": lines} for label, lines in parts if lines]}


def differences(before: str, after: str) -> list[dict[str, str]]:
    """Lines with their kind: `gone`, `new`, `same` or `place`."""
    kinds = {"-": "gone", "+": "new", " ": "same", "@": "place"}
    lines = difflib.unified_diff(before.strip("\n").split("\n"), after.strip("\n").split("\n"), lineterm="", n=2)
    # The first two name files.
    return [{"kind": kinds[line[0]], "text": line} for line in islice(lines, 2, None)]


def paragraph_changes(before: Words, after: Words) -> Iterator[list[tuple[str, str]]]:
    """Each paragraph as pieces of text with their kind: `gone`, `new` or `same`. The subject is the first."""
    old, new = ([f"{gettext('Subject')}: {each.subject}", *each.paragraphs] for each in (before, after))
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        for gone, come in zip_longest(old[i1:i2], new[j1:j2], fillvalue=""):
            if tag == "equal":
                yield [("same", come)]
            elif gone and come and len(gone) + len(come) < _COMPARED:
                yield list(_pieces(gone, come))
            else:
                yield [each for each in (("gone", gone), ("new", come)) if each[1]]


def _pieces(before: str, after: str) -> Iterator[tuple[str, str]]:
    old, new = (re.findall(r"\{\{ \w+ \}\}|\w+|\s+|.", text) for text in (before, after))
    for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield "same", "".join(new[j1:j2])
            continue
        if i1 < i2:
            yield "gone", "".join(old[i1:i2])
        if j1 < j2:
            yield "new", "".join(new[j1:j2])


# --- Versions ---------------------------------------------------------------------------------------------------------


@dataclass
class Version:
    """What was saved at one moment: the parts that were not the file's."""

    rows: list[TemplateOverride]
    is_in_use: bool
    changes: Any = None

    @property
    def first(self) -> TemplateOverride:
        return self.rows[0]

    @property
    def bodies(self) -> dict[str, str]:
        return {row.part: row.body for row in self.rows}


def versions(kind: NotificationType, language: str, in_use: set[int], limit: int) -> tuple[list[Version], bool]:
    """The newest first, from as many rows; and whether there are more."""
    rows = list(overrides.versions(kind, language).order_by("-pk").select_related("edited_by")[: limit + 1])
    saved = [list(group) for _at, group in groupby(rows[:limit], key=lambda row: row.created_at)]
    found = [Version(group, {row.pk for row in group} == in_use) for group in saved]
    for n, version in enumerate(found[:_EXPLAINED]):
        before = found[n + 1].bodies if n + 1 < len(found) else {}
        version.changes = compared(kind, language, before, version.bodies)
    return found, len(rows) > limit


# --- The forms --------------------------------------------------------------------------------------------------------

_EMPTY = {"required": _("It must not be empty.")}


class _Form(forms.Form):
    """What is typed, the reason, and which versions the page was made of."""

    use_required_attribute = False
    note = reason_field()
    seen = forms.CharField(required=False, max_length=500, widget=forms.HiddenInput)
    #: The fields that hold words of the mail.
    written: ClassVar[tuple[str, ...]]

    def clean_seen(self) -> dict[str, int | None]:
        try:
            given = json.loads(self.cleaned_data["seen"])
            return {part: given[part] for part in overrides.PARTS}
        except (ValueError, TypeError, LookupError):
            raise forms.ValidationError(_("Open the page again: this form is not ours.")) from None

    def bodies(self, kind: NotificationType, language: str) -> dict[str, str]:
        """The template of each part. Raises: InvalidTemplate."""
        raise NotImplementedError

    def by_field(self, problems: Mapping[str, list[str]]) -> dict[str, list[str]]:
        """The problems of an InvalidTemplate by the field where each is to be mended, none twice."""
        found: dict[str, list[str]] = {}
        for part, texts in problems.items():
            field = part if part in self.written else self.written[-1]
            found[field] = list(dict.fromkeys([*found.get(field, []), *texts]))
        return found


class WordsForm(_Form):
    """Both parts at once, as paragraphs."""

    written = ("subject", "words")
    subject = forms.CharField(
        label=_("Subject"),
        error_messages=_EMPTY,
        widget=forms.TextInput({"class": "vTextField", "autocomplete": "off"}),
    )
    words = forms.CharField(
        label=_("Text"),
        error_messages=_EMPTY,
        help_text=_(
            "A blank line begins a new paragraph. A link alone in its paragraph becomes a button, with words of your"
            " own as in [Sign in]({{ login_url }}); a code alone becomes a box."
        ),
        widget=forms.Textarea({"rows": 20, "class": "vLargeTextField", "aria-describedby": "words_words_helptext"}),
    )
    field_order = ("subject", "words", "note")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # The form below it has fields of the same names.
        super().__init__(*args, **{"auto_id": "words_%s", **kwargs})

    def bodies(self, kind: NotificationType, language: str) -> dict[str, str]:
        typed = Words.typed(self.cleaned_data["subject"], self.cleaned_data["words"])
        return overrides.bodies_of(kind, language, typed)


class SourceForm(_Form):
    """The three parts together: a link of the HTML must stand in the text as well."""

    written = overrides.PARTS
    subject = forms.CharField(label=_("Subject"), strip=False, widget=forms.Textarea({"rows": 2}))
    text = forms.CharField(label=_("Text"), strip=False, widget=forms.Textarea({"rows": 16}))
    html = forms.CharField(label="HTML", strip=False, widget=forms.Textarea({"rows": 24}))

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in self.written:
            self.fields[part].error_messages |= _EMPTY
            self.fields[part].widget.attrs |= {"class": "vLargeTextField code", "spellcheck": "false"}

    def bodies(self, kind: NotificationType, language: str) -> dict[str, str]:
        return {part: self.cleaned_data[part] for part in self.written if part in self.cleaned_data}
