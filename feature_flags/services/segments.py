"""Changes to segments. Each reaches every flag that uses the segment at once, so each is on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from feature_flags import flag_document
from feature_flags.flag_document import Document
from feature_flags.models import FlagRevision, Segment
from feature_flags.services import storage
from lib.actors import Actor
from lib.errors import ProductError

Action = FlagRevision.Action


@transaction.atomic
def create_segment(
    name: str, *, actor: Actor, reason: str = "", constraints: Sequence[Mapping[str, Any]] = (), description: str = ""
) -> Segment:
    """A named group. Raises: SEGMENT_EXISTS, FLAG_INVALID (400)."""
    given = {"name": name, "description": description, "constraints": list(constraints)}
    segment = insert(flag_document.checked_segment(given), actor=actor, reason=reason)
    storage.publish(segments=[segment.pk])
    return segment


@transaction.atomic
def edit_segment(
    segment: Segment, changes: Mapping[str, Any], *, actor: Actor, reason: str = "", base: int | None = None
) -> bool:
    """Write `description` and `constraints`; return whether anything changed.

    Raises: SEGMENT_UNKNOWN (404), FLAG_INVALID (400), FLAG_CHANGED (400) when there is a newer revision than `base`.
    """
    stored = _lock(segment)
    if base is not None and stored.revisions.filter(pk__gt=base).exists():
        raise ProductError("FLAG_CHANGED", _("This segment was changed in the meantime: look at it again."))
    before = stored.document
    document = flag_document.checked_segment({**before, **changes, "name": stored.name}, stored=before)
    if not write(stored, document, actor=actor, reason=reason):
        return False
    storage.publish(segments=[stored.pk])
    segment.refresh_from_db()
    return True


@transaction.atomic
def delete_segment(segment: Segment, *, actor: Actor, reason: str = "") -> None:
    """Raises: SEGMENT_IN_USE (400), naming the flags, while any rule refers to it; SEGMENT_UNKNOWN (404)."""
    stored = _lock(segment)
    if used_by := sorted(stored.flags.values_list("codename", flat=True)):
        raise ProductError("SEGMENT_IN_USE", _("It is used by %(names)s.") % {"names": ", ".join(used_by)})
    storage.record([(stored, Action.DELETE, stored.document, {})], actor=actor, reason=reason)
    stored.delete()
    storage.publish(everything=True)


def unknown() -> ProductError:
    return ProductError("SEGMENT_UNKNOWN", _("There is no such segment."), status=404)


def insert(document: Document, *, actor: Actor, reason: str) -> Segment:
    """The row of a new segment and its revision. The caller publishes. Raises: SEGMENT_EXISTS (400)."""
    now = timezone.now()
    segment = Segment(**document, created_at=now, updated_at=now, created_by=actor.label, updated_by=actor.label)
    try:
        with transaction.atomic():
            segment.save()
    except IntegrityError:
        raise ProductError("SEGMENT_EXISTS", _("A segment of this name exists.")) from None
    storage.record([(segment, Action.CREATE, dict.fromkeys(document), document)], actor=actor, reason=reason)
    return segment


def write(stored: Segment, document: Document, *, actor: Actor, reason: str) -> bool:
    """Write a checked document of a locked segment, if it differs, with its revision. The caller publishes."""
    before = stored.document
    if document == before:
        return False
    stored.description, stored.constraints = document["description"], document["constraints"]
    stored.updated_at, stored.updated_by = timezone.now(), actor.label
    stored.save()
    storage.record([(stored, Action.EDIT, before, document)], actor=actor, reason=reason)
    return True


def _lock(segment: Segment) -> Segment:
    stored = Segment.objects.select_for_update().filter(pk=segment.pk).first()
    if stored is None:
        raise unknown()
    return stored
