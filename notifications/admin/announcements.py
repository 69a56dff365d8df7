"""Announcements: written, looked at, counted, sent, and stopped on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.admin import may_see
from lib.admin.lists import CappedPaginator, actor_name, chip, column
from lib.admin.verbs import Outcome, Verb, VerbAdmin, lazy_text, render_page
from lib.errors import ProductError
from lib.private import missing_object
from lib.text import is_storable, number, whole_number
from notifications import audiences
from notifications.admin.common import preview_response
from notifications.admin.templates import language_name
from notifications.models import Announcement, Message, Severity
from notifications.registry import EMAIL, IN_APP, MASK
from notifications.rendering import engines, render
from notifications.services import announcements, health

State = Announcement.State
CHIPS = {
    State.DRAFT: "staff",
    State.SENDING: "waiting",
    State.PAUSED: "paused",
    State.DONE: "active",
    State.CANCELLED: "off",
}
CHANNELS = [(EMAIL, _("By mail")), (IN_APP, _("In the product"))]


class AnnouncementForm(forms.Form):
    """A title and a text in each language of the product, whom it is for, and which way it goes."""

    use_required_attribute = False
    url = forms.URLField(
        label=_("Link"),
        required=False,
        max_length=2_000,
        assume_scheme="https",
        help_text=_("A button of the mail, and where the notification leads."),
        widget=forms.TextInput({"class": "vTextField", "inputmode": "url", "autocomplete": "off"}),
    )
    severity = forms.ChoiceField(label=_("Severity"), choices=Severity.choices, initial=Severity.INFO)
    channels = forms.MultipleChoiceField(
        label=_("Ways"),
        choices=CHANNELS,
        initial=[EMAIL, IN_APP],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Choose at least one.")},
    )
    audience = forms.ChoiceField(label=_("Audience"))
    people = forms.CharField(
        label=_("People"),
        required=False,
        max_length=400_000,
        widget=forms.Textarea({"class": "vLargeTextField", "rows": 4, "spellcheck": "false"}),
    )
    version = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, user: Any, draft: Announcement, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.draft = draft
        title = {"class": "vTextField", "autocomplete": "off"}
        for language in engines.languages():
            self.fields[f"title_{language}"] = forms.CharField(
                label=_("Title"),
                required=False,
                max_length=announcements.TITLE_LIMIT,
                help_text=_("Also the subject of the mail."),
                widget=forms.TextInput({**title, "lang": language}),
            )
            self.fields[f"body_{language}"] = forms.CharField(
                label=_("Text"),
                required=False,
                max_length=announcements.BODY_LIMIT,
                widget=forms.Textarea({"class": "vLargeTextField", "rows": 6, "lang": language}),
            )
        audience = cast(forms.ChoiceField, self.fields["audience"])
        audience.choices, is_cut = offered_audiences(user)
        if is_cut:
            text = _("Of each kind only the first %(limit)s are offered.")
            audience.help_text = text % {"limit": number(audiences.OFFERED)}
        self.fields["people"].help_text = _("E-mail addresses of users, one a line: “People named below”.")
        if self.kept and not self.initial.get("people"):
            text = _("%(count)d are named. Leave it empty to keep them, or name others, one a line.")
            self.fields["people"].help_text = text % {"count": self.kept}

    @cached_property
    def kept(self) -> int:
        """How many people the draft names already."""
        return self.draft.people.count() if self.draft.pk and self.draft.audience == audiences.PEOPLE else 0

    def languages(self) -> list[dict[str, Any]]:
        return [
            {"name": language_name(code), "fields": [self[f"title_{code}"], self[f"body_{code}"]]}
            for code in engines.languages()
        ]

    def others(self) -> list[forms.BoundField]:
        return [self[name] for name in ("audience", "people", "channels", "url", "severity")]

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        for name, value in given.items():
            if isinstance(value, str) and not is_storable(value):
                self.add_error(name, _("This holds signs that cannot be stored."))
        words = {}
        for code in engines.languages():
            title, body = (given.get(f"{part}_{code}", "") for part in ("title", "body"))
            if title and not title.isprintable():
                self.add_error(f"title_{code}", _("Use one line without control characters."))
            if title and body:
                words[code] = {"title": title, "body": body}
            elif title or body:
                self.add_error(f"{'body' if title else 'title'}_{code}", _("Write both, or neither."))
        if not words and not self.errors:
            raise ValidationError(_("Write a title and a text in at least one language."))
        given["words"] = words
        given["audience"], _colon, given["choice"] = given.get("audience", "").partition(":")
        given["named"] = None
        if given["audience"] == audiences.PEOPLE and (given.get("people") or not self.kept) and not self.errors:
            try:
                given["named"] = announcements.named_people(given.get("people", ""))
            except ProductError as error:
                self.add_error("people", error.message)
        return given


def offered_audiences(user: Any) -> tuple[list[Any], bool]:
    """For a select: what this member of staff may see of each audience, in a group where there is a choice; and whether
    that is not all."""
    found: list[Any] = []
    is_any_cut = False
    for audience, choices, is_cut in audiences.offered(user):
        is_any_cut = is_any_cut or is_cut
        if [value for value, _label in choices] == [""]:
            found.append((audience.name, audience.label))
        elif choices:
            found.append((audience.label, [(f"{audience.name}:{value}", label) for value, label in choices]))
    return found, is_any_cut


def _facts(row: Announcement) -> dict[str, Any]:
    """The audience by its kind and key: readers of the audit trail need not be those who may see its name."""
    scope = f"{row.audience}:{row.choice}" if row.choice else row.audience
    return {"name": str(row), "scope": scope, "count": (row.expected or row.counts).get("people", 0)}


def _verb(name: str, label: Any, run: Any, **more: Any) -> Verb:
    return Verb(
        name=name,
        label=label,
        permission=announcements.PERMISSIONS[0],
        run=run,
        in_bulk=False,
        audit_details=_facts,
        **more,
    )


def _send(row: Any, *, actor: Actor) -> Any:
    if not (count := announcements.send(row, version=row.seen, actor=actor)):
        return False
    # Its kind alone: the history keeps the sentence, for all who may see the announcement.
    values = {"count": number(count), "audience": audiences.get(row.audience).label}
    sentence = ngettext_lazy(
        "sending to %(count)s person (%(audience)s)", "sending to %(count)s people (%(audience)s)", count
    )
    return lazy_text(lambda: str(sentence) % values)


SEND = _verb(
    "send",
    _("Send"),
    _send,
    done=_("being sent"),
    already=_("it was sent before"),
    sensitive=True,
    body={"version": int},
    audit_event="announcement.sent",
    applies=lambda row: row.state == State.DRAFT,
)
PAUSE = _verb(
    "pause",
    _("Pause"),
    lambda row, *, actor: announcements.pause(row),
    done=_("paused; what waits is held back for up to 30 days"),
    already=_("it is paused"),
    audit_event="announcement.paused",
    applies=lambda row: row.state == State.SENDING,
)
RESUME = _verb(
    "resume",
    _("Resume"),
    lambda row, *, actor: announcements.resume(row),
    done=_("going on"),
    already=_("it is being sent"),
    audit_event="announcement.resumed",
    applies=lambda row: row.state == State.PAUSED,
)
CANCEL = _verb(
    "cancel",
    _("Cancel announcement"),
    lambda row, *, actor, reason="": announcements.cancel(row),
    done=_("cancelled"),
    already=_("it is cancelled"),
    audit_event="announcement.cancelled",
    destroys=True,
    asks_reason=True,
    reason_required=False,
    explain=lambda row: _("No one else gets it, and its mails that wait are cancelled. This cannot be taken back."),
    applies=lambda row: row.state in (State.SENDING, State.PAUSED),
)


def _count(row: Announcement, *, actor: Actor) -> bool:
    """Nothing that a history would keep."""
    announcements.count(row)
    return False


COUNT = _verb(
    "count",
    _("Count anew"),
    _count,
    done="",
    already=_("counted anew"),
    applies=lambda row: row.state == State.DRAFT,
)
DELETE = _verb(
    "delete",
    _("Delete draft"),
    lambda row, *, actor: announcements.delete(row),
    done=_("deleted"),
    deletes=True,
    applies=lambda row: row.state == State.DRAFT,
)
#: These reach people: only staff who may know whom.
_TO_PEOPLE = {SEND.name, RESUME.name, COUNT.name}


@admin.register(Announcement)
class AnnouncementAdmin(VerbAdmin):
    class Media:
        css = {"all": ("notifications/templates.css", "notifications/announcements.css")}

    verbs = (SEND, PAUSE, RESUME, CANCEL, COUNT, DELETE)
    list_display = ("title", "badge", "audience_shown", "progress", "created_at", "started_at")
    list_filter = ("state",)
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    sortable_by = ()
    ordering = ("-pk",)
    empty_value_display = ""

    # --- Who may ------------------------------------------------------------------------------------------------------

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self.has_add_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perms(announcements.PERMISSIONS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        may = self.has_add_permission(request)
        if may and obj is not None:
            return obj.state == State.DRAFT and audiences.is_visible_to(request.user, obj.audience)
        return may

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_verb_permission(self, request: HttpRequest, verb: Verb, obj: Any = None) -> bool:
        if obj is not None and verb.name in _TO_PEOPLE and not audiences.is_visible_to(request.user, obj.audience):
            return False
        return self.has_add_permission(request)

    # --- The list -----------------------------------------------------------------------------------------------------

    title = column(_("title"), str)
    badge = column(_("state"), lambda row: chip(CHIPS[State(row.state)], row.get_state_display()))
    audience_shown = column(_("audience"), lambda row: row.shown_audience)

    @admin.display(description=_("people"))
    def progress(self, row: Announcement) -> str:
        people = row.counts.get("people", 0)
        if row.state == State.DRAFT:
            return number(people) if row.counted_at else gettext("being counted")
        if row.written_at:
            return number(people)
        return gettext("%(done)s of about %(all)s") % {"done": number(people), "all": number(row.expected["people"])}

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        for row in rows:
            row.shown_audience = announcements.shown_audience(row, request.user)

    # --- Writing ------------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<path:object_id>/preview/", view(self.preview_view), name=self._url_name("preview")),
            path("<path:object_id>/frame/<str:language>/", view(self.frame_view), name=self._url_name("frame")),
            path("<path:object_id>/test/<str:language>/", view(self.test_view), name=self._url_name("test")),
            *super().get_urls(),
        ]

    def back_url(self, request: HttpRequest, obj: models.Model, *, is_gone: bool = False) -> str:
        row = cast(Announcement, obj)
        is_draft = Announcement.objects.filter(pk=row.pk, state=State.DRAFT).exists()
        return self.page_url("preview", row.pk) if is_draft else super().back_url(request, obj, is_gone=is_gone)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._compose(request, Announcement())

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> Any:
        """The form of a draft; of all others what became of them."""
        row = self._find(request, object_id)
        if row is None:
            return missing_object(self, request, object_id)
        if self.has_change_permission(request, row):
            return self._compose(request, row)
        if request.method == "POST":
            raise PermissionDenied
        return self._page(request, row)

    def _find(self, request: HttpRequest, object_id: str) -> Announcement | None:
        if not self.has_view_permission(request):
            raise PermissionDenied
        return cast("Announcement | None", self.get_object(request, unquote(object_id)))

    def _compose(self, request: HttpRequest, draft: Announcement) -> HttpResponse:
        start = self._initial(request, draft)
        data = request.POST if request.method == "POST" else None
        form = AnnouncementForm(data, initial=start, user=request.user, draft=draft)
        if form.is_valid() and (saved := self._save(request, draft, form)):
            return HttpResponseRedirect(self.page_url("preview", saved.pk))
        title = _("Change an announcement") if draft.pk else _("Write an announcement")
        back = self.page_url("preview", draft.pk) if draft.pk else self.page_url("changelist")
        template = "admin/notifications/announcement/compose.html"
        return render_page(self, request, template, title=title, form=form, original=draft, back_url=back)

    def _initial(self, request: HttpRequest, draft: Announcement) -> dict[str, Any]:
        if not draft.pk:
            return {}
        start = {"url": draft.url, "severity": draft.severity, "channels": draft.channels, "version": draft.version}
        start["audience"] = f"{draft.audience}:{draft.choice}" if draft.choice else draft.audience
        for code, words in draft.words.items():
            start |= {f"{part}_{code}": text for part, text in words.items()}
        # Not to the author either: a colleague may have named them, and saving makes one the author.
        if draft.audience == audiences.PEOPLE and may_see(request.user, get_user_model()):
            name = get_user_model().USERNAME_FIELD
            start["people"] = "\n".join(draft.people.order_by(name).values_list(name, flat=True))
        return start

    def _save(self, request: HttpRequest, draft: Announcement, form: AnnouncementForm) -> Announcement | None:
        given, is_new = form.cleaned_data, not draft.pk
        names = ("words", "url", "severity", "channels", "audience", "choice")
        try:
            with transaction.atomic():
                values = {name: given[name] for name in names}
                values["version"] = None if is_new else given["version"] or 0
                actor = Actor.of(request, "admin")
                saved = announcements.save(draft, **values, people=given["named"], actor=actor)
                log = self.log_addition if is_new else self.log_change
                log(request, saved, "Draft saved.")
        except ProductError as error:
            form.add_error(None, error.message)
            return None
        return saved

    # --- Looking at it ------------------------------------------------------------------------------------------------

    def preview_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        row = self._find(request, object_id)
        return missing_object(self, request, object_id) if row is None else self._page(request, row)

    def _page(self, request: HttpRequest, row: Announcement) -> HttpResponse:
        announcements.look_at_delivery(row)
        # A language that the product has no more is shown where there is no other.
        written = [code for code in engines.languages() if code in row.words] or sorted(row.words)
        previews = [self._preview(row, code) for code in written]
        missing = [language_name(code) for code in engines.languages() if code not in row.words]
        buttons = self.buttons_for(request, row)
        messages_url = reverse("admin:notifications_message_changelist", current_app=self.admin_site.name)
        return render_page(
            self,
            request,
            "admin/notifications/announcement/page.html",
            title=str(row),
            original=row,
            badge=self.badge(row),
            audience=announcements.shown_audience(row, request.user),
            ways=[label for name, label in CHANNELS if name in row.channels],
            by_mail=EMAIL in row.channels,
            inside=IN_APP in row.channels,
            previews=previews,
            missing=missing,
            first_language=previews[0]["name"],
            send=next((button for button in buttons if button["verb"].name == SEND.name), None),
            verb_buttons=[button for button in buttons if button["verb"].name != SEND.name][:1],
            more_buttons=[button for button in buttons if button["verb"].name != SEND.name][1:],
            may_change=self.has_change_permission(request, row),
            may_test=self.has_add_permission(request),
            goes_on=goes_on(row),
            is_stuck=is_stuck(row),
            left_out=left_out(request, row),
            **numbers(row),
            states=mail_states(row, url=messages_url if may_see(request.user, Message) else ""),
            by=actor_name(row.started_by or row.updated_by),
            change_url=self.page_url("change", quote(row.pk)),
            history_url=self.page_url("history", quote(row.pk)),
            here=request.get_full_path(),
        )

    def _preview(self, row: Announcement, language: str) -> dict[str, Any]:
        kind, context = announcements.kind(), announcements.context_of(row, language)
        title, body = render.in_app(kind, context, language=language)
        return {
            "name": language_name(language),
            "code": language,
            "title": title,
            "body": body,
            "mail": self._rendered(row, language),
            "frame_url": self.page_url("frame", row.pk, language),
            "test_url": self.page_url("test", row.pk, language),
        }

    def _rendered(self, row: Announcement, language: str) -> render.Rendered:
        context = {**announcements.context_of(row, language), "unsubscribe_url": MASK}
        return render.render(announcements.kind(), context, language=language)

    def frame_view(self, request: HttpRequest, object_id: str, language: str) -> HttpResponse:
        """The html of the mail alone, for the frame on the page."""
        row = self._find(request, object_id)
        if row is None or language not in row.words:
            raise Http404
        return preview_response(self._rendered(row, language))

    def test_view(self, request: HttpRequest, object_id: str, language: str) -> HttpResponse:
        """POST: send it to oneself."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_add_permission(request):
            raise PermissionDenied
        row = self._find(request, object_id)
        if row is None or language not in row.words:
            raise Http404
        try:
            announcements.send_test(row, user=cast(Any, request.user), language=language)
        except ProductError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            text = _("A test in %(language)s is on its way to you.") % {"language": language_name(language)}
            self.message_user(request, text, messages.SUCCESS)
        return HttpResponseRedirect(self.back_url(request, row))

    def perform(self, request: HttpRequest, verb: Verb, obj: Any, given: Mapping[str, Any]) -> Outcome:
        # The version that the page showed with its button.
        obj.seen = whole_number(request.POST.get("version", "")) or 0
        return super().perform(request, verb, obj, given)


