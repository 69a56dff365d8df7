"""The audit trail: to be searched and read. No one adds, changes or deletes, not even superusers."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _

from lib.admin.changelist import time_cell
from lib.admin.lists import (
    TO_THE_SECOND,
    WINDOW,
    GrowingTableAdmin,
    ValueFilter,
    actor_names,
    chip,
    column,
    local_time,
    object_link,
    one_line,
)
from users.admin import event_words
from users.admin.filters import found_people
from users.audit_events import EVENTS
from users.models import AuditEvent, User, UserSession
from users.services import audit

#: Of how many people a search shows the rows.
PEOPLE_FOUND = 100


class EventFilter(ValueFilter):
    title = _("event")
    parameter_name = column = "event"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(name, event_words.label(name)) for name in EVENTS]


class TimeRangeFilter(admin.ListFilter):
    """From and until, typed; either may be left out. Works without script, as a form of its own."""

    title = _("time")
    template = "admin/users/span_filter.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self.texts: dict[str, str] = {}
        self.moments: dict[str, datetime] = {}
        for name in self.expected_parameters():
            if given := params.pop(name, None):
                self.texts[name] = given[-1]
                if (at := parse_time(given[-1])) is not None:
                    self.moments[name] = self.used_parameters[name] = at

    def expected_parameters(self) -> list[Any]:
        return ["since", "until"]

    def has_output(self) -> bool:
        return True

    def choices(self, changelist: Any) -> Any:
        """One `choice`: what the form shows, and what else of the list's address it keeps."""
        kept = {name: value for name, value in changelist.params.items() if name not in self.expected_parameters()}
        return [
            {
                "since": self._shown("since"),
                "until": self._shown("until"),
                "kept": [(name, value) for name, value in kept.items() if name != "p"],
                "is_wrong": self.texts.keys() != self.moments.keys(),
                "clear_url": changelist.get_query_string(remove=self.expected_parameters()),
                "is_used": bool(self.texts),
                "zone": timezone.get_current_timezone_name(),
            }
        ]

    def _shown(self, name: str) -> str:
        at = self.moments.get(name)
        return timezone.localtime(at).strftime("%Y-%m-%dT%H:%M") if at else ""

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditEvent]) -> QuerySet[AuditEvent]:
        if since := self.moments.get("since"):
            queryset = queryset.filter(at__gte=since, pk__gt=audit.first_id(since))
        if until := self.moments.get("until"):
            queryset = queryset.filter(at__lt=until, pk__lte=audit.last_id(until))
        return queryset


def parse_time(text: str) -> datetime | None:
    """A date, or a date and a time, in the reader's zone where it names none; None for anything else, and for years
    that no event is from."""
    try:
        at = parse_datetime(text)
    except ValueError:
        return None
    if at is None or not 1970 <= at.year <= 2999:
        return None
    return timezone.make_aware(at) if timezone.is_naive(at) else at


