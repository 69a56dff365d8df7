"""What every change ends with: rows and their index, a row of history, and the revision that makes readers look."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db import IntegrityError, connection, models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from feature_flags import flag_document, names
from feature_flags.events import of_change
from feature_flags.flag_document import Document, InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagRevision, FlagSetState, FlagToken, Segment, Tag
from feature_flags.runtime import store
from lib import events
from lib.actors import Actor
from lib.db import batches
from lib.errors import ProductError

#: More changes than this are announced as "read everything": cheaper for readers than a list of so many.
MANY = 1_000

Action = FlagRevision.Action
Subject = FeatureFlag | Segment | FlagToken


class Change(NamedTuple):
    """One flag, locked or not saved yet, and its checked document before and after."""

    flag: FeatureFlag
    action: FlagRevision.Action
    before: Document
    after: Document


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
    return Change(FeatureFlag(codename=codename), action, before, document)


def save(changes: Sequence[Change], *, actor: Actor, reason: str = "", segments: Collection[int] = ()) -> None:
    """Write the changes with their history, and announce them together with changed `segments` (primary keys).

    Raises: FLAG_EXISTS (400), FLAG_INVALID (400) for an unknown segment or an unreadable reason.
    """
    now = timezone.now()
    new = [change.flag for change in changes if change.flag.pk is None]
    changed = [change.flag for change in changes if change.flag.pk is not None]
    for change in changes:
        change.flag.document = change.after
        change.flag.updated_at, change.flag.updated_by = now, actor.label
    for flag in new:
        flag.created_at, flag.created_by = now, actor.label
    if new:
        try:
            with transaction.atomic():
                FeatureFlag.objects.bulk_create(new)
        except IntegrityError:
            raise ProductError("FLAG_EXISTS", _("FF already exists.")) from None
    if len(changed) == 1:
        changed[0].save()
    elif changed:
        # bulk_update() would write a CASE of every row for every column: eight times slower for 10,000 flags.
        columns = [field.name for field in FeatureFlag._meta.concrete_fields if not field.primary_key]
        FeatureFlag.objects.bulk_create(changed, update_conflicts=True, unique_fields=["id"], update_fields=columns)
    _write_index(changes)
    record(changes, actor=actor, reason=reason)
    publish([change.flag.pk for change in changes], segments, everything=len(changes) > MANY)


# --- The index --------------------------------------------------------------------------------------------------------


def segments_used(document: Document) -> list[str]:
    return sorted({name for rule in document["rules"] for name in rule["segments"]})


def parents_named(document: Document) -> list[str]:
    return [prerequisite["parent"] for prerequisite in document["prerequisites"]]


#: The links of a flag, what they lead to and by which name, and the names in a document.
_INDEX: tuple[tuple[Any, type[models.Model], str, Callable[[Document], list[str]]], ...] = (
    (FeatureFlag.tags, Tag, "name", lambda document: document["tags"]),
    (FeatureFlag.segments, Segment, "name", segments_used),
    (FeatureFlag.parents, FeatureFlag, "codename", parents_named),
)


def _write_index(changes: Sequence[Change]) -> None:
    """Tags, segments and parents of these flags, as their documents name them."""
    for link, model, key, named in _INDEX:
        moved = [change for change in changes if named(change.before) != named(change.after)]
        if not moved:
            continue
        through, own, other = link.through, link.field.m2m_field_name(), link.field.m2m_reverse_field_name()
        for pks in batches([change.flag.pk for change in moved if named(change.before)], MANY):
            through.objects.filter(**{f"{own}__in": pks}).delete()
        wanted = sorted({name for change in moved for name in named(change.after)})
        rows = model._default_manager.filter(**{f"{key}__in": wanted})
        if model is Tag:
            # Sorted and at once: two writers that meet new names in different orders would wait for each other.
            Tag.objects.bulk_create([Tag(name=name) for name in wanted], ignore_conflicts=True)
        elif model is Segment:
            # Locked: deleting a segment that is about to be used has to wait, and then sees the use.
            rows = rows.select_for_update(no_key=True).order_by("pk")
        ids = dict(rows.values_list(key, "pk"))
        for change in moved if model is Segment else ():
            refuse_unknown_segments(change.after, ids)
        through.objects.bulk_create(
            through(**{f"{own}_id": change.flag.pk, f"{other}_id": ids[name]})
            for change in moved
            for name in named(change.after)
        )


# --- History and revision ---------------------------------------------------------------------------------------------


def record(
    changes: Iterable[tuple[Subject, FlagRevision.Action, Mapping[str, Any], Mapping[str, Any]]],
    *,
    actor: Actor,
    reason: str,
    noted: Mapping[str, Any] | None = None,
) -> None:
    """A row of history for each (subject, action, before, after): what differs and is `noted`, and the whole after it.
    What happened to flags is published.

    Raises: FLAG_INVALID (400) for a reason that cannot be stored.
    """
    who = {"actor_id": actor.user.pk if actor.user else None, "actor_label": actor.label, "door": actor.door}
    common = {**who, "reason": actor.noted(reason), "at": timezone.now()}
    rows, published = [], []
    for subject, action, before, after in changes:
        kind = {FeatureFlag: "flag", Segment: "segment", FlagToken: "token"}[type(subject)]
        if kind == "flag":
            published += of_change(subject.pk, before, after, actor=actor, reason=reason.strip())
        rows.append(
            FlagRevision(
                subject=kind,
                flag_id=subject.pk if kind == "flag" else None,
                segment_id=subject.pk if kind == "segment" else None,
                codename=str(after.get("codename") or after.get("name") or before.get("codename") or before["name"]),
                action=action,
                diff={**flag_document.diff(before, after), **(noted or {})},
                snapshot=after,
                **common,
            )
        )
    for row in rows[:1]:  # What is typed is the same in all of them.
        try:
            row.clean_fields(exclude={"subject", "flag", "segment", "actor", "diff", "snapshot"})
        except ValidationError as error:
            field, problems = next(iter(error.message_dict.items()))
            raise InvalidFlag([Problem((field,), problems[0])]) from None
    FlagRevision.objects.bulk_create(rows)
    events.publish_all(published)


def publish(flags: Collection[int] = (), segments: Collection[int] = (), *, everything: bool = False) -> None:
    """Raise the revision of the flag set, and let every reader know at commit.

    Rows of these primary keys are new; `everything`: something went away, or readers had better read all anew. The
    last statements of a change, so that the lock all writers share is short and commit order is revision order: its
    holder writes rows that are locked already and waits for no other lock.

    Raises: FLAGS_UNAVAILABLE (503) before `migrate`.
    """
    raised = dict.fromkeys(("revision", "full_revision") if everything else ("revision",), F("revision") + 1)
    if not FlagSetState.objects.filter(pk=1).update(**raised):
        raise ProductError("FLAGS_UNAVAILABLE", _("The flags are not set up: run `manage.py migrate`."), status=503)
    revision = FlagSetState.objects.values_list("revision", flat=True).get(pk=1)
    if flags and not everything:
        FeatureFlag.objects.filter(pk__in=flags).update(changed_in=revision)
    if segments and not everything:
        Segment.objects.filter(pk__in=segments).update(changed_in=revision)
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [store.CHANNEL, str(revision)])
    store.changed()


# --- What a document alone does not show ------------------------------------------------------------------------------


def refuse_unknown_segments(document: Document, known: Collection[str]) -> None:
    for number, rule in enumerate(document["rules"]):
        for name in rule["segments"]:
            if name not in known:
                raise InvalidFlag(
                    [Problem(("rules", number, "segments"), _("There is no segment “%(name)s”.") % {"name": name})]
                )


def refuse_parents(document: Document, parents: Mapping[str, Document], children: Collection[str]) -> None:
    """FLAG_INVALID when a required flag is missing or archived, PREREQUISITE_CHAIN for a second level.

    `parents` are documents by codename, `children` the flags that require this one.
    """
    named = parents_named(document)
    for number, name in enumerate(named):
        place = ("prerequisites", number, "parent")
        if name not in parents:
            raise InvalidFlag([Problem(place, _("There is no flag %(name)s.") % {"name": name})])
        # An archived flag asks for nothing: an import may archive both.
        if parents[name]["is_archived"] and not document["is_archived"]:
            raise InvalidFlag([Problem(place, _("%(name)s is archived.") % {"name": name})])
    if chained := sorted(name for name in named if parents[name]["prerequisites"]):
        raise chain(_("%(names)s requires another flag itself.") % {"names": ", ".join(chained)})
    if named and children:
        raise chain(_("%(names)s requires this flag.") % {"names": ", ".join(sorted(children))})


def chain(message: str) -> ProductError:
    return ProductError("PREREQUISITE_CHAIN", _("%(message)s Prerequisites have one level.") % {"message": message})


def refuse_change(before: Document, after: Document, reason: str) -> None:
    """REASON_REQUIRED for a switch of a protected flag; FLAG_INVALID for another type of a flag with variants."""
    if before["is_protected"] and before["is_active"] != after["is_active"] and not reason.strip():
        raise ProductError("REASON_REQUIRED", _("This flag is protected: say why."))
    has_variants = before["variants"] or any(rule["variants"] for rule in before["rules"])
    if before["value_type"] != after["value_type"] and has_variants:
        raise InvalidFlag([Problem(("value_type",), _("The type does not change once there are variants."))])
