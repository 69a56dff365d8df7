"""What people find inside the product, and announcements to many of them."""

from __future__ import annotations

import uuid
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponseRedirect
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.addresses import normal_email
from lib.admin.lists import GrowingTableAdmin, chip, column, user_starts_with
from lib.admin.verbs import has_fresh_proof, render_page
from lib.errors import ProductError
from lib.text import is_storable
from notifications.admin.common import TypeFilter, type_column, user_column
from notifications.models import InAppNotification
from notifications.services.outbox import ANNOUNCE_LIMIT, announce

Severity = InAppNotification.Severity
CHIPS = {Severity.INFO: "staff", Severity.SUCCESS: "active", Severity.WARNING: "waiting", Severity.ERROR: "off"}
TIMES = ("created_at", "seen_at", "read_at", "archived_at")
#: An announcement is a row in both tables.
PERMISSIONS = ("notifications.add_inappnotification", "notifications.add_message")


class AnnounceForm(forms.Form):
    use_required_attribute = False
    title = forms.CharField(
        max_length=150,
        help_text=_("Also the subject of the mail."),
        widget=forms.TextInput({"class": "vTextField", "autofocus": True, "autocomplete": "off"}),
    )
    body = forms.CharField(
        label=_("Text"), max_length=2_000, widget=forms.Textarea({"class": "vLargeTextField", "rows": 6})
    )
    url = forms.URLField(
        label=_("Link"),
        required=False,
        max_length=2_000,
        assume_scheme="https",
        widget=forms.TextInput({"class": "vTextField", "inputmode": "url", "autocomplete": "off"}),
    )
    severity = forms.ChoiceField(choices=Severity.choices, initial=Severity.INFO)
    people = forms.CharField(
        required=False,
        max_length=300_000,
        help_text=_("E-mail addresses of users, one a line."),
        widget=forms.Textarea({"class": "vLargeTextField", "rows": 4, "spellcheck": "false"}),
    )
    group = forms.ModelChoiceField(
        required=False,
        queryset=Group.objects.order_by("name"),
        help_text=_("All active members, together with those above."),
    )
    # One form is one announcement, however often its button is pressed.
    key = forms.UUIDField(widget=forms.HiddenInput)

    def clean_title(self) -> str:
        title: str = self.cleaned_data["title"]
        if not title.isprintable():
            raise ValidationError(_("Use one line without control characters."))
        return title

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        for name in ("title", "body", "url", "people"):
            if not is_storable(given.get(name, "")):
                self.add_error(name, _("This holds signs that cannot be stored."))
        if not self.errors:
            given["chosen"] = self._chosen(given)
        return given

    def _chosen(self, given: dict[str, Any]) -> list[Any]:
        typed = {normal_email(line) for line in given["people"].replace(",", "\n").splitlines() if line.strip()}
        too_many = ValidationError(_("At most %(limit)s people at a time.") % {"limit": f"{ANNOUNCE_LIMIT:,}"})
        if not typed and not given["group"]:
            raise ValidationError(_("Name people, or choose a group."))
        if len(typed) > ANNOUNCE_LIMIT:
            raise too_many
        model = get_user_model()
        name = model.USERNAME_FIELD
        found = model._default_manager.filter(**{f"{name}__in": typed})
        if unknown := typed - {person.get_username() for person in found}:
            shown = ", ".join(sorted(unknown)[:5]) + (", …" if len(unknown) > 5 else "")
            raise ValidationError({"people": _("There is no user %(shown)s.") % {"shown": shown}})
        meant = Q(**{f"{name}__in": typed})
        if given["group"]:
            meant |= Q(pk__in=given["group"].user_set.values("pk"))
        chosen = list(model._default_manager.filter(meant, is_active=True)[: ANNOUNCE_LIMIT + 1])
        if not chosen:
            raise ValidationError(_("None of them is active."))
        if len(chosen) > ANNOUNCE_LIMIT:
            raise too_many
        return chosen


@admin.register(InAppNotification)
class InAppNotificationAdmin(GrowingTableAdmin):
    list_display = ("title", "person", "kind", "level", "created_at", "seen_at", "read_at")
    list_filter = ("severity", TypeFilter)
    search_fields = ("user",)
    search_help_text = _("The address a person signs in with, or its beginning.")
    list_select_related = ("user",)
    fields = readonly_fields = ("title", "body", "url", "person", "kind", "level", *TIMES)

    def search_query(self, term: str) -> Q:
        return user_starts_with(term)

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perms(PERMISSIONS)

    person, kind = user_column, type_column
    level = column(
        _("severity"), lambda row: chip(CHIPS.get(Severity(row.severity), "staff"), row.get_severity_display())
    )

    # --- Announcing ---------------------------------------------------------------------------------------------------

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        """The form, then the same once more with the number of people, then it is queued."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        is_sent = request.method == "POST"
        form = AnnounceForm(request.POST) if is_sent else AnnounceForm(initial={"key": uuid.uuid4()})
        count = 0
        if form.is_valid():
            count = len(form.cleaned_data["chosen"])
            # The group may have grown since the number was shown.
            is_confirmed = request.POST.get("confirmed") == str(count)
            if is_confirmed and has_fresh_proof(self.admin_site, request, form) and self._announce(request, form):
                return HttpResponseRedirect(self.page_url("changelist"))
        return render_page(
            self,
            request,
            "admin/notifications/announce.html",
            title=_("Send an announcement"),
            form=form,
            count=count,
            button=_("Send") if count else _("Continue"),
        )

    def _announce(self, request: HttpRequest, form: AnnounceForm) -> bool:
        given = form.cleaned_data
        words = {name: given[name] for name in ("title", "body", "url", "severity")}
        try:
            count, refused = announce(given["chosen"], **words, key=str(given["key"]))
        except ProductError as error:
            form.add_error(None, error.message)
            return False
        text = f"queued for {count} {'person' if count == 1 else 'people'}"
        if refused:
            text += f"; {refused} cannot be written to"
        # One line for all of them: the announcement is no row of its own.
        group = f", group {given['group']}" if given["group"] else ""
        LogEntry.objects.create(
            user=cast(Any, request.user),
            content_type=ContentType.objects.get_for_model(InAppNotification),
            object_repr=given["title"],
            action_flag=ADDITION,
            change_message=f"Announcement {given['key']}: {text}{group}.",
        )
        groups = [str(given["group"] or "")]
        Actor.of(request, "admin").note("announcement.sent", name=given["title"], count=count, groups=groups)
        self.message_user(request, f"“{given['title']}”: {text}.", messages.SUCCESS)
        return True
