"""Segments: groups with a name. A change reaches every flag that uses one, so the page lists them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from feature_flags.admin.document_page import DocumentAdmin, DocumentPage
from feature_flags.admin.forms import NEW_SEGMENT, SEGMENT
from feature_flags.admin.nested_forms import Node
from feature_flags.models import Segment
from feature_flags.services import segments
from lib.admin.lists import column
from lib.admin.verbs import Verb


class SegmentPage(DocumentPage):
    shape, new_shape = SEGMENT, NEW_SEGMENT
    template = "admin/feature_flags/segment/change_form.html"
    name, unknown = "name", segments.unknown

    def context(self, node: Node) -> dict[str, Any]:
        return {"users": list(self.obj.flags.order_by("codename"))} if self.obj else {}


@admin.register(Segment)
class SegmentAdmin(DocumentAdmin):
    list_display = ("name", "description_shown", "constraint_count", "used_by", "updated_at")
    search_fields = ("name", "description")
    search_help_text = _("A part of the name or of the description.")
    ordering = ("name",)
    verbs = (
        Verb(
            name="delete",
            label=_("Delete"),
            permission="feature_flags.delete_segment",
            run=segments.delete_segment,
            done=_("deleted"),
            asks_reason=True,
            reason_required=False,
            explain=lambda segment: _("Rules can no longer refer to it; its history stays."),
            deletes=True,
            in_bulk=False,
            applies=lambda segment: not segment.flags.exists(),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        segments: QuerySet[Segment] = super().get_queryset(request)
        return segments.annotate(used_by_count=Count("flags"))

    @admin.display(description=_("description"), empty_value="")
    def description_shown(self, segment: Segment) -> str:
        text = segment.description
        return text if len(text) <= 80 else text[:79] + "…"

    constraint_count = column(_("constraints"), lambda segment: len(segment.constraints))

    @admin.display(description=_("used by"), ordering="used_by_count")
    def used_by(self, segment: Segment) -> str:
        count = segment.used_by_count  # type: ignore[attr-defined]
        return ngettext("%d flag", "%d flags", count) % count if count else "–"

    def page(self, request: HttpRequest, obj: Segment | None) -> HttpResponse:
        create, edit = segments.create_segment, segments.edit_segment
        return SegmentPage(self, request, obj, create=create, edit=edit).respond()
