"""The outbox: what waits, what was sent and what was not, and the buttons for it."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from lib.addresses import normal_email
from lib.admin.lists import WINDOW, GrowingTableAdmin, chip, column, local_time, object_link, starts_with
from lib.admin.verbs import BULK_LIMIT
from notifications.admin import detail
from notifications.admin.common import CategoryFilter, ProviderFilter, TypeFilter, type_label
from notifications.admin.running import may_see_providers
from notifications.admin.verbs import RETRY, VERBS
from notifications.models import Message
from notifications.preview import preview_response
from notifications.services.staff_actions import wrongly_failed

State = Message.State
CHIPS = {
    State.QUEUED: "waiting",
    State.SENDING: "paused",
    State.SENT: "active",
    State.FAILED: "off",
    State.UNKNOWN: "off",
    State.CANCELLED: "staff",
    State.SUPPRESSED: "staff",
    State.EXPIRED: "staff",
}
VIEW_BODY = "notifications.view_message_body"


@admin.register(Message)
class MessageAdmin(GrowingTableAdmin):
    verbs = VERBS
    change_form_template = "admin/notifications/message/change_form.html"
    list_display = ("recipient", "badge", "kind", "verb_buttons", "tried", "next_try", "code", "created")
    list_filter = ("state", CategoryFilter, "channel", ProviderFilter, TypeFilter)
    search_fields = ("to_address",)
    search_help_text = _("A whole address or its beginning, a message's uid or its Message-ID.")
    fieldsets = (
        (None, {"fields": ("badge", "subject", "kind", "recipient", "to_name", "person", "last_code", "last_error")}),
        (_("When"), {"fields": ("created_at", "due_at", "expires_at", "handed_at", "sent_at", "finished_at")}),
        (
            _("How"),
            {"fields": ("category", "channel", "language", "attempts", "max_attempts", "reason", "lease_owner")},
        ),
        (
            _("Identity"),
            {
                "fields": (
                    "uid",
                    "message_id",
                    "parent",
                    "event_key",
                    "provider",
                    "provider_message_id",
                    "delivery_state",
                    "template_source",
                    "request_id",
                )
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten_fieldsets(self.fieldsets)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only what there is to show."""

        def is_there(name: Any) -> bool:
            return getattr(obj, name, name) not in ("", None)

        return [
            (title, {"fields": [name for name in options["fields"] if is_there(name)]})
            for title, options in self.fieldsets
        ]

    # --- The list -----------------------------------------------------------------------------------------------------

    def bounded(self, queryset: QuerySet[Message], filters: dict[str, list[str]]) -> QuerySet[Message]:
        """By state the one that ended last comes first, as its index has it; what has no index looks at the newest."""
        if "state__exact" not in filters:
            return super().bounded(queryset, filters)
        queryset = queryset.order_by("-finished_at", "-pk")
        if len(filters) == 1:
            return queryset
        of_state = Message.objects.filter(state__in=filters["state__exact"]).order_by("-finished_at")
        # The moment at which the window begins is read from the index alone; open ones have none.
        begin = of_state.values_list("finished_at", flat=True)[WINDOW : WINDOW + 1].first()
        return queryset if begin is None else queryset.filter(finished_at__gte=begin)

    def search_query(self, term: str) -> Q:
        try:
            return Q(uid=uuid.UUID(term))
        except ValueError:
            pass
        if term.startswith("<") and term.endswith(">"):
            return Q(message_id=term)
        return Q(message_id=f"<{term}>") | starts_with("to_address", normal_email(term))

    recipient = column(_("recipient"), lambda message: message.to_address or str(_("forgotten")))

    @admin.display(description=_("state"))
    def badge(self, message: Message) -> str:
        state = chip(CHIPS[State(message.state)], message.get_state_display())
        if not message.delivery_state:
            return state
        is_bad = message.delivery_state in {"bounced", "complained"}
        report = chip("off" if is_bad else "staff", message.get_delivery_state_display())
        return format_html("{} {}", state, report)

    kind = column(_("type"), lambda message: type_label(message.type))
    tried = column(_("attempts"), lambda message: message.attempts)
    next_try = column(
        _("next try"),
        lambda message: local_time(message.due_at) if message.due_at and message.state == State.QUEUED else "",
    )
    code = column(_("last code"), lambda message: message.last_code)
    created = column(_("created"), lambda message: local_time(message.created_at))

    # --- The page of one ----------------------------------------------------------------------------------------------

    person = column(
        _("user"), lambda message: object_link(message.user, message.user.pk, message.user) if message.user else ""
    )

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context["why"] = detail.reason_of(obj, shows_providers=may_see_providers(request))
        context["timeline"] = detail.timeline(
            obj, shows_reports=request.user.has_perm("notifications.view_deliveryevent")
        )
        if request.user.has_perm(VIEW_BODY):
            context["content"] = detail.content(obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("retry-lost/", view(self.retry_lost_view), name=self._url_name("retry_lost")),
            path("<path:object_id>/body/", view(self.body_view), name=self._url_name("body")),
            *super().get_urls(),
        ]

    def retry_lost_view(self, request: HttpRequest) -> HttpResponse:
        """Retry, for all that failed through no fault of theirs."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_verb_permission(request, RETRY):
            raise PermissionDenied
        found = list(wrongly_failed()[: BULK_LIMIT + 1])
        self.report(request, RETRY, [self.run_verb(request, RETRY, message) for message in found[:BULK_LIMIT]])
        if len(found) > BULK_LIMIT:
            self.message_user(request, "There are more: press again.", messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def body_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The html alone, for the frame on the page."""
        if not (self.has_view_permission(request) and request.user.has_perm(VIEW_BODY)):
            raise PermissionDenied
        message = self.get_object(request, unquote(object_id))
        rendered = detail.content(message).rendered if message else None
        if rendered is None:
            raise Http404
        return preview_response(rendered)
