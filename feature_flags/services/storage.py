"""Flags written to the database, one or ten thousand at once: the row, its index, its history, the revision."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone

from feature_flags import flag_document, names
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagRevision, Segment, Tag
from feature_flags.services import revisions
from lib.actors import Actor
from lib.errors import ProductError

#: More changes than this are announced as "read everything": cheaper for readers than a list of so many.
MANY = 1_000


class Change(NamedTuple):
    """One flag, locked or not saved yet, and its checked document before and after."""

    flag: FeatureFlag
    before: Document
    after: Document
    action: FlagRevision.Action


def lock(pks: Collection[int], codenames: Collection[str] = ()) -> dict[int, FeatureFlag]:
    """These flags by primary key, locked until the end of the transaction; always in one order, against deadlocks."""
    named = [name for name in codenames if not names.problem(name)]
    wanted = FeatureFlag.objects.filter(Q(pk__in=pks) | Q(codename__in=named))
    # No key lock: the index of another flag may refer to this one meanwhile.
    return {flag.pk: flag for flag in wanted.select_for_update(no_key=True).order_by("pk")}


def new_change(document: Document, action: FlagRevision.Action) -> Change:
    """The change that makes a new flag; its history shows what differs from a flag with all defaults."""
    codename = document["codename"]
    before = {**flag_document.BLANK, "codename": None, "is_active": None, "group_id": codename}
    return Change(FeatureFlag(codename=codename), before, document, action)


def save(changes: Sequence[Change], *, actor: Actor, reason: str = "", segments: Collection[int] = ()) -> None:
    """Write the changes with their history, and announce them together with changed `segments` (primary keys).

    Raises: FLAG_EXISTS (400), FLAG_INVALID (400) for an unknown segment or an unreadable reason.
    """
    now = timezone.now()
    new = [change.flag for change in changes if change.flag.pk is None]
    changed = [change.flag for change in changes if change.flag.pk is not None]
    for flag, _before, after, _action in changes:
        flag.document = after
        flag.updated_at, flag.updated_by = now, actor.label
    for flag in new:
        flag.created_at, flag.created_by = now, actor.label
    try:
        with transaction.atomic():
            FeatureFlag.objects.bulk_create(new)
    except IntegrityError:
        raise ProductError("FLAG_EXISTS", "FF already exists.") from None
    _write_index(changes)
    revisions.record(
        [
            revisions.revision(flag, action, before=before, after=after, actor=actor, reason=reason)
            for flag, before, after, action in changes
        ]
    )
    everything = len(changes) > MANY
    revision = revisions.next_revision(everything=everything)
    for flag in [*new, *changed]:
        flag.changed_in = revision
    _update(changed)
    if not everything:
        FeatureFlag.objects.filter(pk__in=[flag.pk for flag in new]).update(changed_in=revision)
        Segment.objects.filter(pk__in=segments).update(changed_in=revision)
    revisions.announce(revision)


def _update(flags: Sequence[FeatureFlag]) -> None:
    if len(flags) == 1:
        flags[0].save()
    elif flags:
        # bulk_update() would write a CASE of every row for every column: eight times slower for 10,000 flags.
        columns = [field.name for field in FeatureFlag._meta.concrete_fields if not field.primary_key]
        FeatureFlag.objects.bulk_create(flags, update_conflicts=True, unique_fields=["id"], update_fields=columns)


# --- The index --------------------------------------------------------------------------------------------------------


def segments_used(document: Document) -> list[str]:
    return sorted({name for rule in document["rules"] for name in rule["segments"]})


def parents_named(document: Document) -> list[str]:
    return [prerequisite["parent"] for prerequisite in document["prerequisites"]]


def _write_index(changes: Sequence[Change]) -> None:
    """Tags, segments and parents of these flags, as their documents name them."""
    for link, names_in, ids_of in _LINKS:
        moved = [change for change in changes if names_in(change.before) != names_in(change.after)]
        if not moved:
            continue
        through, own, other = link.through, link.field.m2m_field_name(), link.field.m2m_reverse_field_name()
        had = [change.flag.pk for change in moved if names_in(change.before)]
        for start in range(0, len(had), MANY):
            through.objects.filter(**{f"{own}__in": had[start : start + MANY]}).delete()
        ids = ids_of(moved)
        through.objects.bulk_create(
            through(**{f"{own}_id": change.flag.pk, f"{other}_id": ids[name]})
            for change in moved
            for name in names_in(change.after)
        )


def _tag_ids(changes: Sequence[Change]) -> dict[str, int]:
    # Sorted and at once: two writers that meet new names in different orders would wait for each other.
    wanted = sorted({tag for change in changes for tag in change.after["tags"]})
    Tag.objects.bulk_create([Tag(name=name) for name in wanted], ignore_conflicts=True)
    return dict(Tag.objects.filter(name__in=wanted).values_list("name", "pk"))


def _segment_ids(changes: Sequence[Change]) -> dict[str, int]:
    wanted = {name for change in changes for name in segments_used(change.after)}
    # Locked: deleting a segment that is about to be used has to wait, and then sees the use.
    locked = Segment.objects.filter(name__in=wanted).select_for_update(no_key=True).order_by("pk")
    ids = {segment.name: segment.pk for segment in locked}
    for change in changes:
        refuse_unknown_segments(change.after, ids)
    return ids


def _parent_ids(changes: Sequence[Change]) -> dict[str, int]:
    wanted = {name for change in changes for name in parents_named(change.after)}
    return dict(FeatureFlag.objects.filter(codename__in=wanted).values_list("codename", "pk"))


_LINKS: tuple[tuple[Any, Callable[[Document], list[str]], Callable[[Sequence[Change]], dict[str, int]]], ...] = (
    (FeatureFlag.tags, lambda document: document["tags"], _tag_ids),
    (FeatureFlag.segments, segments_used, _segment_ids),
    (FeatureFlag.parents, parents_named, _parent_ids),
)


# --- What a document alone does not show ------------------------------------------------------------------------------


def refuse_unknown_segments(document: Document, known: Collection[str]) -> None:
    for number, rule in enumerate(document["rules"]):
        for name in rule["segments"]:
            if name not in known:
                raise InvalidFlag([Problem(("rules", number, "segments"), f"There is no segment “{name}”.")])


def refuse_parents(document: Document, parents: Mapping[str, Document], children: Collection[str]) -> None:
    """FLAG_INVALID when a required flag is missing or archived, PREREQUISITE_CHAIN for a second level.

    `parents` are documents by codename, `children` the flags that require this one.
    """
    named = parents_named(document)
    for number, name in enumerate(named):
        place = ("prerequisites", number, "parent")
        if name not in parents:
            raise InvalidFlag([Problem(place, f"There is no flag {name}.")])
        # An archived flag asks for nothing: an import may archive both.
        if parents[name]["is_archived"] and not document["is_archived"]:
            raise InvalidFlag([Problem(place, f"{name} is archived.")])
    if chained := sorted(name for name in named if parents[name]["prerequisites"]):
        raise chain(f"{', '.join(chained)} requires another flag itself.")
    if named and children:
        raise chain(f"{', '.join(sorted(children))} requires this flag.")


def chain(message: str) -> ProductError:
    return ProductError("PREREQUISITE_CHAIN", f"{message} Prerequisites have one level.")


def refuse_change(before: Document, after: Document, reason: str) -> None:
    """REASON_REQUIRED for a switch of a protected flag; FLAG_INVALID for another type of a flag with variants."""
    if before["is_protected"] and before["is_active"] != after["is_active"] and not reason.strip():
        raise ProductError("REASON_REQUIRED", "This flag is protected: say why.")
    has_variants = before["variants"] or any(rule["variants"] for rule in before["rules"])
    if before["value_type"] != after["value_type"] and has_variants:
        raise InvalidFlag([Problem(("value_type",), "The type does not change once there are variants.")])
