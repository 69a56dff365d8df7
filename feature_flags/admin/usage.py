"""What readers report: use by hour, and names that no flag has."""

from __future__ import annotations

from collections.abc import Callable
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

from feature_flags.models import FlagUsage, UnknownFlag
from lib.admin.lists import ReadOnlyAdmin, TableFilter


def _since(hours: int) -> Callable[[Any], QuerySet[FlagUsage]]:
    return lambda usage: usage.filter(hour__gte=timezone.now() - timedelta(hours=hours))


class RecentFilter(TableFilter):
    title = _("time")
    parameter_name = "hours"
    options = {"24": (_("Last 24 hours"), _since(24)), "168": (_("Last 7 days"), _since(168))}


class VariantFilter(TableFilter):
    """A row per variant stands beside the row with the total: usually only the total is meant."""

    title = _("rows")
    parameter_name = "rows"
    options = {
        "totals": (_("Totals"), lambda usage: usage.filter(variant="")),
        "variants": (_("Variants"), lambda usage: usage.exclude(variant="")),
    }


@admin.register(FlagUsage)
class FlagUsageAdmin(ReadOnlyAdmin):
    list_display = ("codename", "hour", "app_name", "variant", "yes", "no")
    list_filter = (RecentFilter, VariantFilter)
    search_fields = ("codename", "app_name")
    search_help_text = _("A part of the flag's codename or of the application's name.")
    ordering = ("-hour", "codename", "app_name", "variant")


@admin.register(UnknownFlag)
class UnknownFlagAdmin(ReadOnlyAdmin):
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
