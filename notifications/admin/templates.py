"""The templates of every mail: what is sent, from where, and how staff change it."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import get_language_info

from lib.actors import Actor
from lib.addresses import normal_email
from lib.admin.verbs import has_fresh_proof, render_page
from lib.errors import ProductError
from lib.text import is_storable, whole_number
from notifications import registry
from notifications.admin.common import framed_response, preview_response
from notifications.models import TemplateOverride
from notifications.registry import EMAIL, MASK, NotificationType
from notifications.rendering import engines, overriding, render
from notifications.services import overrides, staff_actions

if TYPE_CHECKING:
    from users.models import User

    OverrideModelAdmin = admin.ModelAdmin[TemplateOverride]
else:
    OverrideModelAdmin = admin.ModelAdmin

SHOWN_VERSIONS = 50
FILE = "file"


@dataclass(frozen=True)
class LocalizedTemplate:
    """A type in a language, and the versions of staff that are in use."""

    kind: NotificationType
    language: str
    active: Mapping[str, overriding.Override]

    @cached_property
    def trouble(self) -> dict[str, str]:
        return overrides.trouble(self.kind, self.language, self.active)

    @property
    def language_name(self) -> str:
        return language_name(self.language)

    @property
    def seen(self) -> str:
        return json.dumps({part: self.active[part].id if part in self.active else None for part in overrides.PARTS})

    @property
    def title(self) -> str:
        return f"{self.kind.label}, {self.language_name}"

    def file(self, part: str) -> str:
        return engines.source(self.kind, part, self.language)

    def body(self, part: str) -> str:
        return self.active[part].body if part in self.active else self.file(part)

    def states(self) -> list[dict[str, str]]:
        """A line for each part that is not the file's."""
        return [
            {"part": part, "label": part_label(part), "why": self.trouble.get(part, "")}
            for part in overrides.PARTS
            if part in self.active
        ]


def _note_field() -> forms.CharField:
    return forms.CharField(
        label="Reason",
        max_length=overrides.NOTE_LIMIT,
        help_text="It stays in the history.",
        error_messages={"required": "Say why."},
        widget=forms.TextInput({"class": "vTextField", "autocomplete": "off"}),
    )


