"""Endpoints of webhooks and what was sent to them, the buttons for both, and the page that shows a secret once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from lib import events
from lib.actors import Actor
from lib.admin import because, may_see
from lib.admin.changelist import time_column
from lib.admin.lists import GrowingTableAdmin, ReadOnlyAdmin, actor_name, chip, column, object_link
from lib.admin.verbs import Outcome, ReasonForm, Verb, has_fresh_proof, render_page
from lib.errors import ProductError
from notifications.admin.common import value_filter
from notifications.models import WebhookDelivery, WebhookEndpoint
from notifications.services import endpoints
from notifications.services.webhook_claims import REASONS

State = WebhookDelivery.State
CHIPS = {State.QUEUED: "waiting", State.SENDING: "paused", State.DELIVERED: "active", State.FAILED: "off"}
ADD, CHANGE = "notifications.add_webhookendpoint", "notifications.change_webhookendpoint"
#: Deliveries on an endpoint's page, tries on a delivery's.
RECENT, TRIES = 20, 100
ERRORS = {
    "address": _("its addresses are in networks that WEBHOOKS_ALLOWED_NETWORKS does not name"),
    "dns": _("its name is not known"),
    "connect": _("no connection"),
    "tls": _("no certificate of this name"),
    "timeout": _("no answer in time"),
    "protocol": _("no answer of HTTP"),
    "secret": _("its secret cannot be read: rotate it"),
    "internal": _("an error of our own"),
}


def event_choices() -> list[tuple[str, Any]]:
    return [(kind.name, event_words(kind.name)) for kind in events.declared() if kind.name != endpoints.TEST]


def event_label(name: str) -> str:
    kind = events.find(name)
    return str(kind.label) if kind else name


def event_words(name: str) -> str:
    return format_html("<code>{}</code> {}", name, event_label(name))


class EndpointForm(ReasonForm):
    """Where to, and what is told."""

    use_required_attribute = False
    name = forms.CharField(
        max_length=100,
        label=_("Name"),
        help_text=_("Who is told: “CRM, production”."),
        widget=forms.TextInput({"class": "vTextField", "autocomplete": "off"}),
    )
    url = forms.CharField(
        max_length=2000,
        label=_("Address"),
        help_text=_("As in https://example.org/webhooks."),
        widget=forms.TextInput({"class": "vTextField", "inputmode": "url", "autocomplete": "off"}),
    )
    events = forms.MultipleChoiceField(label=_("Events"), choices=event_choices, widget=forms.CheckboxSelectMultiple)

    field_order: tuple[str, ...] = ("name", "url", "events", "reason")

    def clean_url(self) -> str:
        try:
            return endpoints.checked_url(self.cleaned_data["url"])
        except ProductError as error:
            raise ValidationError(error.message) from None


def _rotate(endpoint: WebhookEndpoint, *, actor: Actor, reason: str = "") -> None:
    # Not returned: a text would be shown as a message, and logged.
    endpoint.new_secret = endpoints.rotate_secret(endpoint, actor=actor, reason=reason)  # type: ignore[attr-defined]


def _send_test(endpoint: WebhookEndpoint, *, actor: Actor) -> None:
    endpoints.send_test(endpoint, actor=actor)


_verb: Callable[..., Verb] = partial(Verb, permission=CHANGE, asks_reason=True, reason_required=False, in_bulk=False)
TEST = _verb(
    name="test",
    label=_("Send a test"),
    run=_send_test,
    done=_("the test is on its way"),
    asks_reason=False,
    applies=lambda endpoint: endpoint.paused_at is None,
)
EDIT = _verb(
    name="edit",
    label=_("Edit"),
    run=endpoints.edit,
    sensitive=True,
    form=EndpointForm,
    initial=lambda endpoint: {"name": endpoint.name, "url": endpoint.url, "events": endpoint.events},
    done=_("changed"),
    explain=lambda endpoint: gettext("What waits goes to the new address, too."),
)
PAUSE = _verb(
    name="pause",
    label=_("Pause"),
    run=endpoints.pause,
    done=_("paused until it is resumed"),
    already=_("paused already"),
    reason_required=True,
    explain=lambda endpoint: gettext("Nothing is sent until it is resumed; what happens meanwhile waits."),
    applies=lambda endpoint: endpoint.paused_at is None,
    in_row=True,
)
RESUME = _verb(
    name="resume",
    label=_("Resume"),
    run=endpoints.resume,
    done=_("resumed"),
    already=_("not paused"),
    explain=lambda endpoint: gettext("What waits is sent from now on."),
    applies=lambda endpoint: endpoint.paused_at is not None,
    in_row=True,
)
ROTATE = _verb(
    name="rotate",
    label=_("Rotate secret"),
    run=_rotate,
    sensitive=True,
    done=_("secret rotated"),
    explain=lambda endpoint: gettext("The secret there is now signs beside the new one for 24 hours, and then ends."),
)
DELETE = _verb(
    name="remove",
    label=_("Delete"),
    permission="notifications.delete_webhookendpoint",
    run=endpoints.delete,
    sensitive=True,
    done=_("deleted"),
    reason_required=True,
    explain=lambda endpoint: gettext("What waits for it is never sent; its deliveries go, too."),
    deletes=True,
)


def endpoint_state(endpoint: WebhookEndpoint) -> str:
    if endpoint.paused_at:
        return chip("off", _("paused"))
    return chip("waiting", _("failing")) if endpoint.failures else chip("active", _("open"))


def answer(code: str) -> str:
    """The status of the last answer, or why there was none."""
    return str(ERRORS.get(code, code))


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnlyAdmin):
    verbs = (TEST, EDIT, PAUSE, RESUME, ROTATE, DELETE)
    change_form_template = "admin/notifications/webhookendpoint/change_form.html"
    list_display = ("name", "state", "verb_buttons", "url", "last_success", "failing")
    search_fields = ("name", "url")
    fields = (
        *("name", "url", "events_shown", "why_paused", "last_success_at", "failing_since", "failures", "rest_until"),
        *("old_secret_until", "created_at", "updated_at"),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only what there is to show; the state stands at the head."""
        told_by = {"why_paused": "paused_at", "events_shown": "events"}
        return [name for name in self.fields if getattr(obj, told_by.get(name, name))]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(ADD)

    state = column(_("state"), endpoint_state)
    events_shown = column(
        _("events"), lambda endpoint: format_html_join(", ", "<code>{}</code>", ((name,) for name in endpoint.events))
    )
    last_success = time_column("last_success_at", _("last success"))
    failing = time_column("failing_since", _("failing since"))

    @admin.display(description=_("paused by"))
    def why_paused(self, endpoint: WebhookEndpoint) -> str:
        if not endpoint.paused_at:
            return ""
        return f"{actor_name(endpoint.paused_by)}: {REASONS.get(endpoint.paused_reason, endpoint.paused_reason)}"

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        if may_see(request.user, WebhookDelivery):
            rows = obj.deliveries.order_by("-pk")[:RECENT]
            context["recent"] = [
                {"row": row, "state": delivery_state(row), "answer": answer(row.last_code)} for row in rows
            ]
        return super().render_change_form(request, context, add, change, form_url, obj)

    def run_verb(self, request: HttpRequest, verb: Verb, obj: models.Model, form: ReasonForm | None = None) -> Outcome:
        outcome = super().run_verb(request, verb, obj, form)
        if verb is ROTATE and outcome.level == messages.SUCCESS:
            outcome = replace(outcome, response=self._secret_page(request, obj, obj.new_secret))  # type: ignore[attr-defined]
        return outcome

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = EndpointForm(request.POST if request.method == "POST" else None)
        form.fields["reason"].required = False
        if form.is_valid() and has_fresh_proof(self.admin_site, request, form):
            try:
                with transaction.atomic():
                    made, secret = endpoints.create(**form.cleaned_data, actor=Actor.of(request, "admin"))
                    reason = form.cleaned_data["reason"]
                    self.log_addition(request, made, "Added." + because(reason))
                return self._secret_page(request, made, secret)
            except ProductError as error:
                form.add_error(None, error.message)
        words = {"title": _("Add a webhook endpoint"), "button": _("Add")}
        return render_page(self, request, "admin/form_page.html", form=form, marks_optional=True, **words)

    def _secret_page(self, request: HttpRequest, endpoint: Any, secret: str) -> HttpResponse:
        # Shown at once: a redirect would have to keep the secret somewhere. No page of the admin is cached.
        template = "admin/notifications/webhookendpoint/secret.html"
        return render_page(self, request, template, title=str(endpoint), endpoint=endpoint, secret=secret)


