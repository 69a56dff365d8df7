"""The templates of every mail: what is sent, from where, and how staff change it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import get_language_info
from django.utils.translation import gettext as _

from lib.actors import Actor
from lib.addresses import normal_email
from lib.admin import may_see
from lib.admin.fields import focus, reason_field
from lib.admin.verbs import has_fresh_proof, in_english, render_page
from lib.errors import ProductError
from lib.text import is_storable, whole_number
from notifications.admin.common import framed_response, preview_response
from notifications.admin.words import SourceForm, WordsForm, compared, differences, part_label, versions
from notifications.models import TemplateOverride
from notifications.registry import MASK, NotificationType
from notifications.rendering import engines, overriding, render, words
from notifications.services import overrides, staff_actions

if TYPE_CHECKING:
    from users.models import User

    OverrideModelAdmin = admin.ModelAdmin[TemplateOverride]
else:
    OverrideModelAdmin = admin.ModelAdmin

#: Rows of versions that are read; one that is saved in Words has up to three.
SHOWN_VERSIONS = 50
FILE, ALL = "file", "all"


class LocalizedTemplate(overrides.LocalizedTemplate):
    """With what its page shows."""

    @property
    def language_name(self) -> str:
        return language_name(self.language)

    @property
    def seen(self) -> str:
        return json.dumps(self.in_use)

    @property
    def title(self) -> str:
        return f"{self.kind.label}, {self.language_name}"

    def states(self) -> list[dict[str, str]]:
        """A line for each part that is not the file's."""
        return [
            {"part": part, "label": part_label(part), "why": self.trouble.get(part, "")}
            for part in overrides.PARTS
            if part in self.active
        ]


class NoteForm(forms.Form):
    note = reason_field()


def language_name(code: str) -> str:
    try:
        return str(get_language_info(code)["name_translated"])
    except KeyError:
        return code