def goes_on(row: Announcement) -> bool:
    """Whether a worker has still something to do for it."""
    return row.counted_at is None if row.state == State.DRAFT else row.state == State.SENDING or not row.is_settled


def is_stuck(row: Announcement) -> bool:
    """Whether it waits for a worker, and there is none."""
    if not goes_on(row) or settings.NOTIFICATIONS_ENGINE == "inline":
        return False
    return settings.NOTIFICATIONS_ENGINE == "off" or not health.has_worker()


def numbers(row: Announcement) -> dict[str, Any]:
    """How many people are counted or written to, how many mails are through, and how far both are."""
    counts, expected = row.counts, row.expected
    looked, most = counts.get("looked", 0), max(1, expected.get("looked", 0), counts.get("looked", 0))
    mails, waiting = sum(row.delivery.values()), sum(row.delivery.get(state, 0) for state in Message.OPEN)
    return {
        "people_count": counts.get("people", 0),
        "counted": number(counts.get("people", 0)),
        "looked": number(looked),
        "expected": number(expected.get("people", 0)),
        "mail_count": number(counts.get("mails", 0)),
        "inside_count": number(counts.get("in_app", 0)),
        "bar_max": most,
        "bar_value": most if row.written_at else looked,
        "mails": mails,
        "mails_through": mails - waiting,
        "mails_text": number(mails - waiting),
        "mails_all": number(mails),
    }


def left_out(request: HttpRequest, row: Announcement) -> list[tuple[str, str]]:
    """Why people do not get it, and how many."""
    labels = {
        "unsubscribed": _("Unsubscribed from announcements by mail"),
        "suppressed": _("Address that is not written to"),
        "throttled": _("Has had enough announcements for now"),
        "switched_off": _("Announcements in the product switched off"),
        "unverified": _("Address not verified"),
        "inactive": _("Account not active"),
        "hidden": _("Reasons not shown to you"),
    }
    counts = announcements.left_out(row, request.user)
    return [(str(label), number(counts[name])) for name, label in labels.items() if name in counts]


def mail_states(row: Announcement, *, url: str) -> list[dict[str, str]]:
    """How many of its messages are in each state, as last looked at, and where they are listed."""
    states = [state for state in Message.State if row.delivery.get(state.value)]
    return [
        {
            "label": str(state.label),
            "count": number(row.delivery[state.value]),
            "url": url and f"{url}?{urlencode({'announcement': row.pk, 'state__exact': state.value})}",
        }
        for state in states
    ]
