"""The page of a flag: everything it is made of, one save, one revision."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db.models import Sum
from django.utils import timezone

from feature_flags import declarations, flag_document, lifecycle
from feature_flags.admin import texts
from feature_flags.admin.common import who
from feature_flags.admin.forms import FLAG, NEW_FLAG
from feature_flags.admin.pages import DocumentPage
from feature_flags.admin.tree import Node
from feature_flags.flag_document import Document
from feature_flags.models import FeatureFlag, FlagRevision, FlagUsage
from feature_flags.runtime import store
from feature_flags.services import editing
from feature_flags.services.editing import unknown

if TYPE_CHECKING:
    from django.db.models import QuerySet

#: More than this at once is worth a second look.
RISKY_POINTS = 50
PARENTS_OFFERED = 200


class FlagPage(DocumentPage):
    shape, new_shape = FLAG, NEW_FLAG
    template = "admin/feature_flags/featureflag/change_form.html"

    def stored(self) -> Document:
        if self.obj is None:
            # "Create from here" of an unknown name.
            return {"codename": self.request.GET.get("codename", "")}
        stored = FeatureFlag.objects.filter(pk=self.obj.pk).first()
        if stored is None:
            raise unknown()
        return stored.document

    def revisions(self) -> QuerySet[FlagRevision]:
        return FlagRevision.objects.filter(flag=self.obj)

    def create(self, document: Document, reason: str) -> FeatureFlag:
        if not document["is_protected"]:
            # Not asked for: the kind decides.
            del document["is_protected"]
        return editing.create(document.pop("codename"), **document, **who(self.request, reason))

    def edit(self, changes: Document, base: int, reason: str) -> bool:
        return editing.edit(self.obj, changes, base=base, **who(self.request, reason))

    @property
    def may_save(self) -> bool:
        return super().may_save and (self.obj is None or not self.obj.is_archived)

    def new_row(self) -> Mapping[str, Any]:
        return {"stickiness": suggested_stickiness(self.obj.codename if self.obj else self.data.get("codename", ""))}

    def risks(self, before: Document, changes: Document) -> list[str]:
        return risks(before, flag_document.checked({**before, **changes}, stored=before))

    def context(self, node: Node) -> dict[str, Any]:
        parents = FeatureFlag.objects.filter(archived_at=None, parents=None).order_by("codename")
        if self.obj:
            parents = parents.exclude(pk=self.obj.pk)
        codename = self.obj.codename if self.obj else ""
        return {
            "open": self.unfolded(node),
            "parents": parents.values_list("codename", flat=True)[:PARENTS_OFFERED],
            "suggested": suggested_stickiness(codename),
            **(self.facts() if self.obj else {}),
        }

    def unfolded(self, node: Node) -> dict[str, bool]:
        """Sections that hold something, are wrong, or were just worked on."""
        raw = {name: node.form[name].value() for name in node.form.fields}
        filled = {
            "rollout": str(raw["rollout_percent"]) != "100" or raw["stickiness"] != "default",
            "rules": bool(node.lists["rules"]),
            "variants": bool(node.lists["variants"]),
            "targets": bool(raw["targets_on"] or raw["targets_off"]),
            "prerequisites": bool(node.lists["prerequisites"]),
            "values": raw["value_type"] != "boolean" or bool(raw["off_value"]),
            "about": bool(raw["owner"] or raw["tags"] or raw["review_on"] or raw["impression_data"])
            or not raw["exposed"]
            or bool(raw["is_protected"]),
        }
        pressed = self.extra.get("pressed")
        return {name: held or pressed == name or node.has_problem(*_SECTIONS[name]) for name, held in filled.items()}

    def facts(self) -> dict[str, Any]:
        """What is known beyond the document."""
        flag, now = self.obj, timezone.now()
        snapshot = store.current()
        compiled = snapshot.flags.get(flag.codename) if snapshot else None
        document = self.stored()
        return {
            "ambiguities": [flag_document.Problem(*found[:2]) for found in flag_document.ambiguities(document)],
            "context_notes": texts.context_notes(document),
            "life": lifecycle.lives([flag], now)[flag.pk],
            "broken": compiled.error if compiled else "",
            "is_declared": declarations.is_declared(flag.codename),
            "dependents": list(flag.children.order_by("codename")),
            "pending": list(flag.schedule.filter(state="pending")),
            "usage": usage_by_hour(flag.codename, now - timedelta(days=1)),
        }


_SECTIONS = {
    "rollout": ("rollout_percent", "stickiness"),
    "rules": ("rules",),
    "variants": ("variants",),
    "targets": ("targets_on", "targets_off"),
    "prerequisites": ("prerequisites",),
    "values": ("value_type", "off_value"),
    "about": ("kind", "owner", "tags", "review_on", "exposed", "is_protected", "impression_data"),
}


def usage_by_hour(codename: str, since: Any) -> list[Document]:
    rows = FlagUsage.objects.filter(codename=codename, hour__gte=since, variant="").values("hour")
    return [dict(row) for row in rows.annotate(yes=Sum("yes"), no=Sum("no")).order_by("-hour")]


def suggested_stickiness(codename: str) -> str:
    """Whoever registers has no id yet: without a field of their own they would be drawn anew at each attempt."""
    return "email" if "REGISTRATION" in codename.upper() else "default"


def risks(before: Document, after: Document) -> list[str]:
    """Steps of more than 50 points of a flag that is on, as sentences."""
    if not before["is_active"]:
        return []
    if not before["rules"] and not after["rules"]:
        return _steps("the flag", before["rollout_percent"], after["rollout_percent"])
    if not after["rules"]:
        return [f"Without rules the flag goes to {after['rollout_percent']} % of everybody."]
    if len(before["rules"]) != len(after["rules"]):
        return []
    pairs = zip(before["rules"], after["rules"], strict=True)
    return [
        sentence
        for number, (old, new) in enumerate(pairs, start=1)
        for sentence in _steps(new["label"] or f"rule {number}", old["rollout_percent"], new["rollout_percent"])
    ]


def _steps(name: str, before: int, after: int) -> list[str]:
    if abs(after - before) <= RISKY_POINTS:
        return []
    return [f"The rollout of {name} goes from {before} % to {after} % at once."]