@admin.register(TemplateOverride)
class TemplateOverrideAdmin(OverrideModelAdmin):
    """Every type in every language, whether staff changed it or not; rows are made and kept by `services.overrides`."""

    class Media:
        css = {"all": ("notifications/templates.css",)}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_urls(self) -> list[URLPattern]:
        template = "of/<str:code>/<str:language>/"
        views = (
            (template, self.edit_view, "edit"),
            (f"{template}frame/", self.frame_view, "frame"),
            (f"{template}test/", self.test_view, "test"),
            (f"{template}use/<str:part>/<str:version>/", self.use_view, "use"),
        )
        ours = [
            path(where, self.admin_site.admin_view(view), name=f"notifications_templateoverride_{name}")
            for where, view, name in views
        ]
        return [*ours, *super().get_urls()]

    def url(self, name: str, template: LocalizedTemplate, *more: Any) -> str:
        where = f"admin:notifications_templateoverride_{name}"
        return reverse(where, args=[template.kind.code, template.language, *more], current_app=self.admin_site.name)

    # --- The list -----------------------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = [{"template": template, "url": self.url("edit", template)} for template in LocalizedTemplate.every()]
        return self._page(request, "list", title=_("Templates"), rows=rows)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Where the log's links lead: the page of the type and language."""
        row = self.get_object(request, object_id)
        if row is None or not self.has_view_permission(request):
            raise Http404
        return HttpResponseRedirect(self.url("edit", self._find(request, row.type, row.language)))

    # --- One type in one language -------------------------------------------------------------------------------------

    def edit_view(self, request: HttpRequest, code: str, language: str) -> HttpResponse:
        template = self._find(request, code, language)
        if request.method != "POST":
            return self._edit_page(request, template)
        self._require_change(request, template)
        form = _sent(request)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form) and self._save(request, template, form):
            return HttpResponseRedirect(self.url("edit", template))
        focus(form)
        return self._edit_page(request, template, form)

    def _save(self, request: HttpRequest, template: LocalizedTemplate, form: WordsForm | SourceForm) -> bool:
        kind, language, note = template.kind, template.language, form.cleaned_data["note"]
        try:
            with transaction.atomic():
                about: Any = {"note": note, "actor": Actor.of(request, "admin")}
                bodies, seen = form.bodies(kind, language), form.cleaned_data["seen"]
                changed = overrides.save(kind, language=language, bodies=bodies, seen=seen, **about)
                overrides.record(kind, language, changed, "Saved", "template.saved", **about)
        except overrides.InvalidTemplate as error:
            for field, texts in form.by_field(error.problems).items():
                form.add_error(field, texts)
            return False
        except ProductError as error:
            # Saved once more, the form knows what is in use now.
            form.data = {**form.data.dict(), "seen": self._find(request, kind.code, language).seen}  # type: ignore[attr-defined]
            form.add_error(
                None, f"{error.message} {_('Nothing is saved; what you typed stands here. Save again to use it.')}"
            )
            return False
        parts = ", ".join(map(part_label, changed))
        text = _("%(parts)s saved.") % {"parts": parts} if changed else _("nothing changed.")
        self.message_user(request, f"“{template.title}”: {text}", messages.SUCCESS if changed else messages.INFO)
        size = len(render.render(kind, engines.sample(kind), language=language).html.encode())
        if size > render.HTML_WARNING:
            text = _("The HTML has %(size)s kB: some mail programs cut off what is beyond 102 kB.")
            text %= {"size": size // 1000}
            self.message_user(request, text, messages.WARNING)
        return True

    def _edit_page(
        self, request: HttpRequest, template: LocalizedTemplate, sent: WordsForm | SourceForm | None = None
    ) -> HttpResponse:
        kind, language = template.kind, template.language
        source = {part: template.body(part) for part in overrides.PARTS} | {"seen": template.seen}
        words_form = sent if isinstance(sent, WordsForm) else None
        if words_form is None and template.words:
            start = {"subject": template.words.subject, "words": template.words.body, "seen": template.seen}
            words_form = WordsForm(initial=start)
        try:
            preview = self._preview(request, template)
        except ProductError as error:
            preview = render.render(kind, engines.sample(kind), language=language)
            self.message_user(request, error.message, messages.ERROR)
        in_use = {override.id for override in template.active.values() if override.id}
        history, is_cut = versions(kind, language, in_use, SHOWN_VERSIONS)
        frame = self.url("frame", template)
        return self._page(
            request,
            "edit",
            title=template.title,
            template=template,
            form=sent if isinstance(sent, SourceForm) else SourceForm(initial=source),
            sent=sent,
            words_form=words_form,
            names=_names(kind, language),
            conditions=words.conditions(kind, language),
            may_change=self._may_write(request, template),
            may_test=self.has_change_permission(request),
            may_choose=may_see(request.user, get_user_model()),
            chosen=_chosen(request),
            preview=preview,
            frame_url=frame,
            frame_src=f"{frame}?{request.GET.urlencode()}" if _chosen(request) else frame,
            test_url=self.url("test", template),
            variables=sorted(overriding.known(kind)),
            secrets=kind.secrets,
            others=[
                {"name": language_name(other), "url": self.url("edit", LocalizedTemplate(kind, other, {}))}
                for other in engines.languages()
                if other != language
            ],
            differences=[
                {
                    "label": part_label(part),
                    "lines": differences(template.file(part), template.body(part)),
                    "url": self.url("use", template, part, FILE),
                }
                for part in overrides.PARTS
                if part in template.active
            ],
            history=[{"version": each, "url": self.url("use", template, ALL, str(each.first.pk))} for each in history],
            file_url=self.url("use", template, ALL, FILE) if template.active else "",
            history_cut=SHOWN_VERSIONS if is_cut else None,
        )

    # --- Previews -----------------------------------------------------------------------------------------------------

    def frame_view(self, request: HttpRequest, code: str, language: str) -> HttpResponse:
        """GET: what would be sent. POST: what stands in the form, without keeping it."""
        template = self._find(request, code, language)
        part = (request.POST if request.method == "POST" else request.GET).get("part") or "html"
        try:
            if request.method == "POST":
                self._require_change(request, template)
                rendered = self._draft(request, template)
            else:
                rendered = self._preview(request, template)
            return preview_response(rendered, part=part)
        except overrides.InvalidTemplate as error:
            form = _sent(request)
            text = (
                f"{form.fields[field].label or field.capitalize()}: {' '.join(texts)}"
                for field, texts in form.by_field(error.problems).items()
            )
            return framed_response("\n\n".join(text), status=400)
        except ProductError as error:
            return framed_response(error.message, status=400)

    def _draft(self, request: HttpRequest, template: LocalizedTemplate) -> render.Rendered:
        kind, language, form = template.kind, template.language, _sent(request)
        form.is_valid()
        if empty := [field for field in form.written if field not in form.cleaned_data]:
            raise overrides.InvalidTemplate({field: [str(text) for text in form.errors[field]] for field in empty})
        bodies = form.bodies(kind, language)
        rendered = overrides.check(kind, language=language, bodies=bodies)
        if _chosen(request):
            drafts = {part: overriding.Override(body) for part, body in bodies.items()}
            values = self._values(request, template)
            rendered = render.fill(kind, values, language=language, overrides={**template.active, **drafts})
        return rendered

    def _preview(self, request: HttpRequest, template: LocalizedTemplate) -> render.Rendered:
        return render.render(template.kind, self._values(request, template), language=template.language)

    def _values(self, request: HttpRequest, template: LocalizedTemplate) -> dict[str, Any]:
        """The sample; for a chosen user with that user's name, and with no code or link that looks like one."""
        values = engines.sample(template.kind)
        if address := _chosen(request):
            # Whether an address is known here is for staff who may see users.
            if not may_see(request.user, get_user_model()):
                raise PermissionDenied
            people, person = get_user_model(), None
            if is_storable(address):
                person = people._default_manager.filter(**{people.USERNAME_FIELD: normal_email(address)}).first()
            if person is None:
                raise ProductError("USER_NOT_FOUND", "There is no user with this address.", status=404)
            values |= dict.fromkeys(template.kind.secrets, MASK)
            if "first_name" in values:
                values["first_name"] = getattr(person, "first_name", "")
            if not template.kind.required:
                values["unsubscribe_url"] = MASK
        return values

    # --- Verbs --------------------------------------------------------------------------------------------------------

    def test_view(self, request: HttpRequest, code: str, language: str) -> HttpResponse:
        template = self._find(request, code, language)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_change_permission(request):
            raise PermissionDenied
        try:
            message = staff_actions.send_test(template.kind, user=cast("User", request.user), language=language)
        except ValueError:
            self.message_user(request, _("Your account has no address that mail can be sent to."), messages.ERROR)
        else:
            about = {"address": message.to_address, "reason": message.reason}
            text = _("A test is on its way to %(address)s.") % about
            if message.state == message.State.SUPPRESSED:
                text = _("Nothing is sent to %(address)s: %(reason)s.") % about
            self.message_user(request, text)
        return HttpResponseRedirect(self.url("edit", template))

    def use_view(self, request: HttpRequest, code: str, language: str, part: str, version: str) -> HttpResponse:
        """An older version or the file: first what changes, then it does."""
        template = self._find(request, code, language)
        self._require_change(request, template)
        rows = self._version(template, part, version)
        row = next((each for each in rows.values() if each), None)
        source = _source(row, part)
        form = NoteForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            self._use(request, template, rows, part, form.cleaned_data["note"])
            return HttpResponseRedirect(self.url("edit", template))
        after = template.bodies | {name: each.body for name, each in rows.items() if each}
        for name in [name for name, each in rows.items() if each is None]:
            after.pop(name, None)
        return self._page(
            request,
            "use",
            title=_("%(mail)s: use %(source)s") % {"mail": template.title, "source": source},
            template=template,
            template_url=self.url("edit", template),
            form=form,
            part=part_label(part) if part != ALL else _("Subject, Text, HTML"),
            row=row,
            changes=compared(template.kind, template.language, template.bodies, after),
        )

    def _use(
        self,
        request: HttpRequest,
        template: LocalizedTemplate,
        rows: Mapping[str, TemplateOverride | None],
        part: str,
        note: str,
    ) -> None:
        row = next((each for each in rows.values() if each), None)
        source = _source(row, part)
        with in_english():
            logged = f"Back to {_source(row, part)}"
        try:
            with transaction.atomic():
                overrides.check_note(note)
                actor, kind, language = Actor.of(request, "admin"), template.kind, template.language
                changed = overrides.put_back(kind, language=language, parts=rows, actor=actor)
                overrides.record(kind, language, changed, logged, "template.restored", note=note, actor=actor)
        except ProductError as error:
            self.message_user(request, f"“{template.title}”: {error.message}", messages.ERROR)
            return
        labels = [part_label(name) for name in changed or rows]
        text = {
            (True, False): _("%(parts)s is %(source)s again."),
            (True, True): _("%(parts)s are %(source)s again."),
            (False, False): _("%(parts)s is %(source)s already."),
            (False, True): _("%(parts)s are %(source)s already."),
        }[bool(changed), len(labels) > 1]
        text %= {"parts": ", ".join(labels), "source": source}
        self.message_user(request, f"“{template.title}”: {text}", messages.SUCCESS if changed else messages.INFO)

    def _version(self, template: LocalizedTemplate, part: str, version: str) -> dict[str, TemplateOverride | None]:
        """The rows to put back, by part, None for the file; of `all` parts those saved with this one."""
        if part != ALL and part not in overrides.PARTS:
            raise Http404
        if version == FILE:
            return dict.fromkeys([part] if part != ALL else overrides.PARTS)
        number = whole_number(version, digits=9) or 0
        if part == ALL:
            rows = overrides.saved_with(template.kind, template.language, number)
        else:
            found = overrides.versions(template.kind, template.language, part=part, version=number)
            rows = {row.part: row for row in found}
        if not rows:
            raise Http404
        return rows

    # --- Shared -------------------------------------------------------------------------------------------------------

    def _find(self, request: HttpRequest, code: str, language: str) -> LocalizedTemplate:
        if not self.has_view_permission(request):
            raise PermissionDenied
        if (found := LocalizedTemplate.find(code, language)) is None:
            raise Http404
        return found

    def _may_write(self, request: HttpRequest, template: LocalizedTemplate) -> bool:
        user = cast("User", request.user)
        return self.has_change_permission(request) and overrides.may_write(template.kind, user)

    def _require_change(self, request: HttpRequest, template: LocalizedTemplate) -> None:
        if not self._may_write(request, template):
            raise PermissionDenied

    def _page(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        return render_page(self, request, f"admin/notifications/templates/{name}.html", **context)


def _chosen(request: HttpRequest) -> str:
    return (request.POST.get("for") or request.GET.get("for", "")).strip()[:254]


def _sent(request: HttpRequest) -> WordsForm | SourceForm:
    return WordsForm(request.POST) if "words" in request.POST else SourceForm(request.POST)


def _names(kind: NotificationType, language: str) -> list[dict[str, Any]]:
    """The names that Words offer, as they are written, each with what stands for it in the sample."""
    values = {**render.always(kind), **engines.sample(kind)}
    values |= render.times(kind, values)
    empty = words.may_be_empty(kind)
    return [
        {
            "written": f"{{{{ {name} }}}}",
            "example": str(values.get(name, ""))[:60],
            "is_needed": name in kind.secrets,
            "may_be_empty": name in empty,
        }
        for name in words.names(kind, language)
        # Not an address that a deployment has none of.
        if values.get(name) or name in kind.context.model_fields
    ]


def _source(row: TemplateOverride | None, part: str) -> str:
    return overrides.source_label(row, "" if part == ALL else part)
