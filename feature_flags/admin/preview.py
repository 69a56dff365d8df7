"""What a save of a flag would do, before it is done: the changes in words, and how many people it would reach."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from feature_flags import descriptions, flag_document
from feature_flags.context import flat
from feature_flags.engine.compiler import compile_flag
from feature_flags.engine.model import RANDOM, CompiledFlag
from feature_flags.flag_document import Document
from feature_flags.runtime import store
from feature_flags.runtime.snapshot import Snapshot
from feature_flags.unleash_feature import definition

#: How many of the newest people are looked at: an estimate, in a few hundredths of a second.
LOOKED_AT = 1_000


def outlook(before: Document, changes: Document, people: Iterable[Any]) -> dict[str, Any]:
    """Lines for the page. Raises: FLAG_INVALID (400)."""
    after = flag_document.checked({**before, **changes}, stored=before)
    found: dict[str, Any] = {"lines": descriptions.describe_changes(flag_document.diff(before, after))}
    snapshot = store.current()
    if not found["lines"] or snapshot is None:
        return found
    # Of a flag that is off, what it would be once it is on.
    old, new = (_compiled({**document, "is_active": True}, snapshot) for document in (before, after))
    looked_at = changed = reached = 0
    for person in people:
        context = {**flat(person), RANDOM: str(looked_at)}
        answers = [flag.evaluate(context, snapshot.flags) for flag in (old, new)]
        looked_at += 1
        changed += answers[0].value != answers[1].value or answers[0].enabled != answers[1].enabled
        reached += answers[1].enabled
    return found | {
        "looked_at": looked_at,
        "changed": changed,
        "reached": reached,
        "is_on": before["is_active"],
        "broken": new.error,
    }


def _compiled(document: Document, snapshot: Snapshot) -> CompiledFlag:
    ids = {name: pk for pk, name in snapshot.segment_names.items()}
    return compile_flag(definition(document, ids), snapshot.segments)
