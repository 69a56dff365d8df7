"""Verb buttons in lists, on pages and for a selection: always POST, always through a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import translation
from django.utils.functional import Promise, lazy
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin import because
from lib.admin.changelist import ListAdmin
from lib.admin.fields import focus, reason_field
from lib.errors import ProductError
from lib.private import missing_object

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

#: The fields that say where a button stood, and so where the answer leads back to; the second for a list's filters.
FROM, FROM_LIST, FROM_FILTERS = "_from", "list", "_changelist_filters"
BULK_LIMIT = 500
_SHOWN, _NAMED = 10, 3

_NOTHING = _("nothing to do")

#: A fact about every object, or a question to ask of each.
Fact = bool | Callable[[Any], bool]


def in_english() -> AbstractContextManager[None]:
    """For what is stored: the log does not depend on the language of who acts."""
    return translation.override(settings.LANGUAGE_CODE)


def lazy_text(text: Callable[[], str]) -> Promise:
    """A text made of numbers and names: shown in the reader's language, logged in English."""
    made: Promise = lazy(text, str)()  # type: ignore[assignment]
    return made


def holds(fact: Fact, obj: Any) -> bool:
    return fact(obj) if callable(fact) else fact


class ReasonForm(forms.Form):
    """What the page in between asks; a verb that needs to know more adds fields."""

    reason = reason_field(widget=forms.Textarea({"rows": 3, "class": "vLargeTextField"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One button, which calls `run(obj, actor=...)`: a service, with the fields of `form` by name where it is shown.

    A result of False, 0 or "": it was so already; `already` is shown and nothing is logged. A text, lazy where it is
    translated (`lazy_text`): done, shown instead of `done` ("3 sessions ended"). An HttpResponse: done, sent instead of
    the way back. Anything else: done. A ProductError: refused, its message is shown.
    """

    name: str  #: The end of its address; a slash parts verb and wanted state: `activate`, `switch/on`.
    label: str | Promise
    permission: str  #: With the app: `users.activate_user`.
    run: Callable[..., Any]
    done: str | Promise  #: Completes "“ada@example.org”: …": `activated`.
    already: str | Promise = _NOTHING
    asks_reason: Fact = False  #: Whether a page asks why before `run` is called.
    reason_required: Fact = True  #: Whether that page insists on an answer.
    form: type[ReasonForm] = ReasonForm  #: What that page asks.
    initial: Callable[[Any], dict[str, Any]] = lambda obj: {}  #: What its fields hold at first.
    explain: Callable[[Any], str | Promise] = lambda obj: ""  #: What will happen, in sentences; that page shows it.
    #: Whether the user must have proved lately who they are: the site's `is_fresh(request)` answers that, and its
    #: `ask_proof(request, back_url=, action=, objects=)` leads to the page that asks, and goes on after it.
    sensitive: Fact = False
    audit_event: str = ""  #: Its name in the audit trail; empty where the service records it.
    #: What the audit trail keeps of the object; see `lib.actors.Actor.note`.
    audit_details: Callable[[Any], dict[str, Any]] = lambda obj: {"name": str(obj)[:200]}
    deletes: bool = False  #: Afterwards the object is no more: the answer leads to the list.
    destroys: bool = False  #: What it ends does not come back: the button is red.
    #: For one half of an on/off pair, the state it asks for: in a list the pair is a switch.
    turns: bool | None = None
    downloads: bool = False  #: The answer is a file.
    #: What the API's body holds beside the fields of `form`, by type.
    body: Mapping[str, Any] = field(default_factory=dict)
    in_row: bool = False
    in_head: bool = False  #: Stands beside the first at the head of the page, not under More.
    in_bulk: bool = True
    applies: Callable[[Any], bool] = lambda obj: True  #: Whether the button makes sense for this object.

    @property
    def slug(self) -> str:
        return self.name.replace("/", "_")

    @property
    def css(self) -> str:
        """The classes of its button."""
        return f"verb verb-{self.slug}" + (" destructive" if self.destroys or self.deletes else "")

    def asks(self, obj: Any) -> bool:
        return holds(self.asks_reason, obj)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a verb did to one object; `text` completes a sentence about it."""

    obj: models.Model
    level: int
    text: str
    response: HttpResponseBase | None = None


class VerbAdmin(ListAdmin):
    """A ModelAdmin whose changes are verbs. List them in `verbs`; the rest follows:

    - a button on the object's page, outside its form;
    - with `in_row`, a button in the list: name the column `verb_buttons` in `list_display`;
    - unless `in_bulk=False`, an action for the selected rows, each row in its own transaction;
    - with `asks_reason`, a page in between that explains what will happen and asks why;
    - with `sensitive`, a page before that where users prove who they are, if that was too long ago.

    Each is a POST to `<object>/<name>/` (405 otherwise) by a user who may see the object and has the verb's permission
    (403 otherwise; the button is absent). Verb and LogEntry are one transaction. The answer leads back to the list as
    it was filtered, or to the object. A ProductError, also one out of `save_model`, becomes a message.

    An admin with a page template of its own extends `admin/verb_change_form.html`. Works without script and inline
    style; a form inside the list's form would not, so that row buttons carry their address in `formaction`.
    """

    verbs: Sequence[Verb] = ()
    change_form_template = "admin/verb_change_form.html"
    show_full_result_count = False
    list_per_page = 50

    def has_verb_permission(self, request: HttpRequest, verb: Verb, obj: Any = None) -> bool:
        """Whether the user may do this at all; with `obj`, to this object."""
        return request.user.has_perm(verb.permission) and self.has_view_permission(request)

    def permitted_verbs(self, request: HttpRequest) -> list[Verb]:
        return [verb for verb in self.verbs if self.has_verb_permission(request, verb)]

    def applicable_verbs(self, request: HttpRequest, obj: Any, verbs: Sequence[Verb] = ()) -> list[Verb]:
        verbs = verbs or self.permitted_verbs(request)
        return [verb for verb in verbs if verb.applies(obj) and self.has_verb_permission(request, verb, obj)]

    # --- Where the buttons stand --------------------------------------------------------------------------------------

    @admin.display(description=_("change"))
    def verb_buttons(self, obj: models.Model) -> str:
        """The column of row buttons; `get_list_display` puts one that knows the request in its place."""
        return ""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        in_row = [verb for verb in self.permitted_verbs(request) if verb.in_row]
        if not in_row:
            return [column for column in columns if column != "verb_buttons"]

        @admin.display(description=VerbAdmin.verb_buttons.short_description)  # type: ignore[attr-defined]
        def verb_buttons(obj: models.Model) -> str:
            # Of these alone: whether another applies may be a question to the database, one for each row.
            verbs = self.applicable_verbs(request, obj, in_row)
            return format_html_join(" ", "{}", ((self._row_button(request, verb, obj),) for verb in verbs))

        verb_buttons.__name__ = "verbs"  # for the class of the cells
        verb_buttons.is_button = True  # type: ignore[attr-defined]
        return [verb_buttons if column == "verb_buttons" else column for column in columns]

    def _row_button(self, request: HttpRequest, verb: Verb, obj: models.Model) -> str:
        """A quiet button; a switch, which shows the state there is, for half of an on/off pair."""
        row = self.row_name(obj)
        name, shown, looks = f"{verb.label} {row}", verb.label, verb.css
        about = SafeString("")
        if verb.turns is not None:
            name, shown, looks = row, "", f"switch verb-{verb.slug}"
            state = "false" if verb.turns else "true"
            about = format_html(' role="switch" aria-checked="{}" title="{}"', state, verb.label)
        # The form of the list says the rest: that it is a POST, and that the answer leads back to the list.
        return format_html(
            '<button class="{}" formaction="{}/{}/" aria-label="{}"{}>{}</button>',
            *(looks, quote(obj.pk), verb.name, name, about, shown),
        )

    #: Whether the button of the page's form is its filled one; else it is the first verb.
    has_primary_form = False

    def card(self, obj: Any) -> str:
        """The state at the head of the object's page, as its list shows it."""
        state = getattr(self, "state", None)
        return str(state(obj)) if state else ""

    def buttons_for(self, request: HttpRequest, obj: models.Model) -> list[dict[str, Any]]:
        """What `admin/verb_buttons.html` shows on the object's page."""
        verbs = sorted(self.applicable_verbs(request, obj), key=lambda verb: verb.destroys or verb.deletes)
        buttons = [{"verb": verb, "url": self.verb_url(request, verb, obj), "asks": verb.asks(obj)} for verb in verbs]
        if verbs and not (verbs[0].destroys or verbs[0].deletes or self.has_primary_form):
            buttons[0]["is_primary"] = True
        return buttons

    def head(self, request: HttpRequest, obj: models.Model) -> dict[str, Any]:
        """The buttons in sight, the first and those that say so, and those under More."""
        first, rest = (buttons := self.buttons_for(request, obj))[:1], buttons[1:]
        return {
            "verb_buttons": first + [button for button in rest if button["verb"].in_head],
            "more_buttons": [button for button in rest if not button["verb"].in_head],
        }

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if change and not context.get("is_popup"):
            context |= self.head(request, obj)
            context["card"] = self.card(obj)
            # What no one presses or changes has no log.
            context["has_no_log"] = not (self.verbs or self.has_change_permission(request, obj))
            if context.get("subtitle") == str(obj):
                # Instead of "Change user": what it is called.
                context |= {"title": context["subtitle"], "subtitle": None}
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        # Django 6.1 also asks for the actions on the page of one object, where verbs have buttons already.
        location = {"action_location": action_location} if action_location else {}
        actions: dict[str, Any] = super().get_actions(request, **location)
        is_list = not location or action_location.name == "CHANGE_LIST"
        if is_list and IS_POPUP_VAR not in request.GET:
            actions |= {
                verb.slug: (partial(VerbAdmin.run_in_bulk, verb=verb), verb.slug, verb.label)
                for verb in self.permitted_verbs(request)
                if verb.in_bulk
            }
        return actions

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """What stays in the log is English, the name of the object too."""
        with in_english():
            return super().log_change(request, obj, message)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        with in_english():
            return super().log_addition(request, obj, message)

    # --- Their addresses ----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        urls = []
        for verb in self.verbs:
            view = self.admin_site.admin_view(partial(self.verb_view, verb=verb))
            urls.append(path(f"<path:object_id>/{verb.name}/", view, name=self._url_name(f"verb_{verb.slug}")))
        return [*urls, *super().get_urls()]

    def _url_name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def page_url(self, name: str, *args: Any) -> str:
        return reverse(f"admin:{self._url_name(name)}", args=args, current_app=self.admin_site.name)

    def verb_url(self, request: HttpRequest, verb: Verb, obj: models.Model) -> str:
        url = self.page_url(f"verb_{verb.slug}", quote(obj.pk))
        filters = self.get_preserved_filters(request)
        return f"{url}?{filters}" if filters else url

    def get_preserved_filters(self, request: HttpRequest) -> str:
        """Of the address; for the buttons of rows, which share them, of the list's form."""
        posted = request.POST.get(FROM_FILTERS)
        return super().get_preserved_filters(request) or (urlencode({FROM_FILTERS: posted}) if posted else "")

    def back_url(self, request: HttpRequest, obj: models.Model, *, is_gone: bool = False) -> str:
        """The page the button stood on. Made of our own routes, so that no request can lead elsewhere."""
        is_list = is_gone or request.POST.get(FROM) == FROM_LIST
        url = self.page_url("changelist") if is_list else self.page_url("change", quote(obj.pk))
        return add_preserved_filters({"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}, url)

    # --- What a button does -------------------------------------------------------------------------------------------

    def verb_view(self, request: HttpRequest, object_id: str, *, verb: Verb) -> HttpResponseBase:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_verb_permission(request, verb):
            raise PermissionDenied
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return missing_object(self, request, object_id)
        if not self.has_verb_permission(request, verb, obj):
            raise PermissionDenied
        if page := self._proof_page(request, verb, [obj], self.back_url(request, obj)):
            return page
        name, form = self.row_name(obj), _reason_form(request, verb, [obj])
        if form and not form.is_valid():
            back = self.back_url(request, obj)
            return self._reason_page(request, verb, form, [obj], carried=(FROM, FROM_FILTERS), back_url=back)
        outcome = self.run_verb(request, verb, obj, form)
        self.message_user(request, f"“{name}”: {outcome.text}", outcome.level)
        is_done = outcome.level == messages.SUCCESS
        if is_done:
            self.after_verb(request, verb, obj)
        return outcome.response or HttpResponseRedirect(self.back_url(request, obj, is_gone=verb.deletes and is_done))

    def _proof_page(
        self, request: HttpRequest, verb: Verb, objects: Sequence[models.Model], back_url: str
    ) -> HttpResponse | None:
        """What a sensitive verb answers first, unless the proof is fresh."""
        site: Any = self.admin_site
        if not any(holds(verb.sensitive, obj) for obj in objects) or site.is_fresh(request):
            return None
        names = [f"“{self.row_name(obj)}”" for obj in objects[:_NAMED]] + ["…"] * (len(objects) > _NAMED)
        action = f"{verb.label} {', '.join(names)}"
        page: HttpResponse = site.ask_proof(request, back_url=back_url, action=action, objects=objects)
        return page

    def after_verb(self, request: HttpRequest, verb: Verb, obj: Any) -> None:
        """What else follows the change of a single object; to be overridden."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        chosen = request.POST.getlist("action")
        # Django would treat an action one may not take as none chosen; a forged one gets a 403.
        if any(verb.slug in chosen and not self.has_verb_permission(request, verb) for verb in self.verbs):
            raise PermissionDenied
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                # Its validators know which numbers the database can be asked about.
                self.opts.pk.clean(key, None)
            except ValidationError:
                raise BadRequest(f"A selected row has no key of {self.opts.verbose_name_plural}.") from None
        return super().changelist_view(request, extra_context)

    def run_in_bulk(self, request: HttpRequest, queryset: models.QuerySet[Any], *, verb: Verb) -> HttpResponse | None:
        """The verb for each selected object; one object's refusal does not stop the others."""
        objects = list(queryset[: BULK_LIMIT + 1])
        if len(objects) > BULK_LIMIT:
            self.message_user(request, _("Select at most %(limit)d at once.") % {"limit": BULK_LIMIT}, messages.ERROR)
            return None
        # These are carried over a proof, not whatever the list will find then.
        posted = request.POST.copy()
        posted.setlist(ACTION_CHECKBOX_NAME, [str(obj.pk) for obj in objects])
        posted["select_across"] = "0"
        request.POST = posted  # type: ignore[assignment]
        if page := self._proof_page(request, verb, objects, request.get_full_path()):
            return page
        form = _reason_form(request, verb, objects)
        if form and not form.is_valid():
            carried = ("action", "select_across", ACTION_CHECKBOX_NAME)
            return self._reason_page(request, verb, form, objects, carried=carried, back_url=request.get_full_path())
        self.report(request, verb, [self.run_verb(request, verb, obj, form) for obj in objects])
        return None

    def run_verb(self, request: HttpRequest, verb: Verb, obj: models.Model, form: ReasonForm | None = None) -> Outcome:
        try:
            return self.perform(request, verb, obj, form.cleaned_data if form else {})
        except ProductError as error:
            return Outcome(obj, messages.ERROR, error.message)

    def perform(self, request: HttpRequest, verb: Verb, obj: Any, given: Mapping[str, Any]) -> Outcome:
        """Run the verb, with what its form was given, and keep in history and audit log what was done: for a button,
        and for the API (project/staff_api.py), whose requests have the `door` "staff".

        Raises: what the service raises.
        """
        reason = given.get("reason", "")
        actor = Actor.of(request, getattr(request, "door", "admin"))
        with transaction.atomic():
            # Before it runs: afterwards the object may be gone.
            with in_english():
                details = verb.audit_details(obj)
            result = verb.run(obj, actor=actor, **given)
            if result is not None and not result:
                return Outcome(obj, messages.INFO, f"{verb.already}.")
            text = result if isinstance(result, str | Promise) else verb.done
            with in_english():
                logged = f"{verb.label}: {text}." + because(actor.noted(reason))
            self.log_change(request, obj, logged)
            if verb.audit_event:
                actor.note(verb.audit_event, **details, **({"reason": reason} if reason else {}))
        response = result if isinstance(result, HttpResponseBase) else None
        return Outcome(obj, messages.SUCCESS, f"{text}.", response)

    def report(self, request: HttpRequest, verb: Verb, outcomes: Iterable[Outcome]) -> None:
        """One message for all that were changed, one for all that were so already, and one for each refusal."""
        by_level: dict[int, list[Outcome]] = {}
        for outcome in outcomes:
            by_level.setdefault(outcome.level, []).append(outcome)
        for level, text in ((messages.SUCCESS, verb.done), (messages.INFO, verb.already)):
            if count := len(by_level.get(level, [])):
                self.message_user(request, f"{count} {model_ngettext(self.opts, count)}: {text}.", level)
        refused = by_level.get(messages.ERROR, [])
        for outcome in refused[:_SHOWN]:
            self.message_user(request, f"“{self.row_name(outcome.obj)}”: {outcome.text}", messages.ERROR)
        if len(refused) > _SHOWN:
            self.message_user(
                request, _("%(count)d more were refused.") % {"count": len(refused) - _SHOWN}, messages.ERROR
            )

    def _reason_page(
        self,
        request: HttpRequest,
        verb: Verb,
        form: ReasonForm,
        objects: Sequence[models.Model],
        *,
        carried: Sequence[str],
        back_url: str,
    ) -> HttpResponse:
        focus(form)
        return render_page(
            self,
            request,
            "admin/verb_reason.html",
            title=verb.label,
            button=verb.label,
            destroys=verb.destroys or verb.deletes,
            form=form,
            marks_optional=True,
            objects=[{"name": str(obj), "explanation": verb.explain(obj)} for obj in objects[:_SHOWN]],
            more=max(0, len(objects) - _SHOWN),
            carried=[(name, value) for name in carried for value in request.POST.getlist(name)],
            back_url=back_url,
        )

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "_saveasnew" in request.POST and not self.save_as:
            # Django would make a copy for a forged request.
            raise BadRequest("Nothing is saved as new here.")
        try:
            return super().changeform_view(request, *args, **kwargs)
        except ProductError as error:
            # Forms check what they can; what is left are races, and the page has to be shown anew.
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _reason_form(request: HttpRequest, verb: Verb, objects: Sequence[models.Model]) -> ReasonForm | None:
    """None when no reason is asked for; unbound, and so not valid, until the page that asks was sent."""
    if not any(verb.asks(obj) for obj in objects):
        return None
    form = verb.form(request.POST if "reason" in request.POST else None, initial=verb.initial(objects[0]))
    form.fields["reason"].required = any(holds(verb.reason_required, obj) for obj in objects)
    return form


# --- Pages beside Django's own ----------------------------------------------------------------------------------------


def render_page(model_admin: ModelAdmin, request: HttpRequest, template: str, /, **context: Any) -> TemplateResponse:
    """A page about objects of `model_admin`, in the frame of its site."""
    site = model_admin.admin_site
    request.current_app = site.name
    frame = {**site.each_context(request), "opts": model_admin.opts, "media": model_admin.media}
    return TemplateResponse(request, template, {**frame, **context})


def has_fresh_proof(site: Any, request: HttpRequest, form: forms.Form) -> bool:
    """Whether the sender of this form has proved lately who they are.

    Otherwise the form gets an error that links to the proof: what was typed stays on the page, and the proof is given
    on another.
    """
    if site.is_fresh(request):
        return True
    refusal = format_html(
        _("This is a sensitive change: %(link)s, then send this form again.")
        % {"link": '<a href="{}" target="_blank" rel="noopener">{}</a>'},
        site.proof_url(request.get_full_path()),
        _("prove once more that it is you"),
    )
    form.add_error(None, refusal)
    return False
