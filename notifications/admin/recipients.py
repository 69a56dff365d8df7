"""Who must not be written to, who does not want to be, and what providers report."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from lib import audit
from lib.actors import Actor
from lib.addresses import normal_email, valid_email
from lib.admin.filters import ValueFilter
from lib.admin.lists import GrowingTableAdmin, chip, column, object_link, starts_with, user_starts_with
from lib.admin.pages import has_fresh_proof, render_page
from lib.admin.verbs import Verb
from lib.errors import ProductError
from notifications import registry
from notifications.admin.common import ProviderFilter, type_label
from notifications.admin.verbs import SuppressForm, put_on_list, scopes
from notifications.models import DeliveryEvent, Message, Preference, Suppression
from notifications.services import recipients
from notifications.services.staff_actions import require_reach


class AddSuppressionForm(SuppressForm):
    use_required_attribute = False
    address = forms.CharField(
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
    require_reach(actor, address=suppression.address)
    return recipients.lift(suppression.address, scope=suppression.scope, channel=suppression.channel)


class ScopeFilter(ValueFilter):
    title = _("what")
    parameter_name = column = "scope"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return scopes()


@admin.register(Suppression)
class SuppressionAdmin(GrowingTableAdmin):
    list_display = ("address_shown", "what", "verb_buttons", "why", "source_shown", "until", "created")
    list_filter = ("reason", ScopeFilter)
    search_fields = ("address",)
    search_help_text = _("A whole address or its beginning.")
    fields = ("address_shown", "channel", "what", "why", "source_shown", "until", "created_at")
    readonly_fields = fields
    verbs = (
        Verb(
            name="lift",
            label="Lift",
            permission="notifications.delete_suppression",
            sensitive=True,
            audit_event="suppression.lifted",
            audit_details=lambda suppression: {"email": suppression.address, "scope": suppression.scope},
            run=_lift,
            done="lifted",
            already="not on the list any more",
            asks_reason=True,
            explain=lambda suppression: "The address is written to again. What bounced before will bounce again.",
            deletes=True,
            in_row=True,
        ),
    )

    def has_add_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm("notifications.add_suppression")

    def search_query(self, term: str) -> Q:
        return starts_with("address", normal_email(term))

    address_shown = column(_("address"), lambda suppression: suppression.address)
    what = column(_("what"), lambda suppression: str(dict(scopes()).get(suppression.scope, suppression.scope)))
    why = column(_("reason"), lambda suppression: suppression.get_reason_display())
    source_shown = column(_("source"), lambda suppression: suppression.source)

    @admin.display(description=_("until"))
    def until(self, suppression: Suppression) -> Any:
        if suppression.expires_at and suppression.expires_at <= timezone.now():
            return chip("waiting", _("over"))
        return suppression.expires_at or _("for ever")

    created = column(_("created"), lambda suppression: suppression.created_at)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = AddSuppressionForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form) and self._add(request, form):
            return HttpResponseRedirect(self.page_url("changelist"))
        title, button = _("Suppress an address"), _("Suppress")
        return render_page(self, request, "admin/form_page.html", title=title, form=form, button=button)

    def _add(self, request: HttpRequest, form: AddSuppressionForm) -> bool:
        given = form.cleaned_data
        address, scope, reason = given["address"], given["scope"], given["reason"]
        try:
            with transaction.atomic():
                is_new = put_on_list(
                    address, actor=Actor.of(request, "admin"), scope=scope, reason=reason, days=given["days"]
                )
                if is_new:
                    row = Suppression.objects.get(address=address, scope=scope, channel=Message.Channel.EMAIL)
                    self.log_addition(request, row, f"Suppressed. Reason: {reason}")
                    audit.note(
                        Actor.of(request, "admin"), "suppression.added", email=address, scope=scope, reason=reason
                    )
        except ProductError as error:
            form.add_error(None, error.message)
            return False
        text = "suppressed" if is_new else "on the list already, for at least as long"
        self.message_user(request, f"“{address}”: {text}.", messages.SUCCESS if is_new else messages.INFO)
        return True


@admin.register(Preference)
class PreferenceAdmin(GrowingTableAdmin):
    list_display = ("person", "category_shown", "channel_shown", "wanted", "since")
    search_fields = ("user",)
    search_help_text = _("The address somebody signs in with, or its beginning.")
    list_select_related = ("user",)
    fields = readonly_fields = ("person", "category_shown", "channel_shown", "wanted", "created_at")

    def search_query(self, term: str) -> Q:
        return user_starts_with(term)

    person = column(_("user"), lambda preference: object_link(preference.user, preference.user.pk, preference.user))
    category_shown = column(_("category"), lambda preference: str(registry.category(preference.category).label))
    channel_shown = column(_("channel"), lambda preference: preference.channel)
    wanted = column(_("wanted"), lambda preference: preference.enabled, boolean=True)
    since = column(_("since"), lambda preference: preference.created_at)


class KindFilter(ValueFilter):
    """The events django-anymail knows."""

    title = _("event")
    parameter_name = column = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        kinds = "queued sent delivered deferred bounced rejected failed complained unsubscribed"
        return [(kind, kind) for kind in kinds.split()]


@admin.register(DeliveryEvent)
class DeliveryEventAdmin(GrowingTableAdmin):
    list_display = ("happened", "reported", "recipient_shown", "by", "about", "detail_shown")
    list_filter = (KindFilter, ProviderFilter, ("message", admin.EmptyFieldListFilter))
    search_fields = ("recipient",)
    search_help_text = _("A whole address, or a message's uid.")
    list_select_related = ("message",)
    fields = readonly_fields = (
        "happened",
        "received_at",
        "reported",
        "recipient_shown",
        "by",
        "event_id",
        "about",
        "detail_shown",
    )

    def search_query(self, term: str) -> Q:
        try:
            return Q(message__uid=uuid.UUID(term))
        except ValueError:
            return Q(recipient=normal_email(term))

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeliveryEvent]:
        return super().get_queryset(request).select_related("message")

    happened = column(_("happened"), lambda event: event.at)
    reported = column(_("event"), lambda event: event.summary)
    recipient_shown = column(_("recipient"), lambda event: event.recipient)
    by = column(_("provider"), lambda event: event.provider)
    about = column(_("message"), lambda event: message_link(event.message) if event.message else str(_("none of ours")))
    detail_shown = column(_("detail"), lambda event: event.detail)


def message_link(message: Message) -> str:
    url = reverse("admin:notifications_message_change", args=[message.pk])
    return format_html('<a href="{}">{}</a>', url, type_label(message.type))
