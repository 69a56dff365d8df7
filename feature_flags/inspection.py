"""What is wrong with the stored flags: unreadable, read in two ways, or changed behind the verbs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.db.models import Max

from feature_flags import descriptions, flag_document
from feature_flags.engine.compiler import compile_flag
from feature_flags.flag_document import Document, Problem
from feature_flags.models import FlagRevision, Segment
from feature_flags.unleash_feature import definition, wire_constraint
from lib.db import batches

NO_HISTORY = "it has no history: no verb has written it"


def broken(documents: Mapping[int, Document]) -> dict[str, str]:
    """Why, by codename. Archived flags are left out."""
    rows = list(Segment.objects.values_list("pk", "name", "constraints"))
    segments = {pk: _wire(constraints) for pk, _, constraints in rows}
    ids = {name: pk for pk, name, _ in rows}
    found = {}
    for document in documents.values():
        if not document["is_archived"] and (error := _error(document, ids, segments)):
            found[document["codename"]] = error
    return found


def ambiguous(documents: Mapping[int, Document]) -> dict[str, str]:
    """By codename (or `segment NAME`), what SDKs read in two ways, and what to write instead."""
    living = {document["codename"]: document for document in documents.values() if not document["is_archived"]}
    segments = {f"segment {segment.name}": segment.document for segment in Segment.objects.all()}
    found = {name: list(flag_document.ambiguities(document)) for name, document in {**living, **segments}.items()}
    return {
        name: " ".join(str(Problem(one.place, one.message)) for one in listed)
        for name, listed in found.items()
        if listed
    }


def drifted(documents: Mapping[int, Document]) -> dict[str, str]:
    """By codename (or `segment NAME`), how the rows differ from what the last verb left."""
    found = dict(_differences(FlagRevision.Subject.FLAG, "flag_id", documents))
    stored = {segment.pk: segment.document for segment in Segment.objects.all()}
    segments = _differences(FlagRevision.Subject.SEGMENT, "segment_id", stored)
    return found | {f"segment {name}": difference for name, difference in segments}


def _error(document: Document, ids: Mapping[str, int], segments: Mapping[int, list[Document]]) -> str:
    try:
        return compile_flag(definition(document, ids), segments).error
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        return f"cannot be read ({type(error).__name__}: {error})"


def _wire(constraints: Any) -> list[Document]:
    try:
        return [wire_constraint(constraint) for constraint in constraints]
    except (TypeError, KeyError, AttributeError):
        return [{"contextName": "", "operator": "BROKEN"}]


def _differences(
    subject: FlagRevision.Subject, key: str, documents: Mapping[int, Document]
) -> Iterator[tuple[str, str]]:
    newest = dict(
        FlagRevision.objects.filter(subject=subject, **{f"{key}__isnull": False})
        .values(key)
        .annotate(newest=Max("pk"))
        .values_list(key, "newest")
    )
    names = _Names()
    snapshots = _snapshots([newest[pk] for pk in documents if pk in newest])
    for pk, document in documents.items():
        name = document.get("codename") or document["name"]
        if pk not in newest:
            yield name, NO_HISTORY
            continue
        # Members that came with a later version of the document are in no older snapshot.
        last = snapshots[newest[pk]]
        snapshot = {member: last[member] for member in document if member in last}
        if "prerequisites" in snapshot:
            snapshot["prerequisites"] = names.renewed(snapshot["prerequisites"], newest[pk])
        if changes := flag_document.diff(snapshot, {member: document[member] for member in snapshot}):
            yield name, "; ".join(descriptions.describe_changes(changes))


def _snapshots(pks: list[int]) -> dict[int, Document]:
    found: dict[int, Document] = {}
    for some in batches(pks):
        rows = FlagRevision.objects.filter(pk__in=some)
        found.update(rows.values_list("pk", "snapshot"))
    return found


class _Names:
    """A renamed parent has another name in its children's documents, without a revision of theirs."""

    def __init__(self) -> None:
        renames = FlagRevision.objects.filter(action=FlagRevision.Action.RENAME).order_by("pk")
        self.renames = [(pk, *diff["codename"]) for pk, diff in renames.values_list("pk", "diff") if "codename" in diff]

    def renewed(self, prerequisites: list[Document], since: int) -> list[Document]:
        renewed = [dict(prerequisite) for prerequisite in prerequisites]
        for pk, old, new in self.renames:
            for prerequisite in renewed:
                if pk > since and prerequisite["parent"] == old:
                    prerequisite["parent"] = new
        return sorted(renewed, key=lambda prerequisite: str(prerequisite["parent"]))
