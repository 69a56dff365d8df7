"""Why a person does or does not get a flag: one sentence, then the steps of the flag's own page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from feature_flags import why
from feature_flags.context import flat
from feature_flags.engine.explain import Explanation
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
            return FlagAnswer(str(why.ARCHIVED), archived.pk, archived.codename)
        note = _("Several flags are called alike.") if alike else _("There is no such flag.")
        return FlagAnswer(note, alike=alike[:SUGGESTED])
    entry = next(entry for entry in snapshot.ordered if entry.compiled.name == (exact or alike)[0])
    compiled = entry.compiled
    found = why.explained(compiled, flat(user), snapshot, shows_segments=may_see(request.user, Segment))
    value = json.dumps(found.result.value, ensure_ascii=False)
    return FlagAnswer(why.summary(found), entry.pk, compiled.name, found, value)