class TemplateForm(forms.Form):
    """The three parts together: a link of the HTML must stand in the text as well."""

    use_required_attribute = False
    subject = forms.CharField(strip=False, widget=forms.Textarea({"rows": 2}))
    text = forms.CharField(strip=False, widget=forms.Textarea({"rows": 16}))
    html = forms.CharField(label="HTML", strip=False, widget=forms.Textarea({"rows": 24}))
    note = _note_field()
    seen = forms.CharField(required=False, max_length=500, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for part in overrides.PARTS:
            self.fields[part].error_messages["required"] = "It must not be empty."
            self.fields[part].widget.attrs |= {"class": "vLargeTextField code", "spellcheck": "false"}

    def clean_seen(self) -> dict[str, int | None]:
        try:
            given = json.loads(self.cleaned_data["seen"])
            return {part: given[part] for part in overrides.PARTS}
        except (ValueError, TypeError, LookupError):
            raise forms.ValidationError("Open the page again: this form is not ours.") from None

    @property
    def bodies(self) -> dict[str, str]:
        return {part: self.cleaned_data[part] for part in overrides.PARTS if part in self.cleaned_data}


class NoteForm(forms.Form):
    note = _note_field()


def part_label(part: str) -> str:
    return str(TemplateOverride.Part(part).label)


def language_name(code: str) -> str:
    try:
        return str(get_language_info(code)["name"])
    except KeyError:
        return code


def differences(before: str, after: str) -> list[dict[str, str]]:
    """Lines with their kind: `gone`, `new`, `same` or `place`."""
    kinds = {"-": "gone", "+": "new", " ": "same", "@": "place"}
    lines = difflib.unified_diff(before.strip("\n").split("\n"), after.strip("\n").split("\n"), lineterm="", n=2)
    # The first two name files.
    return [{"kind": kinds[line[0]], "text": line} for line in islice(lines, 2, None)]


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
        active: dict[tuple[str, str], dict[str, overriding.Override]] = {}
        for row in TemplateOverride.objects.filter(active=True).order_by():
            active.setdefault((row.type, row.language), {})[row.part] = overriding.Override(row.body, row.pk)
        templates = [
            LocalizedTemplate(kind, language, active.get((kind.code, language), {}))
            for kind in sorted(registry.declared_types(), key=lambda kind: kind.code)
            if EMAIL in kind.channels
            for language in engines.languages()
        ]
        rows = [{"template": template, "url": self.url("edit", template)} for template in templates]
        return self._page(request, "list", title="Templates", rows=rows)

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
            start = {part: template.body(part) for part in overrides.PARTS} | {"seen": template.seen}
            return self._edit_page(request, template, TemplateForm(initial=start))
        self._require_change(request, template)
        form = TemplateForm(request.POST)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form) and self._save(request, template, form):
            return HttpResponseRedirect(self.url("edit", template))
        return self._edit_page(request, template, form)

    def _save(self, request: HttpRequest, template: LocalizedTemplate, form: TemplateForm) -> bool:
        kind, language, note = template.kind, template.language, form.cleaned_data["note"]
        try:
            with transaction.atomic():
                given = {"bodies": form.bodies, "note": note, "seen": form.cleaned_data["seen"]}
                changed = overrides.save(kind, language=language, **given, actor=Actor.of(request, "admin"))
                self._log(request, template, changed, "Saved", "template.saved", note)
        except overrides.InvalidTemplate as error:
            for part, texts in error.problems.items():
                form.add_error(part, texts)
            return False
        except ProductError as error:
            # Saved once more, the form knows what is in use now.
            form.data = {**form.data.dict(), "seen": self._find(request, kind.code, language).seen}  # type: ignore[attr-defined]
            form.add_error(None, f"{error.message} Nothing is saved; what you typed stands here. Save again to use it.")
            return False
        text = f"{', '.join(map(part_label, changed))} saved." if changed else "nothing changed."
        self.message_user(request, f"“{template.title}”: {text}", messages.SUCCESS if changed else messages.INFO)
        size = len(render.render(kind, engines.sample(kind), language=language).html.encode())
        if size > render.HTML_WARNING:
            text = f"The HTML has {size // 1000} kB: some mail programs cut off what is beyond 102 kB."
            self.message_user(request, text, messages.WARNING)
        return True

    def _edit_page(self, request: HttpRequest, template: LocalizedTemplate, form: TemplateForm) -> HttpResponse:
        kind, language = template.kind, template.language
        try:
            preview = self._preview(request, template)
        except ProductError as error:
            preview = render.render(kind, engines.sample(kind), language=language)
            self.message_user(request, error.message, messages.ERROR)
        versions = overrides.versions(kind, language).order_by("-pk").select_related("edited_by").defer("body")
        history = list(versions[:SHOWN_VERSIONS])
        frame = self.url("frame", template)
        return self._page(
            request,
            "edit",
            title=template.title,
            template=template,
            form=form,
            may_change=self._may_write(request, template),
            may_test=self.has_change_permission(request),
            may_choose=self._may_choose_people(request),
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
            history=[
                {"version": row, "part": part_label(row.part), "url": self.url("use", template, row.part, row.version)}
                for row in history
            ],
            history_cut=SHOWN_VERSIONS if len(history) == SHOWN_VERSIONS else None,
        )

    # --- Previews -----------------------------------------------------------------------------------------------------

    def frame_view(self, request: HttpRequest, code: str, language: str) -> HttpResponse:
        """GET: what would be sent. POST: what stands in the form, without keeping it."""
        template = self._find(request, code, language)
        part = (request.POST if request.method == "POST" else request.GET).get("part") or "html"
        try:
            if request.method == "POST":
                self._require_change(request, template)
            else:
                return preview_response(self._preview(request, template), part=part)
            form = TemplateForm(request.POST)
            form.is_valid()
            if empty := [part_label(part) for part in overrides.PARTS if part not in form.bodies]:
                return framed_response(f"It must not be empty: {', '.join(empty)}.", status=400)
            rendered = overrides.check(template.kind, language=language, bodies=form.bodies)
            return preview_response(rendered, part=part)
        except overrides.InvalidTemplate as error:
            text = (f"{part_label(part)}: {' '.join(texts)}" for part, texts in error.problems.items())
            return framed_response("\n\n".join(text), status=400)
        except ProductError as error:
            return framed_response(error.message, status=400)

    def _preview(self, request: HttpRequest, template: LocalizedTemplate) -> render.Rendered:
        """The sample; for a chosen user with that user's name, and with no code or link that looks like one."""
        values = engines.sample(template.kind)
        if address := _chosen(request):
            if not self._may_choose_people(request):
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
        return render.render(template.kind, values, language=template.language)

    def _may_choose_people(self, request: HttpRequest) -> bool:
        """Whether an address is known here may only be seen by staff who may see users."""
        people = get_user_model()._meta
        return bool(request.user.has_perm(f"{people.app_label}.view_{people.model_name}"))

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
            self.message_user(request, "Your account has no address that mail can be sent to.", messages.ERROR)
        else:
            text = f"A test is on its way to {message.to_address}."
            if message.state == message.State.SUPPRESSED:
                text = f"Nothing is sent to {message.to_address}: {message.reason}."
            self.message_user(request, text)
        return HttpResponseRedirect(self.url("edit", template))

    def use_view(self, request: HttpRequest, code: str, language: str, part: str, version: str) -> HttpResponse:
        """An older version or the file: first what changes, then it does."""
        template = self._find(request, code, language)
        self._require_change(request, template)
        row = self._version(template, part, version)
        form = NoteForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            self._use(request, template, part, row, form.cleaned_data["note"])
            return HttpResponseRedirect(self.url("edit", template))
        return self._page(
            request,
            "use",
            title=f"{template.title}: use {'the file' if row is None else f'version {row.version}'}",
            template=template,
            template_url=self.url("edit", template),
            form=form,
            part=part_label(part),
            row=row,
            lines=differences(template.body(part), template.file(part) if row is None else row.body),
        )

    def _use(
        self, request: HttpRequest, template: LocalizedTemplate, part: str, row: TemplateOverride | None, note: str
    ) -> None:
        try:
            with transaction.atomic():
                overrides.check_note(note)
                actor = Actor.of(request, "admin")
                if row is None:
                    changed = overrides.revert(template.kind, language=template.language, part=part, actor=actor)
                else:
                    changed = overrides.activate(row, actor=actor)
                now = "the file" if row is None else f"version {row.version}"
                self._log(request, template, [part] if changed else [], f"Back to {now}", "template.restored", note)
        except ProductError as error:
            self.message_user(request, f"“{template.title}”: {error.message}", messages.ERROR)
            return
        text = f"{part_label(part)} is {now} again." if changed else f"{part_label(part)} is {now} already."
        self.message_user(request, f"“{template.title}”: {text}", messages.SUCCESS if changed else messages.INFO)

    def _version(self, template: LocalizedTemplate, part: str, version: str) -> TemplateOverride | None:
        number = whole_number(version, digits=9) or 0
        row = overrides.versions(template.kind, template.language, part=part, version=number).first()
        if part not in overrides.PARTS or (row is None and version != FILE):
            raise Http404
        return row

    # --- Shared -------------------------------------------------------------------------------------------------------

    def _find(self, request: HttpRequest, code: str, language: str) -> LocalizedTemplate:
        if not self.has_view_permission(request):
            raise PermissionDenied
        kind = registry.find(code)
        if kind is None or EMAIL not in kind.channels or language not in engines.languages():
            raise Http404
        return LocalizedTemplate(kind, language, overriding.active(kind, language))

    def _may_write(self, request: HttpRequest, template: LocalizedTemplate) -> bool:
        user = cast("User", request.user)
        return self.has_change_permission(request) and overrides.may_write(template.kind, user)

    def _require_change(self, request: HttpRequest, template: LocalizedTemplate) -> None:
        if not self._may_write(request, template):
            raise PermissionDenied

    def _log(
        self, request: HttpRequest, template: LocalizedTemplate, parts: list[str], what: str, event: str, note: str
    ) -> None:
        """One entry for each part, with no text of the template."""
        if parts:
            name = f"{template.kind.code} {template.language}"
            Actor.of(request, "admin").note(event, name=name, changed=parts, reason=note)
        for part in parts:
            rows = overrides.versions(template.kind, template.language, part=part).order_by("-active", "-version")
            if (row := rows.first()) is not None:
                self.log_change(request, row, f"{what}: {part}." + (f" Reason: {note}" if note else ""))

    def _page(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        return render_page(self, request, f"admin/notifications/templates/{name}.html", **context)


def _chosen(request: HttpRequest) -> str:
    return request.GET.get("for", "").strip()[:254]