# --- What was sent ----------------------------------------------------------------------------------------------------


def delivery_state(delivery: WebhookDelivery) -> str:
    return chip(CHIPS[State(delivery.state)], delivery.get_state_display())


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(GrowingTableAdmin):
    change_form_template = "admin/notifications/webhookdelivery/change_form.html"
    list_display = ("what", "badge", "to", "verb_buttons", "attempts", "answered", "created")
    list_filter = (
        "state",
        value_filter("event", _("event"), lambda: [(kind.name, kind.label) for kind in events.declared()]),
        value_filter(
            "endpoint",
            _("webhook endpoint"),
            lambda: [(str(row.pk), row.name) for row in WebhookEndpoint.objects.all()],
        ),
    )
    list_select_related = ("endpoint",)
    search_fields = ("uid",)
    search_help_text = _("A whole webhook-id.")
    fields = readonly_fields = (
        *("what", "to", "webhook_id", "subject", "attempts", "answered", "due_at", "expires_at"),
        *("created_at", "finished_at"),
    )
    verbs = (
        Verb(
            name="resend",
            label=_("Resend"),
            permission="notifications.resend_webhookdelivery",
            run=endpoints.resend,
            done=_("queued again"),
            applies=lambda delivery: delivery.state != State.SENDING,
        ),
    )

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[WebhookDelivery]:
        # A join on `deleted_at` would tempt PostgreSQL, which has no statistics of so few rows, to begin with them.
        deleted = WebhookEndpoint.everything.filter(deleted_at__isnull=False)
        return super().get_queryset(request).exclude(endpoint__in=deleted)

    def search_query(self, term: str, request: HttpRequest) -> Q:
        try:
            return Q(uid=uuid.UUID(term))
        except ValueError:
            return Q(pk__in=())

    what = column(_("event"), lambda delivery: event_words(delivery.event))
    badge = column(_("state"), delivery_state)

    def card(self, obj: Any) -> str:
        return delivery_state(obj)

    to = column(
        _("webhook endpoint"), lambda delivery: object_link(delivery.endpoint, delivery.endpoint_id, delivery.endpoint)
    )
    webhook_id = column("webhook-id", lambda delivery: delivery.uid.hex)
    answered = column(_("last answer"), lambda delivery: answer(delivery.last_code))
    created = time_column("created_at", _("created"))

    def row_name(self, obj: WebhookDelivery) -> str:
        return f"{event_label(obj.event)} ({obj.uid.hex[:8]})"

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context["title"], context["subtitle"] = self.row_name(obj), None
        sees_all = endpoints.may_see(Actor("admin", request.user), obj.event)
        context["timeline"] = [
            # An answer may repeat what was sent.
            {"row": row, "answer": row.status or answer(row.error), "text": row.response if sees_all else ""}
            for row in reversed(obj.tries.order_by("-pk")[:TRIES])
        ]
        if sees_all:
            context["payload"] = json.dumps(json.loads(obj.body), indent=2, ensure_ascii=False)
        return super().render_change_form(request, context, add, change, form_url, obj)
