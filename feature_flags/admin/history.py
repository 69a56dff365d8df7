"""Every change there ever was, and the way back."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from feature_flags import descriptions
from feature_flags.models import FeatureFlag, FlagRevision, FlagToken, Segment
from feature_flags.services import editing
from lib.actors import Actor
from lib.admin import because
from lib.admin.changelist import time_cell
from lib.admin.lists import ReadOnlyAdmin, column, one_line, two_lines
from lib.admin.verbs import ReasonForm, render_page
from lib.errors import ProductError

LINES_SHOWN = 5


class ActorFilter(admin.RelatedOnlyFieldListFilter):
    """Those who changed something."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.title = _("who")


@admin.register(FlagRevision)
class FlagRevisionAdmin(ReadOnlyAdmin):
    list_display = ("when", "what", "first_changes", "reason")
    list_filter = ("door", "action", "subject", ("actor", ActorFilter))
    search_fields = ("codename", "reason")
    search_help_text = _("A part of the name or of a reason.")
    ordering = ("-id",)
    list_select_related = ("actor",)
    fields = ("at", "subject", "codename", "action", "who_shown", "door", "reason", "changes_shown", "whole")

    def get_queryset(self, request: HttpRequest) -> QuerySet[FlagRevision]:
        revisions: QuerySet[FlagRevision] = super().get_queryset(request).select_related("actor", "flag")
        # What a flag, segment or token was is shown to those who may see what it is; the others learn that it changed.
        models = {"flag": FeatureFlag, "segment": Segment, "token": FlagToken}
        admins = {subject: self.admin_site.get_model_admin(model) for subject, model in models.items()}
        shown = [subject for subject, found in admins.items() if found.has_view_permission(request)]
        return revisions.annotate(is_shown=Q(subject__in=shown))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    @admin.display(description=_("when, who"), ordering="id")
    def when(self, revision: FlagRevision) -> str:
        return two_lines(time_cell(revision.at), f"{revision.who}, {revision.get_door_display()}")

    @admin.display(description=_("what"), ordering="codename")
    def what(self, revision: FlagRevision) -> str:
        return two_lines(revision.codename, revision.get_action_display())

    @admin.display(description=_("before → after"))
    def first_changes(self, revision: FlagRevision) -> str:
        lines = _lines(revision)
        if len(lines) > LINES_SHOWN:
            lines = [*lines[: LINES_SHOWN - 1], _("and %(count)d more") % {"count": len(lines) - LINES_SHOWN + 1}]
        return one_line("; ".join(lines))

    who_shown = column(_("who"), lambda revision: revision.who)

    @admin.display(description=_("before → after"))
    def changes_shown(self, revision: FlagRevision) -> str:
        return format_html_join("", "<div>{}</div>", ((line,) for line in _lines(revision)))

    @admin.display(description=_("the whole after it"))
    def whole(self, revision: FlagRevision) -> str:
        is_there = revision.snapshot and revision.is_shown  # type: ignore[attr-defined]
        text = json.dumps(revision.snapshot, indent=2, ensure_ascii=False) if is_there else "–"
        return format_html('<pre class="whole" tabindex="0">{}</pre>', text)

    # --- Restore ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.restore_view)
        return [path("<path:object_id>/restore/", view, name=self._url_name("restore")), *super().get_urls()]

    def restore_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """What would change, and why; then it does."""
        revision: FlagRevision | None = self.get_object(request, unquote(object_id))
        if revision is None or not revision.snapshot or revision.subject != FlagRevision.Subject.FLAG:
            raise Http404
        changed, needed = editing.restoring(revision)
        if not request.user.has_perms(needed):
            raise PermissionDenied
        form = ReasonForm(request.POST if request.method == "POST" else None)
        is_protected = revision.flag is not None and revision.flag.is_protected
        form.fields["reason"].required = is_protected and "is_active" in changed
        if form.is_valid():
            return self._restore(request, revision, form.cleaned_data["reason"])
        template, title = (
            "admin/feature_flags/flagrevision/restore.html",
            _("Restore %(flag)s") % {"flag": revision.codename},
        )
        lines = descriptions.describe_changes(changed)
        return render_page(self, request, template, title=title, revision=revision, lines=lines, form=form)

    def _restore(self, request: HttpRequest, revision: FlagRevision, reason: str) -> HttpResponse:
        try:
            with transaction.atomic():
                changed = editing.restore(revision, actor=Actor.of(request, "admin"), reason=reason)
                if changed and revision.flag:
                    note = f"Restored the version of {revision.at:%Y-%m-%d %H:%M:%S} UTC."
                    flag_admin = self.admin_site.get_model_admin(FeatureFlag)
                    flag_admin.log_change(request, revision.flag, note + because(reason))
        except ProductError as error:
            self.message_user(request, f"“{revision.codename}”: {error.message}", messages.ERROR)
            return HttpResponseRedirect(request.path)
        text = _("restored") if changed else _("it is like that already")
        self.message_user(request, f"“{revision.codename}”: {text}.", messages.SUCCESS if changed else messages.INFO)
        if revision.flag_id:
            return redirect("admin:feature_flags_featureflag_change", quote(revision.flag_id))
        return redirect("admin:feature_flags_featureflag_changelist")


def _lines(revision: FlagRevision) -> list[str]:
    return revision.change_lines if revision.is_shown else []  # type: ignore[attr-defined]
