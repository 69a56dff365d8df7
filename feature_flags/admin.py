"""Flags for staff: one click switches, everything is on record."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

from feature_flags import services
from feature_flags.models import FeatureFlag, FlagRevision
from lib.admin import Verb, VerbAdmin, staff

HISTORY_SHOWN = 50


def _switch_on(flag: FeatureFlag, /, *, request: HttpRequest, reason: str) -> bool:
    return services.switch(flag, on=True, by=staff(request), reason=reason, door=FlagRevision.Door.ADMIN)


def _switch_off(flag: FeatureFlag, /, *, request: HttpRequest, reason: str) -> bool:
    return services.switch(flag, on=False, by=staff(request), reason=reason, door=FlagRevision.Door.ADMIN)


@admin.register(FeatureFlag)
class FeatureFlagAdmin(VerbAdmin):
    list_display = ("codename", "label", "is_active", "verb_buttons", "updated_at")
    list_filter = ("is_active",)
    search_fields = ("codename", "label", "description")
    ordering = ("codename",)
    change_form_template = "admin/feature_flags/featureflag/change_form.html"
    verbs = (
        Verb(
            name="switch/on",
            label="Switch on",
            permission="feature_flags.switch_featureflag",
            run=_switch_on,
            done="switched on",
            already="on already",
            in_row=True,
            applies=lambda flag: not flag.is_active,
        ),
        Verb(
            name="switch/off",
            label="Switch off",
            permission="feature_flags.switch_featureflag",
            run=_switch_off,
            done="switched off",
            already="off already",
            in_row=True,
            applies=lambda flag: flag.is_active,
        ),
    )

    def get_fields(self, request: HttpRequest, obj: FeatureFlag | None = None) -> tuple[str, ...]:
        if obj is None:
            return ("codename", "label", "description")
        return ("codename", "is_active", "label", "description", "created_at", "updated_at")

    def get_readonly_fields(self, request: HttpRequest, obj: FeatureFlag | None = None) -> tuple[str, ...]:
        return () if obj is None else ("codename", "is_active", "created_at", "updated_at")

    def has_delete_permission(self, request: HttpRequest, obj: FeatureFlag | None = None) -> bool:
        # Code and clients ask for the name; a flag that went would answer its default unseen.
        return False

    def save_model(self, request: HttpRequest, obj: FeatureFlag, form: Any, change: bool) -> None:
        label, description = form.cleaned_data["label"], form.cleaned_data["description"]
        by, door = staff(request), FlagRevision.Door.ADMIN
        if change:
            services.edit(obj, label=label, description=description, by=by, door=door)
        else:
            made = services.create(obj.codename, label=label, description=description, by=by, door=door)
            # The admin goes on with the object of the form.
            obj.pk, obj._state.adding = made.pk, False
            obj.refresh_from_db()

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if change:
            newest = list(obj.revisions.select_related("actor").order_by("-id")[: HISTORY_SHOWN + 1])
            context["flag_history"] = newest[:HISTORY_SHOWN]
            context["flag_history_cut"] = HISTORY_SHOWN if len(newest) > HISTORY_SHOWN else None
        return super().render_change_form(request, context, add, change, form_url, obj)
