"""Segments: groups with a name. A change reaches every flag that uses one, so the page lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _

from feature_flags import flag_document
from feature_flags.admin import texts
from feature_flags.admin.common import who
from feature_flags.admin.forms import NEW_SEGMENT, SEGMENT
from feature_flags.admin.pages import DocumentPage
from feature_flags.admin.tree import Node
from feature_flags.flag_document import Document
from feature_flags.models import FeatureFlag, FlagRevision, Segment
from feature_flags.services import segments
from lib.admin.lists import column
from lib.admin.verbs import Verb, VerbAdmin
from lib.errors import ProductError

if TYPE_CHECKING:
    from django.db.models import QuerySet as Revisions


class SegmentPage(DocumentPage):
    shape, new_shape = SEGMENT, NEW_SEGMENT
    template = "admin/feature_flags/segment/change_form.html"

    def stored(self) -> Document:
        if self.obj is None:
            return {}
        stored = Segment.objects.filter(pk=self.obj.pk).first()
        if stored is None:
            raise ProductError("SEGMENT_UNKNOWN", "There is no such segment.", status=404)
        return stored.document

    def revisions(self) -> Revisions[FlagRevision]:
        return FlagRevision.objects.filter(segment=self.obj)

    def create(self, document: Document, reason: str) -> Segment:
        return segments.create_segment(document.pop("name"), **document, **who(self.request, reason))

    def edit(self, changes: Document, base: int, reason: str) -> bool:
        return segments.edit_segment(self.obj, changes, base=base, **who(self.request, reason))

    def context(self, node: Node) -> dict[str, Any]:
        if not self.obj:
            return {}
        document = self.stored()
        return {
            "users": users_of(self.obj),
            "ambiguities": [flag_document.Problem(*found[:2]) for found in flag_document.ambiguities(document)],
            "context_notes": texts.context_notes(document),
        }


def users_of(segment: Segment) -> list[FeatureFlag]:
    return list(segment.flags.order_by("codename"))


@admin.register(Segment)
class SegmentAdmin(VerbAdmin):
    list_display = ("name", "description_shown", "constraint_count", "used_by", "updated_at")
    search_fields = ("name", "description")
    search_help_text = _("A part of the name or of the description.")
    ordering = ("name",)
    verbs = (
        Verb(
            name="delete",
            label="Delete",
            permission="feature_flags.delete_segment",
            run=segments.delete_segment,
            done="deleted",
            asks_reason=True,
            reason_required=False,
            explain=lambda segment: "Rules can no longer refer to it; its history stays.",
            deletes=True,
            in_bulk=False,
            applies=lambda segment: not segment.flags.exists(),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        used_by = Count("flags")
        segments: QuerySet[Segment] = super().get_queryset(request)
        return segments.annotate(used_by_count=used_by)

    @admin.display(description=_("description"), empty_value="")
    def description_shown(self, segment: Segment) -> str:
        text = segment.description
        return text if len(text) <= 80 else text[:79] + "…"

    constraint_count = column(_("constraints"), lambda segment: len(segment.constraints))

    @admin.display(description=_("used by"), ordering="used_by_count")
    def used_by(self, segment: Segment) -> str:
        count = segment.used_by_count  # type: ignore[attr-defined]
        return f"{count} {'flag' if count == 1 else 'flags'}" if count else "–"

    def has_delete_permission(self, request: HttpRequest, obj: Segment | None = None) -> bool:
        # Django's own deletion asks no verb; the button does.
        return False

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        segment = None if object_id is None else self.get_object(request, unquote(object_id))
        is_allowed = self.has_add_permission(request) if object_id is None else self.has_view_permission(request)
        if not is_allowed:
            raise PermissionDenied
        if object_id is not None and segment is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        return SegmentPage(self, request, segment).respond()
