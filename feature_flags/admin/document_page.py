"""One page for a whole document: its rows are changed, it is saved by one service, refused when it is out of date."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from feature_flags import descriptions, flag_document
from feature_flags.admin.forms import FIELDS, STICKINESS
from feature_flags.admin.nested_forms import PRESS, Node, Raw, Shape, draw, press, read
from feature_flags.engine import validation
from feature_flags.flag_document import Document, InvalidFlag, readable
from feature_flags.models import FlagRevision, Segment
from lib.actors import Actor
from lib.admin import because
from lib.admin.fields import reason_field
from lib.admin.verbs import VerbAdmin, render_page
from lib.errors import ProductError
from lib.private import missing_object
from lib.text import whole_number

HISTORY_SHOWN = 20
#: The button that shows what a save would do; with this value only that is answered, for the page's script.
PREVIEW, FRAGMENT = "_preview", "fragment"


class SaveForm(forms.Form):
    """What goes with a save: the reason."""

    use_required_attribute = False
    reason = reason_field(required=False, help_text=_("It stays in the history; you may leave it empty."))


class DocumentPage:
    """One request to the page of one object, or of one to be (`obj` None)."""

    shape: ClassVar[Shape]
    new_shape: ClassVar[Shape]
    template: ClassVar[str]
    #: The member that names a new object.
    name: ClassVar[str]
    #: The refusal when the object is gone.
    unknown: ClassVar[Callable[[], ProductError]]

    def __init__(
        self,
        model_admin: VerbAdmin,
        request: HttpRequest,
        obj: Any,
        *,
        create: Callable[..., Any],
        edit: Callable[..., bool],
    ) -> None:
        self.admin, self.request, self.obj = model_admin, request, obj
        self.create, self.edit = create, edit
        self.data = request.POST
        self.used_shape = self.new_shape if obj is None else self.shape
        self.save_form = SaveForm(self.data if {"_save", "_continue", PREVIEW} & self.data.keys() else None)
        self.base = whole_number(self.data.get("base", "")) or 0
        self.extra: dict[str, Any] = {}

    # --- What pages add -----------------------------------------------------------------------------------------------

    def new_row(self) -> Mapping[str, Any]:
        return {}

    def press(self, raw: Raw, button: str) -> str:
        """Do what a row button says; return what to focus on."""
        return press(self.used_shape, raw, button, self.new_row())

    def risks(self, before: Document, changes: Document) -> list[str]:
        """What a save would do that has to be confirmed; InvalidFlag when it cannot be saved at all."""
        return []

    def context(self, node: Node) -> dict[str, Any]:
        return {}

    # --- The request --------------------------------------------------------------------------------------------------

    def stored(self) -> Document:
        """The document as it is now; of a new object the name that its link carries."""
        if self.obj is None:
            return {self.name: self.request.GET.get(self.name, "")}
        stored = type(self.obj).objects.filter(pk=self.obj.pk).first()
        if stored is None:
            raise type(self).unknown()
        document: Document = stored.document
        return document

    def shown(self) -> Document:
        """The same, where nothing was sent that may have changed it: as it was read for this request."""
        is_read = self.obj is not None and self.request.method == "GET"
        document: Document = self.obj.document if is_read else self.stored()
        return document

    @property
    def revisions(self) -> QuerySet[FlagRevision]:
        return FlagRevision.objects.filter(**{"segment" if isinstance(self.obj, Segment) else "flag": self.obj})

    @property
    def may_save(self) -> bool:
        if self.obj is None:
            return bool(self.admin.has_add_permission(self.request))
        is_archived = getattr(self.obj, "is_archived", False)
        return bool(self.admin.has_change_permission(self.request, self.obj)) and not is_archived

    def respond(self) -> HttpResponse:
        if self.request.method != "POST":
            return self.redraw()
        if not self.may_save:
            raise PermissionDenied
        raw = read(self.used_shape, self.data)
        if PRESS in self.data:
            button = self.data[PRESS]
            focus = self.press(raw, button)
            return self.draw(raw, focus=focus, pressed=button.partition(" ")[2].partition("-")[0])
        return self.save(raw)

    def redraw(self) -> HttpResponse:
        """As it is stored, whatever was sent."""
        return self.draw(draw(self.used_shape, self.shown()), focus=self.used_shape.form.first)

    def save(self, raw: Raw) -> HttpResponse:
        node = self.node(raw, is_sent=True)
        if not (node.is_valid() & self.save_form.is_valid()):
            return self.render(node)
        document = self.document(node)
        try:
            return self._write(document)
        except InvalidFlag as error:
            for problem in error.problems:
                node.blame(*problem)
        except ProductError as error:
            if error.code == "FLAG_CHANGED":
                return self.stale(document)
            node.form.add_error(None, error.message)
        except _AtRisk as risk:
            # Asked once more, with the cursor where the reason goes.
            self.extra["risks"], self.extra["confirmed"] = risk.args, " | ".join(risk.args)
            self.save_form.fields["reason"].widget.attrs["autofocus"] = True
        return self.render(node)

    def _write(self, document: Document) -> HttpResponse:
        reason = self.save_form.cleaned_data["reason"]
        given = {"actor": Actor.of(self.request, "admin"), "reason": reason}
        with transaction.atomic():
            if self.obj is None:
                obj = self.create(document.pop(self.name), **document, **given)
                self.admin.log_addition(self.request, obj, "Created." + because(reason))
                return self.leave(obj, f"“{obj}”: {_('created')}.", stay=True)
            before = self.stored()
            changes = self.edited(document, before)
            risks = self.risks(before, changes)
            if risks and self.data.get("confirmed") != " | ".join(risks):
                raise _AtRisk(*risks)
            if not self.edit(self.obj, changes, base=self.base, **given):
                return self.leave(self.obj, f"“{self.obj}”: {_('nothing to save')}.", level=messages.INFO)
            self.admin.log_change(self.request, self.obj, f"Saved: {', '.join(sorted(changes))}." + because(reason))
        return self.leave(self.obj, f"“{self.obj}”: {_('saved')}.")

    def edited(self, document: Document, drawn_from: Document) -> Document:
        """The members that were changed on the page: what a form cannot spell stays as it is stored."""
        drawn = self.node(draw(self.used_shape, drawn_from), is_sent=True)
        before = self.document(drawn) if drawn.is_valid() else {}
        return {name: value for name, value in document.items() if name not in before or before[name] != value}

    def document(self, node: Node) -> Document:
        return node.document(node.form.cleaned_data.get("value_type", "boolean"))

    def stale(self, mine: Document) -> HttpResponse:
        """Changed by others meanwhile: their changes are shown, ours stay in the form on top of what is stored now."""
        newer = list(self.revisions.filter(pk__gt=self.base).select_related("actor").order_by("pk"))
        base = self.revisions.filter(pk=self.base).first()
        kept = self.edited(mine, base.snapshot) if base and base.snapshot else mine
        now = self.stored()
        theirs = {name for revision in newer for name in revision.diff}
        mine_now = flag_document.diff({name: now.get(name) for name in kept}, kept)
        self.extra |= {"newer": newer, "both": sorted(theirs & kept.keys())}
        self.extra["kept"] = descriptions.describe_changes(mine_now)
        return self.render(self.node(draw(self.used_shape, {**now, **kept}), is_sent=False))

    # --- Answers ------------------------------------------------------------------------------------------------------

    def node(self, raw: Raw, *, is_sent: bool) -> Node:
        return Node(self.used_shape, raw, is_sent=is_sent, options={"segments": self.segment_names})

    @cached_property
    def segment_names(self) -> list[str]:
        return list(Segment.objects.values_list("name", flat=True))

    def draw(self, raw: Raw, *, focus: str = "", pressed: str = "") -> HttpResponse:
        node = self.node(raw, is_sent=False)
        node.focus(focus)
        self.extra.update(focus=focus, pressed=pressed)
        return self.render(node)

    def render(self, node: Node) -> HttpResponse:
        found: dict[str, Any] = {"title": _("Add %(thing)s") % {"thing": self.admin.opts.verbose_name}, "base": None}
        if self.obj is not None:
            document = self.shown()
            history = list(self.revisions.select_related("actor").order_by("-pk")[: HISTORY_SHOWN + 1])
            found = {
                "title": str(self.obj),
                **self.admin.head(self.request, self.obj),
                "base": history[0].pk if history else None,
                "history": history[:HISTORY_SHOWN],
                "history_cut": HISTORY_SHOWN if len(history) > HISTORY_SHOWN else None,
                "ambiguities": [flag_document.Problem(*each[:2]) for each in flag_document.ambiguities(document)],
                "context_notes": context_notes(document),
            }
        if self.data.get("base") and "newer" not in self.extra:
            # A page that was refused as invalid is still the page of then.
            found["base"] = self.base
        found |= {
            "original": self.obj,
            "add": self.obj is None,
            "node": node,
            "save_form": self.save_form,
            "may_save": self.may_save,
            "has_errors": node.has_errors or self.save_form.errors,
            "fields": FIELDS,
            "stickiness": STICKINESS,
            "list_url": self.list_url,
            **self.context(node),
            **self.extra,
        }
        return render_page(self.admin, self.request, self.template, **found)

    def leave(self, obj: Any, text: str, *, level: int = messages.SUCCESS, stay: bool = False) -> HttpResponse:
        self.admin.message_user(self.request, text, level)
        is_staying = stay or "_continue" in self.data
        return HttpResponseRedirect(self._filtered("change", obj.pk) if is_staying else self.list_url)

    @property
    def list_url(self) -> str:
        return self._filtered("changelist")

    def _filtered(self, name: str, *args: Any) -> str:
        filters = self.admin.get_preserved_filters(self.request)
        url = self.admin.page_url(name, *args)
        return add_preserved_filters({"preserved_filters": filters, "opts": self.admin.opts}, url)


class DocumentAdmin(VerbAdmin):
    """Objects whose page is a DocumentPage."""

    has_primary_form = True

    def page(self, request: HttpRequest, obj: Any) -> HttpResponse:
        raise NotImplementedError

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        # Django's own deletion asks no verb; the button does.
        return False

    def changeform_view(
        self, request: HttpRequest, object_id: str | None = None, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        obj = None if object_id is None else self.get_object(request, unquote(object_id))
        if not (self.has_add_permission(request) if object_id is None else self.has_view_permission(request, obj)):
            raise PermissionDenied
        if object_id is not None and obj is None:
            return missing_object(self, request, object_id)
        return self.page(request, obj)


class _AtRisk(Exception):
    """The sentences to be confirmed are its arguments."""


def context_notes(document: Mapping[str, Any]) -> list[str]:
    """What a context has to bring so that every SDK reads it alike: a line for each field that can be read two ways."""
    rules = document.get("rules") or []
    notes: dict[str, str] = {}
    for part in [document, *rules]:
        for constraint in readable(part.get("constraints")):
            if note := validation.context_note(constraint["operator"]):
                notes[constraint["field"]] = note
    for place in rules or [document]:
        if place.get("stickiness", "random") != "random" and (place["rollout_percent"] < 100 or place["variants"]):
            fields = gettext("userId or sessionId") if place["stickiness"] == "default" else place["stickiness"]
            notes.setdefault(fields, validation.HASHED)
    if (document.get("targets") or {}).get("on"):
        notes.setdefault("userId", validation.NAMED)
    return [f"{field}: {_(note)}" for field, note in notes.items()]
