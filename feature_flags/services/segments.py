"""The verbs of segments. A change reaches every flag that uses one at once, so each is on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

from django.db import IntegrityError, transaction
from django.utils import timezone

from feature_flags import flag_document
from feature_flags.flag_document import Document
from feature_flags.models import FlagRevision, Segment
from feature_flags.services.revisions import Who, label_of, record, touch
from lib.errors import ProductError

Action = FlagRevision.Action


@transaction.atomic
def create_segment(
    name: str, *, constraints: Sequence[Mapping[str, Any]] = (), description: str = "", **who: Unpack[Who]
) -> Segment:
    """A named group; SEGMENT_EXISTS, FLAG_INVALID."""
    document = flag_document.checked_segment(
        {"name": name, "description": description, "constraints": list(constraints)}
    )
    segment = insert(document, **who)
    touch(segments=[segment.pk])
    return segment


@transaction.atomic
def edit_segment(segment: Segment, changes: Mapping[str, Any], *, base: int | None = None, **who: Unpack[Who]) -> bool:
    """Write `description` and `constraints`; return whether anything changed. FLAG_CHANGED as for flags."""
    stored = _lock(segment)
    before = segment_document(stored)
    if base is not None and stored.revisions.filter(pk__gt=base).exists():
        raise ProductError("FLAG_CHANGED", "Somebody changed this segment in the meantime: look at it again.")
    document = flag_document.checked_segment({**before, **changes, "name": stored.name}, stored=before)
    if not write(stored, before, document, **who):
        return False
    touch(segments=[stored.pk])
    segment.refresh_from_db()
    return True


@transaction.atomic
def delete_segment(segment: Segment, **who: Unpack[Who]) -> None:
    """SEGMENT_IN_USE, naming the flags, while any rule refers to it."""
    stored = _lock(segment)
    if used_by := users_of(stored):
        raise ProductError("SEGMENT_IN_USE", f"It is used by {', '.join(used_by)}.")
    document = segment_document(stored)
    record(stored, Action.DELETE, codename=stored.name, before=document, after={}, **who)
    stored.delete()
    touch(everything=True)


def insert(document: Document, **who: Unpack[Who]) -> Segment:
    """The row of a new segment and its revision. The caller touches."""
    now, label = timezone.now(), label_of(who)
    segment = Segment(**document, created_at=now, updated_at=now, created_by=label, updated_by=label)
    try:
        with transaction.atomic():
            segment.save()
    except IntegrityError:
        raise ProductError("SEGMENT_EXISTS", "A segment of this name exists.") from None
    record(segment, Action.CREATE, codename=segment.name, before=dict.fromkeys(document), after=document, **who)
    return segment


def write(stored: Segment, before: Document, document: Document, **who: Unpack[Who]) -> bool:
    """Write what differs between two checked documents of a locked segment, with its revision. The caller touches."""
    if document == before:
        return False
    stored.description, stored.constraints = document["description"], document["constraints"]
    stored.updated_at, stored.updated_by = timezone.now(), label_of(who)
    stored.save()
    record(stored, Action.EDIT, codename=stored.name, before=before, after=document, **who)
    return True


def users_of(segment: Segment) -> list[str]:
    """The codenames of the flags that refer to it."""
    return sorted(set(segment.rules.values_list("flag__codename", flat=True)))


def segment_document(segment: Segment) -> Document:
    return {"name": segment.name, "description": segment.description, "constraints": segment.constraints}


def _lock(segment: Segment) -> Segment:
    stored = Segment.objects.select_for_update().filter(pk=segment.pk).first()
    if stored is None:
        raise ProductError("SEGMENT_UNKNOWN", "There is no such segment.", status=404)
    return stored
