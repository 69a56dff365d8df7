"""What people find inside the product."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from lib.admin.lists import GrowingTableAdmin, chip, column, user_starts_with
from notifications.admin.common import TypeFilter, type_column, user_column
from notifications.models import InAppNotification, Severity

CHIPS = {Severity.INFO: "staff", Severity.SUCCESS: "active", Severity.WARNING: "waiting", Severity.ERROR: "off"}
TIMES = ("created_at", "seen_at", "read_at", "archived_at")


@admin.register(InAppNotification)
class InAppNotificationAdmin(GrowingTableAdmin):
    list_display = ("title", "person", "kind", "level", "created_at", "seen_at", "read_at")
    list_filter = ("severity", TypeFilter)
    search_fields = ("user",)
    search_help_text = _("The address a person signs in with, or its beginning.")
    list_select_related = ("user",)
    fields = readonly_fields = ("title", "body", "url", "person", "kind", "level", *TIMES)

    def search_query(self, term: str, request: HttpRequest) -> Q:
        return user_starts_with(term)

    person, kind = user_column, type_column
    level = column(
        _("severity"), lambda row: chip(CHIPS.get(Severity(row.severity), "staff"), Severity(row.severity).label)
    )

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        """Where announcements were written in earlier releases."""
        return HttpResponseRedirect(reverse("admin:notifications_announcement_add", current_app=self.admin_site.name))
