"""Why a person does or does not get a flag: one sentence, then the steps of the flag's own page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from feature_flags.admin.who import without_segments
from feature_flags.context import flat
from feature_flags.engine.explain import Explanation, Step, explain
from feature_flags.models import FeatureFlag, Segment
from feature_flags.runtime import store
from lib.admin import may_see

#: Flags that are named where several have what was typed in their names.
SUGGESTED = 8


@dataclass(frozen=True, slots=True)
class FlagAnswer:
    """`pk` is the flag's; without one there is no such flag, and `alike` has the names that are meant perhaps."""

    sentence: str
    pk: int | None = None
    codename: str = ""
    explanation: Explanation | None = None
    value: str = ""
    alike: Sequence[str] = ()


def answer(request: HttpRequest, user: Any, text: str) -> FlagAnswer:
    """About the flag of this name, in any letter case, or the only one whose name holds the text."""
    snapshot = store.current()
    if snapshot is None:
        return FlagAnswer(_("The flags of this process are not loaded yet; try again in a moment."))
    names = [entry.compiled.name for entry in snapshot.ordered]
    alike = [name for name in names if text.lower() in name.lower()]
    exact = [name for name in alike if name.lower() == text.lower()]
    if len(exact or alike) != 1:
        archived = FeatureFlag.objects.filter(codename__iexact=text, archived_at__isnull=False).first()
        if archived is not None:
            note = _("Off: the flag is archived, and code that asks for it learns that there is none.")
            return FlagAnswer(note, archived.pk, archived.codename)
        note = _("Several flags are called alike.") if alike else _("There is no such flag.")
        return FlagAnswer(note, alike=alike[:SUGGESTED])
    entry = next(entry for entry in snapshot.ordered if entry.compiled.name == (exact or alike)[0])
    compiled, context = entry.compiled, flat(user)
    found = explain(compiled, context, snapshot.flags, snapshot.segments, snapshot.segment_names)
    if not may_see(request.user, Segment):
        found = replace(found, steps=without_segments(found.steps))
    value = json.dumps(found.result.value, ensure_ascii=False)
    return FlagAnswer(summary(found), entry.pk, compiled.name, found, value)


def summary(found: Explanation) -> str:
    """The result in a line; of several rules the one that was missed by least, with the value that failed."""
    rules = [step for step in found.steps if step.kind == "rule" and not step.passed]
    if found.result.enabled or not rules:
        parents = [step for step in found.steps if step.kind == "dependency" and not step.passed]
        return _("Off: %(missed)s.") % {"missed": _missed(parents[0])} if parents else found.summary
    nearest = min(rules, key=lambda rule: len(list(_failed(rule))))
    missed = next(_failed(nearest), nearest)
    values = {"rule": nearest.label, "missed": _missed(missed)}
    if len(rules) == 1:
        return _("Off: %(rule)s is not met: %(missed)s.") % values
    return _("Off: none of %(count)d rules is met; nearest is %(rule)s: %(missed)s.") % {**values, "count": len(rules)}


def _failed(step: Step) -> Iterator[Step]:
    """The single conditions that were not met."""
    for child in step.children:
        if not child.passed:
            yield from _failed(child) if child.children else (child,)


def _missed(step: Step) -> str:
    given = step.given
    if step.kind == "dependency":
        return _("it needs that %(label)s, and that is %(given)s") % {
            "label": step.label,
            "given": given or _("unknown"),
        }
    if step.kind == "segment":
        return _("segment %(label)s does not match") % {"label": step.label}
    if step.kind == "rollout":
        if step.bucket is None or not step.percentage:
            return f"{step.label} ({step.note.rstrip('.')})"
        values = {"label": step.label, "bucket": step.bucket}
        return _("%(label)s puts them outside (place %(bucket)d of 100)") % values
    if step.note:
        return f"{step.label} ({step.note.rstrip('.')})"
    return _("%(label)s, and theirs is %(given)s") % {"label": step.label, "given": given or _("empty")}
