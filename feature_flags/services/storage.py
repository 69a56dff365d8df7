"""A flag's document written into its rows, and the order in which rows are locked."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from django.db.models import Q
from django.utils import timezone

from feature_flags import names
from feature_flags.flag_document import OWN_FIELDS, Document, InvalidFlag, Problem
from feature_flags.models import FeatureFlag, FlagPrerequisite, FlagRule, FlagTarget, FlagVariant, Segment, Tag
from lib.errors import ProductError


def lock(pks: Collection[int], codenames: Collection[str] = ()) -> dict[int, FeatureFlag]:
    """These flags, locked until the end of the transaction; always in the same order, so that no two wait in a ring."""
    named = [name for name in codenames if not names.problem(name)]
    wanted = FeatureFlag.objects.filter(Q(pk__in=pks) | Q(codename__in=named))
    # No key lock: a rule of another flag may refer to this one meanwhile.
    return {flag.pk: flag for flag in wanted.select_for_update(no_key=True).order_by("pk")}


def lock_parents(document: Document) -> dict[str, FeatureFlag]:
    """The flags this one requires, locked; FLAG_INVALID when one is missing, PREREQUISITE_CHAIN for a second level."""
    wanted = [prerequisite["parent"] for prerequisite in document["prerequisites"]]
    if not wanted:
        return {}
    parents = {flag.codename: flag for flag in lock([], wanted).values()}
    for number, name in enumerate(wanted):
        place = ("prerequisites", number, "parent")
        if name not in parents:
            raise InvalidFlag([Problem(place, f"There is no flag {name}.")])
        # An archived flag asks for nothing: an import may put away both.
        if parents[name].is_archived and not document["is_archived"]:
            raise InvalidFlag([Problem(place, f"{name} is archived.")])
    chained = FlagPrerequisite.objects.filter(flag__in=parents.values()).values_list("flag__codename", flat=True)
    if bad := sorted(set(chained)):
        raise chain(f"{', '.join(bad)} requires another flag itself.")
    return parents


def chain(message: str) -> ProductError:
    return ProductError("PREREQUISITE_CHAIN", f"{message} Prerequisites have one level.")


def fill(flag: FeatureFlag, document: Document) -> None:
    """The columns of the row itself."""
    for name in OWN_FIELDS:
        setattr(flag, name, document[name])
    flag.review_on = date.fromisoformat(document["review_on"]) if document["review_on"] else None
    if flag.is_archived != document["is_archived"]:
        flag.archived_at = timezone.now() if document["is_archived"] else None


def write_parts(flag: FeatureFlag, before: Document, document: Document, parents: Mapping[str, FeatureFlag]) -> None:
    """Everything that hangs on the row; a part that is as before stays untouched."""
    writers: dict[str, Any] = {
        "tags": _write_tags,
        "rules": _write_rules,
        "variants": _write_variants,
        "targets": _write_targets,
    }
    for name, writer in writers.items():
        if document[name] != before.get(name):
            writer(flag, document[name])
    if document["prerequisites"] != before.get("prerequisites", []):
        _write_prerequisites(flag, document["prerequisites"], parents)


def _write_tags(flag: FeatureFlag, tags: Sequence[str]) -> None:
    Tag.objects.bulk_create([Tag(name=name) for name in tags], ignore_conflicts=True)
    flag.tags.set(Tag.objects.filter(name__in=tags))


def _write_rules(flag: FeatureFlag, rules: Sequence[Document]) -> None:
    # Written anew: nothing outside refers to a rule, and positions need no renumbering.
    flag.rules.all().delete()
    segments = _segments(rules)
    for position, rule in enumerate(rules):
        own = {key: value for key, value in rule.items() if key not in {"segments", "variants"}}
        row = FlagRule.objects.create(flag=flag, position=position, **own)
        row.segments.set([segments[name] for name in rule["segments"]])
        _add_variants(flag, row, rule["variants"])


def _segments(rules: Sequence[Document]) -> dict[str, Segment]:
    names = {name for rule in rules for name in rule["segments"]}
    # Locked: deleting one that is about to be used has to wait, and then sees the use.
    found = {
        row.name: row for row in Segment.objects.filter(name__in=names).select_for_update(no_key=True).order_by("pk")
    }
    for number, rule in enumerate(rules):
        for name in rule["segments"]:
            if name not in found:
                raise InvalidFlag([Problem(("rules", number, "segments"), f"There is no segment “{name}”.")])
    return found


def _write_variants(flag: FeatureFlag, variants: Sequence[Document]) -> None:
    flag.variants.filter(rule=None).delete()
    _add_variants(flag, None, variants)


def _add_variants(flag: FeatureFlag, rule: FlagRule | None, variants: Sequence[Document]) -> None:
    FlagVariant.objects.bulk_create(
        FlagVariant(flag=flag, rule=rule, position=position, **variant) for position, variant in enumerate(variants)
    )


def _write_targets(flag: FeatureFlag, targets: Document) -> None:
    flag.targets.all().delete()
    FlagTarget.objects.bulk_create(
        FlagTarget(flag=flag, identifier=identifier, always=state == "on")
        for state, identifiers in targets.items()
        for identifier in identifiers
    )


def _write_prerequisites(
    flag: FeatureFlag, prerequisites: Sequence[Document], parents: Mapping[str, FeatureFlag]
) -> None:
    if prerequisites and flag.dependents.exists():
        children = ", ".join(sorted(flag.dependents.values_list("flag__codename", flat=True)))
        raise chain(f"{children} requires this flag.")
    flag.prerequisites.all().delete()
    FlagPrerequisite.objects.bulk_create(
        FlagPrerequisite(
            flag=flag,
            parent=parents[prerequisite["parent"]],
            required=prerequisite["required"],
            variants=prerequisite["variants"],
        )
        for prerequisite in prerequisites
    )