@admin.register(AuditEvent)
class AuditAdmin(GrowingTableAdmin):
    list_display = ("when", "badge", "person", "who", "source", "details")
    more_columns = ("session_id", "user_agent", "request_id")
    list_filter = (EventFilter, "outcome", "door", TimeRangeFilter)
    search_fields = ("user_id",)
    search_help_text = _(
        "Any part of a person's address or name; a whole address that has no account; the id of a person, session or"
        " request."
    )
    ordering = ("-id",)
    fields = (
        *(
            "moment",
            "what",
            "result",
            "details",
            "person",
            "who",
            "door",
            "session",
            "ip",
            "program",
            "request",
            "same",
        ),
    )
    readonly_fields = fields

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in {"event", "outcome__exact", "door__exact", "since", "until"}

    def bounded(self, queryset: QuerySet[AuditEvent], filters: dict[str, list[str]]) -> QuerySet[AuditEvent]:
        """An event has an index that goes with time; the outcome and the door look at the newest of the span."""
        if not filters.keys() - {"event", "since", "until"}:
            return queryset
        until = parse_time((filters.get("until") or [""])[-1])
        last = audit.last_id(until) if until else _newest_id()
        return queryset.filter(pk__gt=last - WINDOW)

    def search_query(self, term: str, request: HttpRequest) -> Q:
        try:
            key = uuid.UUID(term)
        except ValueError:
            found = found_people(request, term, PEOPLE_FOUND)
            if "@" in term:
                return Q(user_id__in=found) | Q(subject_mac=audit.subject(term))
            # Not both: the two together are read from one end of the window to the other.
            return Q(user_id__in=found) if found else Q(request_id=term, pk__gt=_newest_id() - WINDOW)
        in_window = Q(pk__gt=_newest_id() - WINDOW)
        # A request's id looks like one of ours.
        owner = UserSession.objects.filter(pk=key).values_list("user_id", flat=True).first()
        if owner:
            return Q(session_id=key, user_id=owner)
        if AuditEvent.objects.filter(user_id=key).exists():
            return Q(user_id=key)
        return (Q(session_id=key) | Q(request_id__in=(term, key.hex, str(key)))) & in_window

    def prepare_rows(self, request: HttpRequest, rows: list[Any]) -> None:
        names = _names(*rows)
        for event in rows:
            event.names = names

    when = column(_("when"), lambda event: time_cell(event.at))
    moment = column(_("when"), lambda event: local_time(event.at, TO_THE_SECOND))
    what = column(_("event"), event_words.title)
    badge = column(_("event"), lambda event: event_badge(event))
    source = column(_("from"), lambda event: f"{AuditEvent.Door(event.door).label} {event.ip}")
    result = column(_("result"), lambda event: outcome_chip(event))

    @admin.display(description=_("whose account"))
    def person(self, event: AuditEvent) -> str:
        if event.user_id is None:
            return str(_("no account")) if event.subject_mac else ""
        name = _names(event)[event.user_id.hex]
        # A name that is still the id belongs to an account that is gone.
        return name if name == event.user_id.hex else object_link(User, event.user_id, name)

    who = column(_("who"), lambda event: actor_of(event, _names(event)))
    details = column(_("details"), lambda event: one_line(details_line(event.data)))
    program = column(_("program"), lambda event: event.user_agent)

    @admin.display(description=_("session"))
    def session(self, event: AuditEvent) -> str:
        if event.session_id is None:
            return ""
        if not UserSession.objects.filter(pk=event.session_id).exists():
            return str(event.session_id)
        return object_link(UserSession, event.session_id, event.session_id)

    request = column(
        _("request"), lambda event: _search(event.request_id, event.request_id) if event.request_id else ""
    )

    @admin.display(description=_("more"))
    def same(self, event: AuditEvent) -> str:
        """Lists this event leads to."""
        lists = ((event.user_id, _("All of this account")), (event.session_id, _("All of this session")))
        return format_html_join(" · ", "{}", [(_search(term, text),) for term, text in lists if term])


def _names(*events: AuditEvent) -> dict[str, str]:
    """The names of the actors and accounts of events: one query for the whole page of a list."""
    if len(events) == 1 and hasattr(events[0], "names"):
        return cast(dict[str, str], events[0].names)
    labels = {event.actor for event in events} | {event.user_id.hex for event in events if event.user_id}
    return actor_names(labels)


def _search(term: Any, text: Any) -> str:
    return format_html('<a href="{}?q={}">{}</a>', reverse("admin:users_auditevent_changelist"), term, text)


def _newest_id() -> int:
    return AuditEvent.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


# --- How an event reads, here and on the page of its person -----------------------------------------------------------

_OUTCOME_CHIPS = {
    AuditEvent.Outcome.OK: "active",
    AuditEvent.Outcome.REFUSED: "waiting",
    AuditEvent.Outcome.FAILED: "off",
}


def outcome_chip(event: AuditEvent) -> str:
    outcome = AuditEvent.Outcome(event.outcome)
    return chip(_OUTCOME_CHIPS[outcome], outcome.label)


def event_badge(event: AuditEvent) -> str:
    """What happened; as a mark, or with one, where it did not succeed."""
    title = event_words.title(event)
    if event.outcome == AuditEvent.Outcome.OK:
        return title
    if event.event.endswith(".failed"):
        return chip(_OUTCOME_CHIPS[AuditEvent.Outcome(event.outcome)], title)
    return format_html("{} {}", title, outcome_chip(event))


def details_line(data: dict[str, Any]) -> str:
    """The details of an event in one line: `reason: lost phone; ended: 2`; without what its title says."""

    def plain(value: Any) -> str:
        if isinstance(value, bool):
            return str(_("yes") if value else _("no"))
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

    return "; ".join(
        f"{event_words.detail(name)}: {plain(value)}"
        for name, value in sorted(data.items())
        if name != "why" or value not in event_words.WHY
    )


def actor_of(event: AuditEvent, names: Mapping[str, str]) -> str:
    """Who acted, with `names` as from `actor_names`; a failed attempt on an account may be anyone's."""
    if event.user_id and event.actor == event.user_id.hex:
        return str(_("the owner") if event.outcome == AuditEvent.Outcome.OK else _("unknown person"))
    return names[event.actor] or str(_("unknown person"))
