"""What readers report: use by hour, and names that no flag has."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from feature_flags.admin.common import ViewOnly
from feature_flags.models import FlagUsage, UnknownFlag


class RecentFilter(admin.SimpleListFilter):
    title = _("time")
    parameter_name = "hours"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("24", _("Last 24 hours")), ("168", _("Last 7 days"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FlagUsage]) -> QuerySet[FlagUsage]:
        if self.value() not in ("24", "168"):
            return queryset
        return queryset.filter(hour__gte=timezone.now() - timedelta(hours=int(self.value() or 24)))


class VariantFilter(admin.SimpleListFilter):
    """A row per variant stands beside the row with the total: usually only the total is meant."""

    title = _("rows")
    parameter_name = "rows"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("totals", _("Totals")), ("variants", _("Variants"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[FlagUsage]) -> QuerySet[FlagUsage]:
        if self.value() == "totals":
            return queryset.filter(variant="")
        return queryset.exclude(variant="") if self.value() == "variants" else queryset


@admin.register(FlagUsage)
class FlagUsageAdmin(ViewOnly):
    list_display = ("codename", "hour", "app_name", "variant", "yes", "no")
    list_filter = (RecentFilter, VariantFilter)
    search_fields = ("codename", "app_name")
    search_help_text = _("A part of the flag's codename or of the application's name.")
    ordering = ("-hour", "codename", "app_name", "variant")


@admin.register(UnknownFlag)
class UnknownFlagAdmin(ViewOnly):
    list_display = ("codename", "app_name", "count", "last_seen_at")
    search_fields = ("codename", "app_name")
    search_help_text = _("A part of the name, or of the application's name.")
    ordering = ("-last_seen_at",)

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        if not request.user.has_perm("feature_flags.add_featureflag"):
            return columns
        return [*columns, _create_from_here]


@admin.display(description="")
def _create_from_here(unknown: UnknownFlag) -> str:
    url = f"{reverse('admin:feature_flags_featureflag_add')}?{urlencode({'codename': unknown.codename})}"
    return format_html('<a href="{}" aria-label="Create {}">{}</a>', url, unknown.codename, _("Create it"))
