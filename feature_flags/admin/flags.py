"""Flags for staff: one click switches, one save writes, everything is on record."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext_lazy as _

from feature_flags.admin import export
from feature_flags.admin.flag_list import ArchivedFilter, FlagColumns, OwnerFilter, StaleFilter
from feature_flags.admin.flagpage import FlagPage
from feature_flags.admin.schedule import ScheduleViews
from feature_flags.admin.verbs import FLAG_VERBS
from feature_flags.admin.who import who_view
from feature_flags.models import FeatureFlag
from feature_flags.runtime import store
from lib.admin.verbs import Verb

#: In the session: the switch that the next page offers to take back.
UNDO = "feature_flags_undo"


@admin.register(FeatureFlag)
class FeatureFlagAdmin(ScheduleViews, FlagColumns):
    verbs = FLAG_VERBS
    actions = ("export_json",)
    list_display = ("name", "state", "verb_buttons", "rollout", "kind_and_owner", "use")
    list_filter = (
        ArchivedFilter,
        "is_active",
        StaleFilter,
        "kind",
        "value_type",
        "is_protected",
        "exposed",
        OwnerFilter,
        ("tags", admin.RelatedOnlyFieldListFilter),
    )
    search_fields = ("codename", "label", "description", "tags__name")
    search_help_text = _("A part of the codename, label, description or of a tag.")
    show_facets = admin.ShowFacets.NEVER  # each count would read the table once more
    ordering = ("codename",)
    empty_value_display = ""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.who_view)
        return [path("<path:object_id>/who/", view, name=self._url_name("who")), *super().get_urls()]

    def who_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Who gets it, and why."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return who_view(self, request, object_id)

    def has_delete_permission(self, request: HttpRequest, obj: FeatureFlag | None = None) -> bool:
        # Django's own deletion asks no verb; the button does.
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        snapshot = store.current()
        broken = [flag for flag in snapshot.flags.values() if flag.error] if snapshot else []
        extra = {"undo": self._undo(request), "broken_flags": broken[:20], "broken_count": len(broken)}
        return super().changelist_view(request, {**extra, **(extra_context or {})})

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if object_id is None:
            return self._add(request)
        flag = self.get_object(request, unquote(object_id))
        if not self.has_view_or_change_permission(request, flag):
            raise PermissionDenied
        if flag is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        return self.flag_page(request, flag)

    def flag_page(self, request: HttpRequest, flag: FeatureFlag, **extra: Any) -> HttpResponse:
        page = FlagPage(self, request, flag)
        page.extra |= {
            "undo": self._undo(request),
            "schedule_form": self.schedule_form(request) if not flag.is_archived else None,
            "may_restore": self.has_change_permission(request, flag),
            **extra,
        }
        return page.respond() if not extra else page.redraw()

    def _add(self, request: HttpRequest) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return FlagPage(self, request, None).respond()

    @admin.action(description="Export as JSON", permissions=["view"])
    def export_json(self, request: HttpRequest, queryset: QuerySet[FeatureFlag]) -> HttpResponse | None:
        return export.download(self, request, queryset)

    # --- Undo ---------------------------------------------------------------------------------------------------------

    def after_verb(self, request: HttpRequest, verb: Verb, obj: FeatureFlag) -> None:
        if verb.name.startswith("switch/") and not obj.is_protected:
            request.session[UNDO] = [obj.pk, "off" if obj.is_active else "on"]

    def _undo(self, request: HttpRequest) -> dict[str, Any] | None:
        """What the next page after a switch offers, once: the state before, as a button like any other."""
        if request.method != "GET" or UNDO not in request.session:
            return None
        pk, state = request.session.pop(UNDO)
        flag = FeatureFlag.objects.filter(pk=pk).first()
        verb = next(verb for verb in self.verbs if verb.name == f"switch/{state}")
        if flag is None or not verb.applies(flag) or not self.has_verb_permission(request, verb):
            return None
        url = self.page_url(f"verb_{verb.slug}", quote(pk))
        filters = self.get_preserved_filters(request)
        return {"flag": flag, "verb": verb, "url": f"{url}?{filters}" if filters else url}
