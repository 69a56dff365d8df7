"""Flags for staff: one click switches, one save writes, everything is on record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from feature_flags import inspection
from feature_flags.admin.flag_page import FlagPageAdmin
from feature_flags.admin.verbs import FLAG_VERBS
from feature_flags.admin.who import who_view
from feature_flags.formats import switchboard
from feature_flags.models import FeatureFlag, Segment
from feature_flags.runtime import store
from feature_flags.services.storage import segments_used
from lib.actors import Actor
from lib.admin import may_see
from lib.admin.changelist import time_cell
from lib.admin.charts import sparkline
from lib.admin.lists import RelatedOnlyFilter, TableFilter, chips, two_lines
from lib.admin.verbs import Verb
from lib.text import number

#: In the session: the switch that the next page offers to take back.
UNDO = "feature_flags_undo"
OWNERS_OFFERED, EXPORT_LIMIT = 50, 10_000


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
        return queryset if self.value() == "all" else queryset.filter(archived_at__isnull=self.value() != "yes")


class StaleFilter(TableFilter):
    title = _("stale")
    parameter_name = "stale"
    options = {
        "yes": (_("Yes"), lambda flags: flags.filter(inspection.stale(timezone.now()))),
        "no": (_("No"), lambda flags: flags.filter(~inspection.stale(timezone.now()))),
    }


class OwnerFilter(admin.SimpleListFilter):
    title = _("owner")
    parameter_name = "owner"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        owners = FeatureFlag.objects.exclude(owner="").order_by("owner").values_list("owner", flat=True).distinct()
        return [(owner, owner) for owner in owners[:OWNERS_OFFERED]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> QuerySet[FeatureFlag]:
        return queryset.filter(owner=self.value()) if self.value() else queryset


@admin.register(FeatureFlag)
class FeatureFlagAdmin(FlagPageAdmin):
    verbs = FLAG_VERBS
    actions = ("export_json",)
    list_display = ("name", "state", "verb_buttons", "rollout", "kind_and_owner", "use")
    more_columns = ("owner", "review_on", "updated_at", "created_at")
    list_filter = (
        ArchivedFilter,
        "is_active",
        StaleFilter,
        "kind",
        "value_type",
        "is_protected",
        "exposed",
        OwnerFilter,
        ("tags", RelatedOnlyFilter),
    )
    search_fields = ("codename", "label", "description", "tags__name")
    search_help_text = _("A part of the codename, label, description or of a tag.")
    show_facets = admin.ShowFacets.NEVER  # each count would read the table once more
    ordering = ("codename",)
    empty_value_display = ""

    # --- The list -----------------------------------------------------------------------------------------------------

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        activities, snapshot = inspection.activity(rows, timezone.now()), store.current()
        for flag in rows:
            compiled = snapshot.flags.get(flag.codename) if snapshot else None
            flag.activity, flag.error = activities[flag.pk], compiled.error if compiled else ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        snapshot = store.current()
        broken = [flag for flag in snapshot.flags.values() if flag.error] if snapshot else []
        extra = {"undo": self.undo(request), "broken_flags": broken[:20], "broken_count": len(broken)}
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    @admin.display(description=_("flag"), ordering="codename")
    def name(self, flag: FeatureFlag) -> str:
        return two_lines(flag.codename, flag.label or "")

    @admin.display(description=_("state"), ordering="is_active")
    def state(self, flag: Any) -> str:
        if flag.is_archived:
            marks = [("staff", _("archived"))]
        else:
            marks = [("active", _("on")) if flag.is_active else ("staff", _("off"))]
        if flag.error:
            marks.append(("off", _("broken")))
        if flag.is_protected:
            marks.append(("paused", _("protected")))
        if not flag.activity.stale:
            return chips(marks)
        # A mark that unfolds: it works by keyboard and by touch, which a tooltip does not.
        return format_html(
            '{} <details class="stale"><summary class="chip chip-waiting">{}</summary>{}</details>',
            chips(marks),
            _("stale"),
            format_html_join("", "<div>{}</div>", ((reason,) for reason in flag.activity.stale)),
        )

    @admin.display(description=_("rollout"))
    def rollout(self, flag: FeatureFlag) -> str:
        document = flag.document
        high, text = document["rollout_percent"], f"{document['rollout_percent']} %"
        if document["rules"]:
            rollouts = [rule["rollout_percent"] for rule in document["rules"] if rule["is_enabled"]]
            if not rollouts:
                return str(_("all rules disabled"))
            low, high = min(rollouts), max(rollouts)
            count = ngettext("%d rule", "%d rules", len(rollouts)) % len(rollouts)
            text = f"{count}, {high} %" if low == high else f"{count}, {low}–{high} %"
        # Grey: it is off for all. Hatched: of those whom a rule lets in, not of everybody.
        looks = " ".join(["narrow"] * bool(document["rules"]) + ["idle"] * (not flag.is_active))
        css = format_html(' class="{}"', looks) if looks else ""
        return format_html('<progress{} value="{}" aria-hidden="true"></progress> {}', css, high / 100, text)

    @admin.display(description=_("kind, owner"), ordering="kind")
    def kind_and_owner(self, flag: FeatureFlag) -> str:
        # Not `get_kind_display`, which translates every choice, row by row.
        return two_lines(str(FeatureFlag.Kind(flag.kind).label), flag.owner)

    @admin.display(description=_("seen, 24 h"))
    def use(self, flag: Any) -> str:
        activity: inspection.FlagActivity = flag.activity
        if activity.last_seen_at is None:
            return str(_("never seen"))
        counts = {"yes": number(activity.yes), "no": number(activity.no)}
        counts_text = _("%(yes)s yes, %(no)s no") % counts
        return format_html(
            '<span title="{}">{} {}</span>', counts_text, time_cell(activity.last_seen_at), sparkline(activity.hours)
        )

    @admin.action(description=_("Export as JSON"), permissions=["view"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> HttpResponse | None:
        """The selected flags and, for staff who may see them, the segments their rules refer to.

        A file that `import_feature_flags` reads: after a fresh proof of identity, and audited.
        """
        site: Any = self.admin_site
        if not site.is_fresh(request):
            answer: HttpResponse = site.ask_proof(
                request, back_url=request.get_full_path(), action=str(_("Export as JSON"))
            )
            return answer
        pks = list(queryset.order_by("codename").values_list("pk", flat=True)[: EXPORT_LIMIT + 1])
        if len(pks) > EXPORT_LIMIT:
            self.message_user(request, _("Select at most %(limit)d at once.") % {"limit": EXPORT_LIMIT}, messages.ERROR)
            return None
        documents = FeatureFlag.objects.filter(pk__in=pks).documents().values()
        used = {name for document in documents for name in segments_used(document)}
        shown = Segment.objects.filter(name__in=used) if may_see(request.user, Segment) else Segment.objects.none()
        text = switchboard.dump(documents, [segment.document for segment in shown])
        codenames = sorted(document["codename"] for document in documents)
        Actor.of(request, "admin").note("flags.exported", count=len(codenames), flags=codenames[:100])
        headers = {"Content-Disposition": 'attachment; filename="feature-flags.json"'}
        return HttpResponse(text, content_type="application/json", headers=headers)

    # --- The pages of one flag ----------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.who_view)
        return [path("<path:object_id>/who/", view, name=self._url_name("who")), *super().get_urls()]

    def who_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Who gets it, and why."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return who_view(self, request, object_id)

    # --- Undo ---------------------------------------------------------------------------------------------------------

    def after_verb(self, request: HttpRequest, verb: Verb, obj: FeatureFlag) -> None:
        if verb.name.startswith("switch/") and not obj.is_protected:
            request.session[UNDO] = [obj.pk, "off" if obj.is_active else "on"]

    def undo(self, request: HttpRequest) -> dict[str, Any] | None:
        """What the next page after a switch offers, once: the state before, as a button like any other."""
        if request.method != "GET" or UNDO not in request.session:
            return None
        pk, state = request.session.pop(UNDO)
        flag = FeatureFlag.objects.filter(pk=pk).first()
        verb = next(verb for verb in self.verbs if verb.name == f"switch/{state}")
        if flag is None or not verb.applies(flag) or not self.has_verb_permission(request, verb):
            return None
        return {"flag": flag, "verb": verb, "url": self.verb_url(request, verb, flag)}
