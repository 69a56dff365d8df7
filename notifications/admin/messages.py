"""The outbox: what waits, what was sent and what was not, the buttons for it, and the page of one message."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.utils import flatten_fieldsets, unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from lib.actors import Actor
from lib.addresses import normal_email
from lib.admin.changelist import time_column
from lib.admin.lists import WINDOW, GrowingTableAdmin, chips, column, one_line, starts_with
from lib.admin.verbs import BULK_LIMIT, Verb, lazy_text
from lib.text import whole_number
from notifications import registry
from notifications.admin.common import (
    CategoryFilter,
    ProviderFilter,
    TypeFilter,
    may_see_providers,
    preview_response,
    type_column,
    type_label,
    user_column,
)
from notifications.admin.recipients import SuppressForm
from notifications.models import Announcement, Message, ProviderState, Worker
from notifications.registry import MASK
from notifications.rendering import render
from notifications.services import staff_actions
from notifications.services.claims import lease
from notifications.services.health import describe

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
#: Attempts, reports and copies in a timeline, the newest of each.
SHOWN = 100
#: Headers whose value lets its readers act for the recipient.
_SECRET_HEADERS = {"list-unsubscribe"}


# --- Verbs ------------------------------------------------------------------------------------------------------------


def _suppress(message: Message, *, actor: Actor, reason: str, scope: str, days: int | None) -> str | Promise:
    address, user_id = message.to_address, message.user_id
    if not staff_actions.suppress(address, actor=actor, scope=scope, reason=reason, days=days, user_id=user_id):
        return ""
    if days is None:
        return lazy_text(lambda: gettext("address suppressed (%(scope)s)") % {"scope": scope})
    values = {"scope": scope, "days": days}
    return lazy_text(lambda: gettext("address suppressed (%(scope)s, %(days)d days)") % values)


def _to(message: Message) -> str:
    return gettext("%(type)s to %(recipient)s") % {"type": message.type, "recipient": message.to_address}


def _explain_retry(message: Message) -> str:
    text = gettext("%(message)s is tried anew, with the same Message-ID.") % {"message": _to(message)}
    if message.state == State.UNKNOWN:
        return f"{text} {gettext('It may have arrived before: then it arrives twice.')}"
    return text


def _resend(message: Message, *, actor: Actor, reason: str = "") -> Promise:
    uid = staff_actions.resend(message, actor=actor).uid
    return lazy_text(lambda: gettext("queued again as %(uid)s") % {"uid": uid})


_verb: Callable[..., Verb] = partial(
    Verb,
    asks_reason=True,
    reason_required=False,
    audit_details=lambda message: {"kind": message.type, "user_id": message.user_id, "email": message.to_address},
)
RETRY = _verb(
    name="retry",
    label=_("Retry"),
    permission="notifications.retry_message",
    audit_event="message.retried",
    run=lambda message, *, actor, reason="": staff_actions.retry(message, actor=actor),
    done=_("queued again"),
    explain=_explain_retry,
    in_row=True,
    applies=lambda message: message.state in staff_actions.RETRIABLE,
)
CANCEL = _verb(
    name="cancel",
    label=_("Cancel"),
    permission="notifications.cancel_message",
    audit_event="message.cancelled",
    run=lambda message, *, actor, reason="": staff_actions.cancel(message, actor=actor),
    done=_("cancelled"),
    explain=lambda message: gettext("%(message)s is not sent.") % {"message": _to(message)},
    in_row=True,
    applies=lambda message: message.state in Message.OPEN,
)
RESEND = _verb(
    name="resend",
    label=_("Resend as new"),
    permission="notifications.resend_message",
    audit_event="message.resent",
    run=_resend,
    done=_("queued again as new messages"),
    explain=lambda message: (
        gettext("A copy of %(message)s is queued, with a Message-ID of its own.") % {"message": _to(message)}
    ),
    applies=lambda message: message.state not in Message.OPEN,
)
SUPPRESS = Verb(
    name="suppress",
    label=_("Suppress address"),
    permission="notifications.add_suppression",
    sensitive=True,
    audit_event="suppression.added",
    audit_details=lambda message: {"email": message.to_address},
    run=_suppress,
    done=_("address suppressed"),
    already=_("on the list already, for at least as long"),
    asks_reason=True,
    form=SuppressForm,
    explain=lambda message: gettext("%(address)s is written to no more.") % {"address": message.to_address},
    applies=lambda message: bool(message.to_address),
)


# --- The list and the page --------------------------------------------------------------------------------------------


def state_chip(message: Message, *, with_report: bool = False) -> str:
    """The state; with what the provider reported afterwards, if asked."""
    state = State(message.state)
    # Not `get_state_display`, which translates every choice, row by row.
    marks = [(CHIPS[state], state.label)]
    if with_report and message.delivery_state:
        is_bad = message.delivery_state in {"bounced", "complained"}
        marks.append(("off" if is_bad else "staff", Message.DeliveryState(message.delivery_state).label))
    return chips(marks)


def recipient_of(message: Message) -> str:
    return message.to_address or gettext("forgotten")


class AnnouncementFilter(admin.SimpleListFilter):
    """The messages of one announcement, where its page leads; not offered otherwise."""

    title, parameter_name = _("announcement"), "announcement"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if (given := request.GET.get(self.parameter_name)) is None:
            return []
        row = Announcement.objects.filter(pk=whole_number(given) or 0).first()
        return [(given, str(row) if row else gettext("none"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        if self.value() is None:
            return queryset
        # A range of one: by equality PostgreSQL may walk the primary key back to an old one instead of its index.
        pk = whole_number(self.value() or "") or 0
        return queryset.filter(announcement__gte=pk, announcement__lte=pk)


@admin.register(Message)
class MessageAdmin(GrowingTableAdmin):
    verbs = (RETRY, CANCEL, RESEND, SUPPRESS)
    change_form_template = "admin/notifications/message/change_form.html"
    list_display = ("recipient", "badge", "kind", "verb_buttons", "why", "created")
    more_columns = ("category", "channel", "language", "attempts", "provider", "due_at", "sent_at", "finished_at")
    list_filter = ("state", CategoryFilter, "channel", ProviderFilter, TypeFilter, AnnouncementFilter)
    search_fields = ("to_address",)
    search_help_text = _("A whole address or its beginning, a message's uid or its Message-ID.")
    fieldsets = (
        (None, {"fields": ("badge", "subject", "kind", "recipient", "to_name", "person", "last_code", "last_error")}),
        (
            _("When"),
            {
                "fields": ("created_at", "due_at", "expires_at", "handed_at", "sent_at", "finished_at"),
                "classes": ("collapse",),
            },
        ),
        (
            _("How"),
            {
                "fields": ("category", "channel", "language", "attempts", "max_attempts", "reason", "lease_owner"),
                "classes": ("collapse",),
            },
        ),
        (
            _("Identity"),
            {
                "fields": (
                    *("uid", "message_id", "parent", "event_key", "provider", "provider_message_id"),
                    *("delivery_state", "template_source", "request_id"),
                ),
                "classes": ("collapse",),
            },
        ),
    )

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return flatten_fieldsets(self.fieldsets)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Only what there is to show."""
        sections: Any = self.fieldsets
        return [
            (
                title,
                options
                | {"fields": [name for name in options["fields"] if getattr(obj, name, name) not in ("", None)]},
            )
            for title, options in sections
        ]

    def bounded(self, queryset: QuerySet[Message], filters: dict[str, list[str]]) -> QuerySet[Message]:
        """By state the one that ended last comes first, as its index has it; what has no index looks at the newest."""
        announced = AnnouncementFilter.parameter_name
        if announced in filters and set(filters) <= {"state__exact", announced}:
            return queryset.order_by("-announcement_id", "-pk")
        if "state__exact" not in filters:
            return super().bounded(queryset, filters)
        queryset = queryset.order_by("-finished_at", "-pk")
        if len(filters) == 1:
            return queryset
        of_state = Message.objects.filter(state__in=filters["state__exact"]).order_by("-finished_at")
        # The moment at which the window begins is read from the index alone; open ones have none.
        begin = of_state.values_list("finished_at", flat=True)[WINDOW : WINDOW + 1].first()
        return queryset if begin is None else queryset.filter(finished_at__gte=begin)

    def search_query(self, term: str, request: HttpRequest) -> Q:
        try:
            return Q(uid=uuid.UUID(term))
        except ValueError:
            pass
        if term.startswith("<") and term.endswith(">"):
            return Q(message_id=term)
        return Q(message_id=f"<{term}>") | starts_with("to_address", normal_email(term))

    person, kind = user_column, type_column

    def row_name(self, obj: Message) -> str:
        return recipient_of(obj)

    recipient = column(_("recipient"), recipient_of)
    badge = column(_("state"), partial(state_chip, with_report=True))
    why = column(_("why"), lambda message: one_line(message.why))
    created = time_column("created_at", _("created"))

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        explain = explainer(shows_providers=may_see_providers(request))
        for message in rows:
            # Of what has arrived there is nothing to explain.
            message.why = "" if message.state == State.SENT else explain(message)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **more: Any) -> HttpResponse:
        obj = more["obj"]
        shows_reports = request.user.has_perm("notifications.view_deliveryevent")
        values = {"kind": type_label(obj.type), "recipient": recipient_of(obj), "state": obj.get_state_display()}
        context["title"], context["subtitle"] = gettext("%(kind)s to %(recipient)s: %(state)s") % values, None
        context["why"] = explainer(shows_providers=may_see_providers(request))(obj)
        context["timeline"] = timeline(obj, shows_reports=shows_reports)
        if request.user.has_perm(VIEW_BODY):
            context["content"] = content(obj)
        return super().render_change_form(request, context, *args, **more)

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
        found = list(staff_actions.wrongly_failed()[: BULK_LIMIT + 1])
        self.report(request, RETRY, [self.run_verb(request, RETRY, message) for message in found[:BULK_LIMIT]])
        if len(found) > BULK_LIMIT:
            self.message_user(request, _("There are more: press again."), messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))

    def body_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The html alone, for the frame on the page."""
        if not (self.has_view_permission(request) and request.user.has_perm(VIEW_BODY)):
            raise PermissionDenied
        message = self.get_object(request, unquote(object_id))
        rendered = content(message).get("rendered") if message else None
        if rendered is None:
            raise Http404
        return preview_response(rendered)


def explainer(*, shows_providers: bool) -> Callable[[Message], str]:
    """What says of a message why it is in its state; the reason of a provider's pause only where it may be shown."""
    providers = list(ProviderState.objects.all())
    for provider in providers:
        provider.reason = provider.reason if shows_providers else ""
    return partial(
        describe,
        providers=providers,
        workers=Worker.objects.order_by("-beat_at")[:1],  # asked at most once, and only for what is due
        engine=settings.NOTIFICATIONS_ENGINE,
        lease=lease(),
        now=timezone.now(),
    )


