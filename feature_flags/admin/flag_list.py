"""The list of flags: its columns and filters. Facts of a page of rows are read together, not row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from feature_flags import lifecycle
from feature_flags.models import FeatureFlag
from feature_flags.runtime import store
from lib.admin.lists import chips, local_time, two_lines
from lib.admin.verbs import VerbAdmin


@dataclass(frozen=True, slots=True)
class Facts:
    life: lifecycle.Life
    error: str


def facts(flags: Sequence[FeatureFlag]) -> dict[int, Facts]:
    """By primary key, with three queries for any number of flags."""
    lives, snapshot = lifecycle.lives(flags, timezone.now()), store.current()
    known = snapshot.flags if snapshot else {}
    return {
        flag.pk: Facts(lives[flag.pk], known[flag.codename].error if flag.codename in known else "") for flag in flags
    }


class FlagColumns(VerbAdmin):
    """The columns of the list."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        page = super().get_changelist_instance(request)
        known = facts(list(page.result_list))
        for flag in page.result_list:
            flag.facts = known[flag.pk]
        return page

    @admin.display(description=_("flag"), ordering="codename")
    def name(self, flag: FeatureFlag) -> str:
        return two_lines(flag.codename, flag.label or "")

    @admin.display(description=_("state"), ordering="is_active")
    def state(self, flag: FeatureFlag) -> str:
        known: Facts = flag.facts  # type: ignore[attr-defined]
        if flag.is_archived:
            marks = [("staff", _("archived"))]
        else:
            marks = [("active", _("on")) if flag.is_active else ("off", _("off"))]
        if known.error:
            marks.append(("off", _("broken")))
        if flag.is_protected:
            marks.append(("paused", _("protected")))
        state = chips(marks)
        return format_html("{} {}", state, self._stale(known.life.stale)) if known.life.stale else state

    @staticmethod
    def _stale(reasons: Sequence[str]) -> str:
        """A mark that unfolds: it works by keyboard and by touch, which a tooltip does not."""
        return format_html(
            '<details class="stale"><summary class="chip chip-waiting">{}</summary>{}</details>',
            _("stale"),
            format_html_join("", "<div>{}</div>", ((reason,) for reason in reasons)),
        )

    @admin.display(description=_("rollout"))
    def rollout(self, flag: FeatureFlag) -> str:
        document = flag.document
        if not document["rules"]:
            return _bar(document["rollout_percent"], f"{document['rollout_percent']} %")
        rollouts = [rule["rollout_percent"] for rule in document["rules"] if rule["is_enabled"]]
        if not rollouts:
            return str(_("all rules disabled"))
        count = f"{len(rollouts)} {'rule' if len(rollouts) == 1 else 'rules'}"
        low, high = min(rollouts), max(rollouts)
        return _bar(high, f"{count}, {high} %" if low == high else f"{count}, {low}–{high} %")

    @admin.display(description=_("kind, owner"), ordering="kind")
    def kind_and_owner(self, flag: FeatureFlag) -> str:
        return two_lines(flag.get_kind_display(), flag.owner)

    @admin.display(description=_("seen, 24 h"))
    def use(self, flag: FeatureFlag) -> str:
        life: lifecycle.Life = flag.facts.life  # type: ignore[attr-defined]
        if life.last_seen_at is None:
            return str(_("never seen"))
        return two_lines(local_time(life.last_seen_at, "j M H:i e"), f"{life.yes:,} yes, {life.no:,} no")


def _bar(percent: int, text: str) -> str:
    return format_html(
        '<span class="rollout"><progress max="100" value="{}" aria-hidden="true"></progress> <span>{}</span></span>',
        percent,
        text,
    )


# --- Filters ----------------------------------------------------------------------------------------------------------

OWNERS_OFFERED = 50


class ArchivedFilter(admin.SimpleListFilter):
    """Archived flags are shown on demand only."""

    title = _("archive")
    parameter_name = "archived"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Archived")), ("all", _("All"))]

    def choices(self, changelist: Any) -> Iterator[Any]:
        choices = super().choices(changelist)
        yield {**next(choices), "display": _("In use")}
        yield from choices

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        if self.value() == "all":
            return queryset
        return queryset.filter(archived_at__isnull=self.value() != "yes")


class StaleFilter(admin.SimpleListFilter):
    title = _("stale")
    parameter_name = "stale"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Yes")), ("no", _("No"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        if self.value() not in ("yes", "no"):
            return queryset
        # Use and age are in three tables; `lifecycle` alone knows when they mean stale.
        lives = lifecycle.lives(list(FeatureFlag.objects.filter(archived_at=None)), timezone.now())
        stale = [pk for pk, life in lives.items() if life.stale]
        return queryset.filter(pk__in=stale) if self.value() == "yes" else queryset.exclude(pk__in=stale)


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        owners = FeatureFlag.objects.exclude(owner="").order_by("owner").values_list("owner", flat=True).distinct()
        return [(owner, owner) for owner in owners[:OWNERS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        return queryset.filter(owner=self.value()) if self.value() else queryset
