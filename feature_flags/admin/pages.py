"""One page for a whole document: its rows are changed, it is saved by one service, refused when it is out of date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse

from feature_flags import descriptions, flag_document
from feature_flags.admin.common import because
from feature_flags.admin.parts import FIELDS, STICKINESS
from feature_flags.admin.tree import PRESS, Node, Raw, Shape, draw, press, read
from feature_flags.flag_document import Document, InvalidFlag
from feature_flags.models import FlagRevision, Segment
from lib.admin.verbs import VerbAdmin
from lib.errors import ProductError
from lib.text import whole_number

if TYPE_CHECKING:
    from django.db.models import QuerySet

HISTORY_SHOWN = 50


class SaveForm(forms.Form):
    """What goes with a save: the reason."""

    use_required_attribute = False
    reason = forms.CharField(
        required=False,
        max_length=200,
        help_text="It stays in the history; you may leave it empty.",
        widget=forms.TextInput({"class": "vTextField", "autocomplete": "off"}),
    )


class DocumentPage:
    """One request to the page of one object, or of one to be (`obj` None)."""

    shape: Shape
    new_shape: Shape
    template: str

    def __init__(self, model_admin: VerbAdmin, request: HttpRequest, obj: Any) -> None:
        self.admin, self.request, self.obj = model_admin, request, obj
        self.data = request.POST
        self.save_form = SaveForm(self.data if "_save" in self.data or "_continue" in self.data else None)
        self.extra: dict[str, Any] = {}

    # --- What pages differ in -----------------------------------------------------------------------------------------

    def stored(self) -> Document:
        """The document as it is now; that of a new object when there is none yet."""
        raise NotImplementedError

    def revisions(self) -> QuerySet[FlagRevision]:
        raise NotImplementedError

    def create(self, document: Document, reason: str) -> Any:
        raise NotImplementedError

    def edit(self, changes: Document, base: int, reason: str) -> bool:
        raise NotImplementedError

    def new_row(self) -> Mapping[str, Any]:
        return {}

    def risks(self, before: Document, changes: Document) -> list[str]:
        """What a save would do that has to be confirmed; InvalidFlag when it cannot be saved at all."""
        return []

    def context(self, node: Node) -> dict[str, Any]:
        return {}

    # --- The request --------------------------------------------------------------------------------------------------

    @property
    def may_save(self) -> bool:
        if self.obj is None:
            return bool(self.admin.has_add_permission(self.request))
        return bool(self.admin.has_change_permission(self.request, self.obj))

    @property
    def used_shape(self) -> Shape:
        return self.new_shape if self.obj is None else self.shape

    def respond(self) -> HttpResponse:
        if self.request.method != "POST":
            return self.redraw()
        if not self.may_save:
            raise PermissionDenied
        raw = read(self.used_shape, self.data)
        if PRESS in self.data:
            button = self.data[PRESS]
            focus = press(self.used_shape, raw, button, self.new_row())
            return self.draw(raw, focus=focus, pressed=button.partition(" ")[2].partition("-")[0])
        return self.save(raw)

    def redraw(self) -> HttpResponse:
        """As it is stored, whatever was sent."""
        return self.draw(draw(self.used_shape, self.stored()), focus=self.used_shape.form.first)

    def save(self, raw: Raw) -> HttpResponse:
        node = self.node(raw, is_sent=True)
        if not (node.is_valid() & self.save_form.is_valid()):
            return self.render(node)
        document = self.document(node)
        try:
            return self._write(document)
        except InvalidFlag as error:
            node.blame(error.problems)
        except ProductError as error:
            if error.code == "FLAG_CHANGED":
                return self.stale(document)
            node.form.add_error(None, error.message)
        except _AtRisk as risk:
            # Asked once more, with the cursor where the reason goes.
            self.extra["risks"], self.extra["confirmed"] = risk.sentences, " | ".join(risk.sentences)
            self.save_form.fields["reason"].widget.attrs["autofocus"] = True
        return self.render(node)

    def _write(self, document: Document) -> HttpResponse:
        reason = self.save_form.cleaned_data["reason"]
        with transaction.atomic():
            if self.obj is None:
                obj = self.create(document, reason)
                self.admin.log_addition(self.request, obj, "Created." + because(reason))
                return self.leave(obj, f"“{obj}”: created.", stay=True)
            before = self.stored()
            changes = self.changes(document, before)
            risks = self.risks(before, changes)
            if risks and self.data.get("confirmed") != " | ".join(risks):
                raise _AtRisk(risks)
            if not self.edit(changes, self.base, reason):
                return self.leave(self.obj, f"“{self.obj}”: nothing to save.", level=messages.INFO)
            saved = ", ".join(sorted(changes))
            self.admin.log_change(self.request, self.obj, f"Saved: {saved}." + because(reason))
        return self.leave(self.obj, f"“{self.obj}”: saved.")

    def changes(self, document: Document, drawn_from: Document) -> Document:
        """The members that were changed on the page: what a form cannot spell stays as it is stored."""
        drawn = self.node(draw(self.used_shape, drawn_from), is_sent=True)
        before = self.document(drawn) if drawn.is_valid() else {}
        return {name: value for name, value in document.items() if name not in before or before[name] != value}

    def document(self, node: Node) -> Document:
        return node.document(node.form.cleaned_data.get("value_type", "boolean"))

    @property
    def base(self) -> int:
        return whole_number(self.data.get("base", "")) or 0

    # --- Refusals that keep what was typed ----------------------------------------------------------------------------

    def stale(self, mine: Document) -> HttpResponse:
        """Changed by others meanwhile: their changes are shown, ours stay in the form on top of what is stored now."""
        newer = list(self.revisions().filter(pk__gt=self.base).select_related("actor").order_by("pk"))
        base = self.revisions().filter(pk=self.base).first()
        kept = self.changes(mine, base.snapshot) if base and base.snapshot else mine
        now = self.stored()
        node = self.node(draw(self.used_shape, {**now, **kept}), is_sent=False)
        theirs = {name for revision in newer for name in revision.diff}
        self.extra["newer"] = newer
        self.extra["kept"] = descriptions.describe_changes(
            flag_document.diff({name: now.get(name) for name in kept}, kept)
        )
        self.extra["both"] = sorted(theirs & kept.keys())
        return self.render(node)

    # --- Answers ------------------------------------------------------------------------------------------------------

    def node(self, raw: Raw, *, is_sent: bool) -> Node:
        options = {"segments": self.segment_names()}
        return Node(self.used_shape, raw, is_sent=is_sent, options=options)

    def segment_names(self) -> list[str]:
        if not hasattr(self, "_segment_names"):
            self._segment_names = list(Segment.objects.values_list("name", flat=True))
        return self._segment_names

    def draw(self, raw: Raw, *, focus: str = "", pressed: str = "") -> HttpResponse:
        node = self.node(raw, is_sent=False)
        node.focus(focus)
        self.extra.update(focus=focus, pressed=pressed)
        return self.render(node)

    def render(self, node: Node) -> HttpResponse:
        newest = self.revisions().order_by("-pk").values_list("pk", flat=True).first() if self.obj else None
        # A page that was refused as invalid is still the page of then.
        base = self.base if self.data.get("base") and "newer" not in self.extra else newest
        site = self.admin.admin_site
        self.request.current_app = site.name
        context = {
            **site.each_context(self.request),
            "title": str(self.obj) if self.obj else f"Add {self.admin.opts.verbose_name}",
            "opts": self.admin.opts,
            "media": self.admin.media,
            "original": self.obj,
            "add": self.obj is None,
            "node": node,
            "save_form": self.save_form,
            "base": base,
            "may_save": self.may_save,
            "has_errors": any(part.form.errors or part.problems for part in node.nodes()) or self.save_form.errors,
            "fields": FIELDS,
            "stickiness": STICKINESS,
            "list_url": self.list_url(),
            "verb_buttons": self.admin.buttons_for(self.request, self.obj) if self.obj else [],
            **self.history(),
            **self.context(node),
            **self.extra,
        }
        return TemplateResponse(self.request, self.template, context)

    def history(self) -> dict[str, Any]:
        if self.obj is None:
            return {}
        newest = list(self.revisions().select_related("actor").order_by("-pk")[: HISTORY_SHOWN + 1])
        cut = HISTORY_SHOWN if len(newest) > HISTORY_SHOWN else None
        return {"history": newest[:HISTORY_SHOWN], "history_cut": cut}

    def leave(self, obj: Any, text: str, *, level: int = messages.SUCCESS, stay: bool = False) -> HttpResponse:
        self.admin.message_user(self.request, text, level)
        if stay or "_continue" in self.data:
            return HttpResponseRedirect(self.filtered(self.admin.page_url("change", obj.pk)))
        return HttpResponseRedirect(self.list_url())

    def list_url(self) -> str:
        return self.filtered(self.admin.page_url("changelist"))

    def filtered(self, url: str) -> str:
        filters = self.admin.get_preserved_filters(self.request)
        return add_preserved_filters({"preserved_filters": filters, "opts": self.admin.opts}, url)


class _AtRisk(Exception):
    def __init__(self, sentences: Iterable[str]) -> None:
        super().__init__()
        self.sentences = list(sentences)
