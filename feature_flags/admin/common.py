"""What pages and lists share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html

from feature_flags.models import FlagRevision
from feature_flags.services import Who
from lib.admin.verbs import staff

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin


class ViewOnly(ModelAdmin):
    """Rows that no person writes: to be looked at, found and filtered."""

    show_full_result_count = False
    list_per_page = 50
    show_facets = admin.ShowFacets.NEVER
    actions = None
    empty_value_display = ""

    class Media:
        css = {"all": ("admin/flags.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def who(request: HttpRequest, reason: str = "") -> Who:
    """What verbs want to know of whoever pressed."""
    return {"by": staff(request), "door": FlagRevision.Door.ADMIN, "reason": reason}


def may_see_segments(request: HttpRequest) -> bool:
    """Without it a page names segments and shows nothing of what is in them, often addresses of customers."""
    return bool(staff(request).has_perm("feature_flags.view_segment"))  # type: ignore[attr-defined]


def because(reason: str) -> str:
    """The end of a log entry."""
    return f" Reason: {reason}" if reason else ""


def two_lines(text: str, below: str) -> str:
    return format_html('{}<span class="below">{}</span>', text, below) if below else text
