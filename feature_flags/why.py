"""Why a person or a context gets a flag: found, explained and worded, for the admin and for the API."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from feature_flags.context import Flat
from feature_flags.engine import model
from feature_flags.engine.explain import Explanation, Step, explain
from feature_flags.engine.model import CompiledFlag, Result
from lib.text import is_storable

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Snapshot


ARCHIVED = gettext_lazy("Off: the flag is archived, and code that asks for it learns that there is none.")


def find_user(given: str) -> Any:
    """By primary key, in any spelling, or by the name that users sign in with."""
    model = get_user_model()
    if not is_storable(given):
        return None
    try:
        if (user := model._default_manager.filter(pk=model._meta.pk.to_python(given)).first()) is not None:
            return user
    except (ValidationError, ValueError, OverflowError):
        pass  # no primary key: an address
    try:
        return model._default_manager.get_by_natural_key(given)
    except model.DoesNotExist:
        return None


def explained(compiled: CompiledFlag, context: Flat, snapshot: Snapshot, *, shows_segments: bool) -> Explanation:
    """The result with its steps; what is in segments only for those who may see them."""
    found = explain(compiled, context, snapshot.flags, snapshot.segments, snapshot.segment_names)
    return found if shows_segments else replace(found, steps=without_segments(found.steps))


def without_segments(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps with the names of segments, and nothing of what is in them: often addresses of customers."""
    return tuple(
        replace(step, children=() if step.kind == "segment" else without_segments(step.children)) for step in steps
    )


#: The reasons of OpenFeature, as people say them.
REASONS = {
    model.STATIC: gettext_lazy("for everybody"),
    model.SPLIT: gettext_lazy("by percentage or variant"),
    model.TARGETING_MATCH: gettext_lazy("by a rule"),
    model.DISABLED_REASON: gettext_lazy("it is off"),
}


def reason_text(result: Result) -> str:
    """`by a rule: Beta`."""
    text = str(REASONS.get(result.reason, result.reason))
    return f"{text}: {result.rule}" if result.rule and result.rule != "everybody" else text


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