def timeline(message: Message, *, shows_reports: bool) -> list[dict[str, Any]]:
    """The newest hundred attempts and reports, oldest first; of the reports only their kind, unless all is shown."""
    found: list[dict[str, Any]] = [{"at": message.created_at, "what": gettext("Queued"), "by": message.request_id}]
    for attempt in message.tries.order_by("-pk")[:SHOWN]:
        what = gettext("Attempt %(n)d: %(outcome)s") % {"n": attempt.n, "outcome": attempt.get_outcome_display()}
        by = f"{attempt.worker}, {attempt.provider or '–'}, {attempt.duration_ms} ms"
        answer = {"code": attempt.code, "text": attempt.response}
        found.append({"at": attempt.created_at, "what": what, "by": by, **answer})
    for event in message.events.order_by("-pk")[:SHOWN]:
        what, text = gettext("Reported: %(kind)s") % {"kind": event.summary}, event.detail if shows_reports else ""
        found.append({"at": event.at, "what": what, "by": event.provider, "text": text})
    for copy in message.copies.order_by("-pk")[:SHOWN]:
        found.append({"at": copy.created_at, "what": gettext("Sent again as new"), "text": str(copy.uid)})
    return sorted(found, key=lambda entry: entry["at"])


def content(message: Message) -> dict[str, Any]:
    """The mail by today's templates, with every secret masked, or in `trouble` why it cannot be shown.

    `derive` is not asked: a page of the admin holds no live code or link.
    """
    if (kind := registry.find(message.type)) is None:
        return {"trouble": gettext("This version of the product does not know this type any more.")}
    if not message.context and kind.context.model_fields:
        return {"trouble": gettext("Its text was deleted when its time to be kept was over.")}
    try:
        found = render.masked(message)
        mail = render.compose(message, found, date=message.sent_at or message.created_at).message()
    except Exception as error:
        # Whatever a template, a context of an older version or a header runs into is what the page has to say.
        return {"trouble": gettext("It cannot be rendered today: %(error)s.") % {"error": type(error).__name__}}
    return {
        "rendered": found,
        "headers": [(name, MASK if name.lower() in _SECRET_HEADERS else str(value)) for name, value in mail.items()],
        "size": len(mail.as_bytes()),
        "is_changed": message.template_source and found.source and found.source != message.template_source,
    }
