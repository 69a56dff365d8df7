"""Who must not be written to, who does not want to be, and what providers report."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponseRedirect
from django.utils import timezone
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.addresses import normal_email, valid_email
from lib.admin.lists import GrowingTableAdmin, chip, column, object_link, starts_with, user_starts_with
from lib.admin.verbs import ReasonForm, Verb, has_fresh_proof, render_page
from lib.errors import ProductError
from notifications import registry
from notifications.admin.common import ProviderFilter, type_label, user_column, value_filter
from notifications.models import REPORTS, DeliveryEvent, Message, Preference, Suppression
from notifications.services import recipients, staff_actions


class SuppressForm(ReasonForm):
    """What is kept from the address, and for how long."""

    scope = forms.ChoiceField(label=_("What"), choices=staff_actions.scopes, initial=Suppression.OPTIONAL)
    days = forms.TypedChoiceField(
        label=_("For"),
        choices=[("", _("ever")), *((str(days), format_lazy("{} {}", days, _("days"))) for days in staff_actions.DAYS)],
        coerce=int,
        empty_value=None,
        required=False,
    )

    field_order: tuple[str, ...] = ("scope", "days", "reason")


class AddSuppressionForm(SuppressForm):
    use_required_attribute = False
    address = forms.CharField(
        label=_("Address"),
        max_length=254,
        widget=forms.TextInput(
            {"class": "vTextField", "autofocus": True, "autocomplete": "off", "spellcheck": "false"}
        ),
    )

    field_order = ("address", "scope", "days", "reason")

    def clean_address(self) -> str:
        try:
            return valid_email(self.cleaned_data["address"])
        except ValueError:
            raise ValidationError(_("Enter a valid email address."), code="invalid") from None


def _lift(suppression: Suppression, *, actor: Actor, reason: str) -> bool:
    staff_actions.require_reach(actor, address=suppression.address)
    return recipients.lift(suppression.address, scope=suppression.scope, channel=suppression.channel)


@admin.register(Suppression)
class SuppressionAdmin(GrowingTableAdmin):
    list_display = ("address", "what", "verb_buttons", "reason", "source", "until", "created_at")
    list_filter = ("reason", value_filter("scope", _("what"), staff_actions.scopes))
    search_fields = ("address",)
    search_help_text = _("A whole address or its beginning.")
    fields = readonly_fields = ("address", "channel", "what", "reason", "source", "until", "created_at")
    verbs = (
        Verb(
            name="lift",
            label=_("Lift"),
            permission="notifications.delete_suppression",
            sensitive=True,
            audit_event="suppression.lifted",
            audit_details=lambda suppression: {"email": suppression.address, "scope": suppression.scope},
            run=_lift,
            done=_("lifted"),
            already=_("not on the list any more"),
            asks_reason=True,
            explain=lambda suppression: _("The address is written to again. What bounced before will bounce again."),
            deletes=True,
            in_row=True,
        ),
    )

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("notifications.add_suppression")

    def search_query(self, term: str, request: HttpRequest) -> Q:
        return starts_with("address", normal_email(term))

    what = column(
        _("what"), lambda suppression: str(dict(staff_actions.scopes()).get(suppression.scope, suppression.scope))
    )

    @admin.display(description=_("until"))
    def until(self, suppression: Suppression) -> Any:
        if suppression.expires_at and suppression.expires_at <= timezone.now():
            return chip("waiting", _("over"))
        return suppression.expires_at or _("for ever")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = AddSuppressionForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form) and self._add(request, form):
            return HttpResponseRedirect(self.page_url("changelist"))
        labels = {"title": _("Suppress an address"), "button": _("Suppress")}
        return render_page(self, request, "admin/form_page.html", form=form, **labels)

    def _add(self, request: HttpRequest, form: AddSuppressionForm) -> bool:
        given, actor = form.cleaned_data, Actor.of(request, "admin")
        address, scope, reason = given["address"], given["scope"], given["reason"]
        try:
            with transaction.atomic():
                is_new = staff_actions.suppress(address, actor=actor, scope=scope, reason=reason, days=given["days"])
                if is_new:
                    row = Suppression.objects.get(address=address, scope=scope, channel=Message.Channel.EMAIL)
                    self.log_addition(request, row, f"Suppressed. Reason: {reason}")
                    actor.note("suppression.added", email=address, scope=scope, reason=reason)
        except ProductError as error:
            form.add_error(None, error.message)
            return False
        text = _("suppressed") if is_new else _("on the list already, for at least as long")
        self.message_user(request, f"“{address}”: {text}.", messages.SUCCESS if is_new else messages.INFO)
        return True


@admin.register(Preference)
class PreferenceAdmin(GrowingTableAdmin):
    list_display = ("person", "category_shown", "channel", "enabled", "created_at")
    list_display_links = ("category_shown",)  # the person is a link of their own
    search_fields = ("user",)
    search_help_text = _("The address a person signs in with, or its beginning.")
    list_select_related = ("user",)
    fields = readonly_fields = list_display

    def search_query(self, term: str, request: HttpRequest) -> Q:
        return user_starts_with(term)

    person = user_column
    category_shown = column(_("category"), lambda preference: str(registry.category(preference.category).label))


@admin.register(DeliveryEvent)
class DeliveryEventAdmin(GrowingTableAdmin):
    list_display = ("at", "reported", "recipient", "provider", "about", "detail")
    list_filter = (
        value_filter("kind", _("event"), lambda: list(REPORTS.items())),
        ProviderFilter,
        ("message", admin.EmptyFieldListFilter),
    )
    search_fields = ("recipient",)
    search_help_text = _("A whole address, or a message's uid.")
    list_select_related = ("message",)
    fields = readonly_fields = (
        *("at", "received_at", "reported", "recipient", "provider", "event_id", "about", "detail"),
    )

    def search_query(self, term: str, request: HttpRequest) -> Q:
        try:
            return Q(message__uid=uuid.UUID(term))
        except ValueError:
            return Q(recipient=normal_email(term))

    reported = column(_("event"), lambda event: event.summary)

    @admin.display(description=_("message"))
    def about(self, event: DeliveryEvent) -> Any:
        message = event.message
        return object_link(message, message.pk, type_label(message.type)) if message else _("none of ours")
