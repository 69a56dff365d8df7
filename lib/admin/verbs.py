"""Verb buttons: what staff press in lists, on pages and for a selection, always POST, always through a service."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.templatetags.admin_urls import add_preserved_filters
from django.contrib.admin.utils import model_ngettext, quote, unquote
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from lib import audit
from lib.actors import Actor
from lib.errors import ProductError

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser

    ModelAdmin = admin.ModelAdmin[Any]
else:
    ModelAdmin = admin.ModelAdmin

#: Where a button was pressed, and so where its answer leads back to.
FROM, FROM_LIST = "_from", "list"
BULK_LIMIT = 500
_SHOWN = 10


#: `run(obj, request=..., reason=...)`, and by name whatever else the page in between asked for.
Run = Callable[..., bool | str]
#: A fact about every object, or a question to ask of each.
Asked = bool | Callable[[Any], bool]


def _always(obj: Any) -> bool:
    return True


def _nothing(obj: Any) -> str:
    return ""


def _of_itself(obj: Any) -> dict[str, Any]:
    return {"name": str(obj)[:200]}


def _holds(asked: Asked, obj: Any) -> bool:
    return asked(obj) if callable(asked) else asked


class ReasonForm(forms.Form):
    """What the page in between asks; a verb that needs to know more adds fields."""

    reason = forms.CharField(
        max_length=200,
        label="Reason",
        help_text="It stays in the history.",
        widget=forms.Textarea(attrs={"rows": 3, "class": "vLargeTextField"}),
        error_messages={"required": "Say why."},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One button. `run` calls the service and says what came of it.

    True: done, told in the words of `done`. False: it was so already, told in the words of `already`; nothing is
    logged. A text: done, told in these words ("3 sessions ended"). A ProductError: refused, its message is shown.
    """

    name: str  #: The end of its address; a slash parts verb and wanted state: `activate`, `switch/on`.
    label: str
    permission: str  #: With the app: `users.activate_user`.
    run: Run
    done: str  #: Completes "“ada@example.org”: …": `activated`.
    already: str = "nothing to do"
    asks_reason: Asked = False  #: A page asks why before `run` is called; otherwise `reason` is empty.
    reason_required: Asked = True  #: Whether that page insists on an answer.
    form: type[ReasonForm] = ReasonForm  #: What that page asks; its fields reach `run` by their names.
    says: Callable[[Any], str] = _nothing  #: What will happen, in sentences; that page shows it.
    #: Only with a fresh proof of who presses: the site's `is_fresh(request)` tells, and its
    #: `ask_proof(request, back_url=, then=)` leads to the page that asks and back to where the button stands.
    sensitive: bool = False
    event: str = ""  #: What the audit trail calls it; empty where the service behind `run` notes it there itself.
    about: Callable[[Any], dict[str, Any]] = _of_itself  #: What it notes of the object; see `lib.audit.note`.
    ends: bool = False  #: Afterwards the object is no more: the answer leads to the list.
    in_row: bool = False
    in_bulk: bool = True
    applies: Callable[[Any], bool] = _always  #: Whether the button makes sense for this object; shown only then.

    @property
    def slug(self) -> str:
        return self.name.replace("/", "_")

    def asks(self, obj: Any) -> bool:
        return _holds(self.asks_reason, obj)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a press came to; `text` completes a sentence about the object."""

    obj: models.Model
    level: int
    text: str


def staff(request: HttpRequest) -> AbstractBaseUser:
    """Who is signed in; the admin let nobody else in."""
    return cast("AbstractBaseUser", request.user)


class VerbAdmin(ModelAdmin):
    """A ModelAdmin whose changes are verbs. List them in `verbs`; the rest follows:

    - a button on the object's page, outside its form;
    - with `in_row`, a button in the list: name the column `verb_buttons` in `list_display`;
    - unless `in_bulk=False`, an action for the selected rows, each row in its own transaction;
    - with `asks_reason`, a page in between that says what will happen and asks why;
    - with `sensitive`, a page before that where the person proves who they are, if that was too long ago.

    Each press is a POST to `<object>/<name>/` (405 otherwise) by somebody who may see the object and has the verb's
    permission (403 otherwise; the button is absent). Verb and LogEntry are one transaction. The answer leads back to
    the list as it was filtered, or to the object. A ProductError, also one out of `save_model`, becomes a message.

        def _deactivate(user: User, /, *, request: HttpRequest, reason: str) -> bool:
            return services.deactivate(user, by=Actor(staff(request)), reason=reason)

        class UserAdmin(VerbAdmin):
            list_display = ("email", "is_active", "verb_buttons")
            verbs = (
                Verb(
                    name="deactivate", label="Deactivate", permission="users.deactivate_user", run=_deactivate,
                    done="deactivated", already="inactive already", asks_reason=True,
                    applies=lambda user: user.is_active,
                ),
            )

    An admin with a page template of its own extends `admin/verb_change_form.html`. Works without script and inline
    style; a form inside the list's form would not, so that row buttons carry their address in `formaction`.
    """

    verbs: Sequence[Verb] = ()
    change_form_template = "admin/verb_change_form.html"
    show_full_result_count = False
    list_per_page = 50

    def may_press(self, request: HttpRequest, verb: Verb) -> bool:
        return staff(request).has_perm(verb.permission) and self.has_view_permission(request)  # type: ignore[attr-defined]

    def pressable(self, request: HttpRequest) -> list[Verb]:
        return [verb for verb in self.verbs if self.may_press(request, verb)]

    # --- Where the buttons stand --------------------------------------------------------------------------------------

    @admin.display(description="")
    def verb_buttons(self, obj: models.Model) -> str:
        """The column of row buttons; `get_list_display` puts one that knows the request in its place."""
        return ""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = super().get_list_display(request)
        verbs = [verb for verb in self.pressable(request) if verb.in_row]
        if not verbs:
            return [column for column in columns if column != "verb_buttons"]

        @admin.display(description="")
        def verb_buttons(obj: models.Model) -> str:
            applicable = [verb for verb in verbs if verb.applies(obj)]
            return format_html_join(" ", "{}", ((self._row_button(request, verb, obj),) for verb in applicable))

        return [verb_buttons if column == "verb_buttons" else column for column in columns]

    def _row_button(self, request: HttpRequest, verb: Verb, obj: models.Model) -> str:
        return format_html(
            '<button type="submit" class="verb verb-{}" formaction="{}" formmethod="post" formnovalidate'
            ' name="{}" value="{}" aria-label="{} {}">{}</button>',
            verb.slug,
            self._verb_url(request, verb, obj),
            FROM,
            FROM_LIST,
            verb.label,
            obj,
            verb.label,
        )

    def buttons_for(self, request: HttpRequest, obj: models.Model) -> list[dict[str, Any]]:
        """What `admin/verb_buttons.html` shows on the object's page."""
        return [
            {"verb": verb, "url": self._verb_url(request, verb, obj), "asks": verb.asks(obj)}
            for verb in self.pressable(request)
            if verb.applies(obj)
        ]

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
            context["verb_buttons"] = self.buttons_for(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_actions(self, request: HttpRequest, action_location: Any = None) -> dict[str, Any]:
        # Django 6.1 also asks for the actions on the page of one object, where verbs have buttons already.
        location = {"action_location": action_location} if action_location else {}
        actions: dict[str, Any] = super().get_actions(request, **location)
        is_list = not location or action_location.name == "CHANGE_LIST"
        if is_list and IS_POPUP_VAR not in request.GET:
            for verb in self.pressable(request):
                if verb.in_bulk:
                    actions[verb.slug] = (_bulk_action(verb), verb.slug, verb.label)
        return actions

    # --- Their addresses ----------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        verbs = [
            path(
                f"<path:object_id>/{verb.name}/",
                self.admin_site.admin_view(partial(self.verb_view, verb=verb)),
                name=self._url_name(f"verb_{verb.slug}"),
            )
            for verb in self.verbs
        ]
        return [*verbs, *super().get_urls()]

    def _url_name(self, name: str) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def page_url(self, name: str, *args: Any) -> str:
        return reverse(f"admin:{self._url_name(name)}", args=args, current_app=self.admin_site.name)

    def _verb_url(self, request: HttpRequest, verb: Verb, obj: models.Model) -> str:
        url = self.page_url(f"verb_{verb.slug}", quote(obj.pk))
        filters = self.get_preserved_filters(request)
        return f"{url}?{filters}" if filters else url

    def _back_url(self, request: HttpRequest, obj: models.Model, *, is_gone: bool = False) -> str:
        """The page the button stood on. Made of our own routes, so that no request can lead elsewhere."""
        is_list = is_gone or request.POST.get(FROM) == FROM_LIST
        url = self.page_url("changelist") if is_list else self.page_url("change", quote(obj.pk))
        return add_preserved_filters({"preserved_filters": self.get_preserved_filters(request), "opts": self.opts}, url)

    # --- What a press does --------------------------------------------------------------------------------------------

    def verb_view(self, request: HttpRequest, object_id: str, *, verb: Verb) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may_press(request, verb):
            raise PermissionDenied
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined, no-any-return]
        if self._must_prove(request, verb):
            return self._ask_proof(request, verb, self._back_url(request, obj))
        name, form = str(obj), _reason_form(request, verb, [obj])
        if form and not form.is_valid():
            back = self._back_url(request, obj)
            return self._reason_page(request, verb, form, [obj], carried=(FROM,), back_url=back)
        outcome = self._press(request, verb, obj, form)
        self.message_user(request, f"“{name}”: {outcome.text}", outcome.level)
        is_done = outcome.level == messages.SUCCESS
        if is_done:
            self.pressed(request, verb, obj)
        return HttpResponseRedirect(self._back_url(request, obj, is_gone=verb.ends and is_done))

    def _must_prove(self, request: HttpRequest, verb: Verb) -> bool:
        return verb.sensitive and not self.admin_site.is_fresh(request)  # type: ignore[attr-defined]

    def _ask_proof(self, request: HttpRequest, verb: Verb, back_url: str) -> HttpResponse:
        """A press is not carried over the proof: what was on the page may have changed meanwhile."""
        then = f"Thank you. Now press “{verb.label}” once more."
        return self.admin_site.ask_proof(request, back_url=back_url, then=then)  # type: ignore[attr-defined, no-any-return]

    def pressed(self, request: HttpRequest, verb: Verb, obj: Any) -> None:
        """What else follows a single press that changed something; to be overridden."""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        chosen = request.POST.getlist("action")
        # Django would treat an action one may not take as none chosen; a forged press is told apart.
        if any(verb.slug in chosen and not self.may_press(request, verb) for verb in self.verbs):
            raise PermissionDenied
        for key in request.POST.getlist(ACTION_CHECKBOX_NAME):
            try:
                # Its validators know which numbers the database can be asked about.
                self.opts.pk.clean(key, None)
            except ValidationError:
                raise BadRequest(f"A selected row has no key of {self.opts.verbose_name_plural}.") from None
        return super().changelist_view(request, extra_context)

    def press_all(self, request: HttpRequest, verb: Verb, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        """The verb for each selected object; one object's refusal does not stop the others."""
        if self._must_prove(request, verb):
            return self._ask_proof(request, verb, request.get_full_path())
        count = queryset.count()
        if count > BULK_LIMIT:
            self.message_user(request, f"Select at most {BULK_LIMIT} at once.", messages.ERROR)
            return None
        objects = list(queryset)
        form = _reason_form(request, verb, objects)
        if form and not form.is_valid():
            carried = ("action", "select_across", ACTION_CHECKBOX_NAME)
            return self._reason_page(request, verb, form, objects, carried=carried, back_url=request.get_full_path())
        self._tell(request, verb, [self._press(request, verb, obj, form) for obj in objects])
        return None

    def _press(self, request: HttpRequest, verb: Verb, obj: models.Model, form: ReasonForm | None) -> Outcome:
        answers: dict[str, Any] = form.cleaned_data if form else {"reason": ""}
        reason = answers["reason"]
        try:
            with transaction.atomic():
                # Before it runs: what it does may be that there is nothing left to speak of.
                about = verb.about(obj)
                result = verb.run(obj, request=request, **answers)
                text = result if isinstance(result, str) else verb.done
                if not result:
                    return Outcome(obj, messages.INFO, f"{verb.already}.")
                self.log_change(request, obj, f"{verb.label}: {text}." + (f" Reason: {reason}" if reason else ""))
                if verb.event:
                    audit.note(
                        Actor.of(request, "admin"), verb.event, **about, **({"reason": reason} if reason else {})
                    )
        except ProductError as error:
            return Outcome(obj, messages.ERROR, error.message)
        return Outcome(obj, messages.SUCCESS, f"{text}.")

    def _tell(self, request: HttpRequest, verb: Verb, outcomes: Iterable[Outcome]) -> None:
        by_level: dict[int, list[Outcome]] = {}
        for outcome in outcomes:
            by_level.setdefault(outcome.level, []).append(outcome)
        for level, word in ((messages.SUCCESS, verb.done), (messages.INFO, verb.already)):
            if count := len(by_level.get(level, [])):
                self.message_user(request, f"{count} {model_ngettext(self.opts, count)}: {word}.", level)
        refused = by_level.get(messages.ERROR, [])
        for outcome in refused[:_SHOWN]:
            self.message_user(request, f"“{outcome.obj}”: {outcome.text}", messages.ERROR)
        if len(refused) > _SHOWN:
            self.message_user(request, f"{len(refused) - _SHOWN} more were refused.", messages.ERROR)

    def _reason_page(
        self,
        request: HttpRequest,
        verb: Verb,
        form: ReasonForm,
        objects: Sequence[models.Model],
        *,
        carried: Sequence[str],
        back_url: str,
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "title": verb.label,
            "opts": self.opts,
            "media": self.media,
            "verb": verb,
            "form": form,
            "objects": [{"name": str(obj), "says": verb.says(obj)} for obj in objects[:_SHOWN]],
            "more": max(0, len(objects) - _SHOWN),
            "carried": [(name, value) for name in carried for value in request.POST.getlist(name)],
            "back_url": back_url,
        }
        return TemplateResponse(request, "admin/verb_reason.html", context)

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if "_saveasnew" in request.POST and not self.save_as:
            # Django would make a copy for whoever forges the press.
            raise BadRequest("Nothing is saved as new here.")
        try:
            return super().changeform_view(request, *args, **kwargs)
        except ProductError as error:
            # Forms check what they can; what is left are races, and there the page has to be drawn anew.
            self.message_user(request, error.message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def _bulk_action(verb: Verb) -> Callable[..., HttpResponse | None]:
    def action(model_admin: VerbAdmin, request: HttpRequest, queryset: models.QuerySet[Any]) -> HttpResponse | None:
        return model_admin.press_all(request, verb, queryset)

    return action


def _reason_form(request: HttpRequest, verb: Verb, objects: Sequence[models.Model]) -> ReasonForm | None:
    """None when no reason is asked for; unbound, and so not valid, until the page that asks was sent."""
    if not any(verb.asks(obj) for obj in objects):
        return None
    form = verb.form(request.POST if "reason" in request.POST else None)
    form.fields["reason"].required = any(_holds(verb.reason_required, obj) for obj in objects)
    return form
