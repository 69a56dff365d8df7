"""Audiences of announcements that only the feature flags know: who is in a segment, and who gets a flag."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from notifications import audiences
from notifications.audiences import Audience, Choices, Gone, Test

if TYPE_CHECKING:
    from feature_flags.runtime.snapshot import Entry, Snapshot
    from notifications.models import Announcement

# What evaluates flags loads when it is asked for: all processes register these, and few ask.


class Segment(Audience):
    name, label, permission = "segment", _("Segment"), "feature_flags.view_segment"

    def choices(self) -> Choices:
        names = _snapshot().segment_names
        return [(str(pk), name) for pk, name in sorted(names.items(), key=lambda item: item[1].lower())]

    def describe(self, announcement: Announcement) -> str:
        return str(format_lazy("{} {}", self.label, dict(self.choices())[announcement.choice]))

    def test(self, announcement: Announcement) -> Test:
        """As in a rule: those who meet all constraints, by what is known of a signed-in user."""
        from feature_flags.context import flat
        from feature_flags.engine.constraints import compile_constraint
        from feature_flags.engine.model import Broken

        constraints = _snapshot().segments.get(int(announcement.choice))
        if constraints is None:
            raise Gone(_("The segment does not exist any more."))
        try:
            tests = [compile_constraint(constraint, time.time) for constraint in constraints]
        except Broken as error:
            raise Gone(format_lazy("{} {}", _("The segment cannot be read:"), str(error))) from None

        def belongs(person: object) -> bool:
            context = flat(person)
            return all(test(context) if callable(test) else test for test in tests)

        return belongs


class Flag(Audience):
    """`7` is everyone who gets the flag of that key on, `7/blue` everyone who gets this variant of it."""

    name, label, permission = "flag", _("Feature flag"), "feature_flags.view_featureflag"

    def choices(self) -> Choices:
        return [choice for entry in _snapshot().ordered for choice in self._of(entry)]

    def describe(self, announcement: Announcement) -> str:
        entry = _snapshot().entries[int(announcement.choice.partition("/")[0])]
        return str(dict(self._of(entry))[announcement.choice])

    def _of(self, entry: Entry) -> Choices:
        feature, codename = entry.compiled.definition.feature, entry.compiled.name
        parts = [feature, *feature["strategies"]]
        variants = dict.fromkeys(variant["name"] for part in parts for variant in part.get("variants") or ())
        on, gives = _("{codename} is on"), _("{codename} gives {variant}")
        return [
            (f"{entry.pk}", format_lazy(on, codename=codename)),
            *((f"{entry.pk}/{name}", format_lazy(gives, codename=codename, variant=name)) for name in variants),
        ]

    def test(self, announcement: Announcement) -> Test:
        """As the API answers a signed-in user. Nothing is counted as use."""
        from feature_flags.context import flat

        snapshot = _snapshot()
        pk, has_variant, variant = announcement.choice.partition("/")
        if (entry := snapshot.entries.get(int(pk))) is None:
            raise Gone(_("The feature flag is archived, or does not exist any more."))
        compiled = entry.compiled

        def belongs(person: object) -> bool:
            result = compiled.constant or compiled.evaluate(flat(person), snapshot.flags)
            return result.enabled and (not has_variant or result.variant.name == variant)

        return belongs


def _snapshot() -> Snapshot:
    from feature_flags.runtime import store

    if (snapshot := store.current()) is None:
        raise Gone(_("The feature flags cannot be read."))
    return snapshot


def register() -> None:
    audiences.register(Segment())
    audiences.register(Flag())
