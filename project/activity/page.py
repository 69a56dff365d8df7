"""The page `/admin/activity/`: its filters, its rows, and the same as a file."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, QueryDict
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext_lazy as _

from feature_flags.models import FlagRevision
from lib.actors import Actor
from lib.admin.changelist import CSV_LIMIT, csv_response
from lib.text import is_storable
from notifications.models import TemplateOverride
from project.activity import sources
from project.activity.entries import AREAS, LOG_KINDS, Entry, Reader, area_of
from project.activity.sources import FLAG_KINDS, Filters
from users.admin import event_words
from users.audit_events import EVENTS
from users.models import AuditEvent, User, UserSearch
from users.services import audit

LATEST = 8
#: People that one search stands for; a wider one has to be typed more closely.
PEOPLE = 5
_COLUMNS = (_("When"), _("Who"), _("Area"), _("Kind"), _("About"), _("What"), _("Reason"), _("Door"))


def _kinds() -> list[tuple[Any, list[tuple[str, Any]]]]:
    """Every kind, by area."""
    found: dict[str, list[tuple[str, Any]]] = {area: [] for area in AREAS}
    for action in FLAG_KINDS.values():
        found["flags"].append((f"flag.{action}", FlagRevision.Action(action).label.capitalize()))
    for name in EVENTS:
        found[area_of(name)].append((name, event_words.label(name)))
    found["settings"] += LOG_KINDS.items()
    return [(label, found[area]) for area, label in AREAS.items()]


#: Nothing happened before, and nothing is asked for after.
_YEARS = (MinValueValidator(date(1970, 1, 1)), MaxValueValidator(date(2999, 12, 31)))


class FilterForm(forms.Form):
    """What the address asks for; every field may be left out."""

    person = forms.CharField(label=_("Person"), required=False, max_length=254)
    role = forms.ChoiceField(
        label=_("Part"),
        required=False,
        choices=(("", _("Either")), ("did", _("Did it")), ("about", _("Concerned"))),
    )
    thing = forms.CharField(label=_("Thing"), required=False, max_length=200)
    area = forms.MultipleChoiceField(label=_("Area"), required=False, choices=tuple(AREAS.items()))
    kind = forms.MultipleChoiceField(label=_("Kind"), required=False, choices=_kinds)
    since = forms.DateField(label=_("From"), required=False, validators=_YEARS)
    until = forms.DateField(label=_("Until"), required=False, validators=_YEARS)
    by = forms.ChoiceField(
        label=_("By"),
        required=False,
        choices=(("", _("Staff")), ("all", _("Everybody"))),
    )


@dataclass(frozen=True)
class Asked:
    """What the address asked for: for the query, and for the page to show again."""

    form: FilterForm
    given: dict[str, Any]
    filters: Filters
    people_note: str = ""


def may_see_activity(user: Any) -> bool:
    """Whether there is anything on the page that this user may see."""
    reader = Reader(user)
    return any(map(reader.may_see, (AuditEvent, FlagRevision, TemplateOverride, LogEntry)))


def latest(request: HttpRequest) -> list[Entry] | None:
    """For the first page: what was changed last; None for those who may see nothing of it."""
    if not may_see_activity(request.user):
        return None
    return sources.read(Filters(), Reader(request.user), size=LATEST).entries


def view(request: HttpRequest) -> HttpResponse:
    if not may_see_activity(request.user):
        raise PermissionDenied
    reader = Reader(request.user)
    asked = _asked(request.GET, reader)
    page = sources.read(asked.filters, reader, older=request.GET.get("older", ""))
    request.current_app = admin.site.name
    query = _query(asked.given)
    context = {
        **admin.site.each_context(request),
        "title": _("Activity"),
        "form": asked.form,
        "given": asked.given,
        "people_note": asked.people_note,
        "entries": page.entries,
        "chips": _chips(asked),
        "spans": _spans(asked),
        "older_url": f"?{_query({**asked.given, 'older': page.older})}" if page.older else "",
        "newest_url": f"?{query}" if "older" in request.GET else "",
        "csv_url": f"{reverse('admin:activity_csv')}?{query}" if may_export(request.user) else "",
        "areas": [(value, label, value in asked.given.get("area", ())) for value, label in AREAS.items()],
    }
    return TemplateResponse(request, "admin/activity/page.html", context)


def may_export(user: Any) -> bool:
    site: Any = admin.site
    return may_see_activity(user) and bool(user.has_perm(site.export_permission))


def export(request: HttpRequest) -> HttpResponseBase:
    """The rows that the page shows, and those on its further pages, as CSV; on record, after a fresh proof."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not may_export(request.user):
        raise PermissionDenied
    reader = Reader(request.user)
    asked = _asked(request.GET, reader)
    site: Any = admin.site
    if not site.is_fresh(request):
        back_url = f"{reverse('admin:activity')}?{_query(asked.given)}"
        proof: HttpResponse = site.ask_proof(request, back_url=back_url, action="CSV")
        return proof
    Actor.of(request, "admin").note("list.exported", name="activity")
    return csv_response("activity", _rows(asked.filters, reader))


def _rows(filters: Filters, reader: Reader) -> Iterator[Sequence[Any]]:
    yield [str(column) for column in _COLUMNS]
    for entry in sources.everything(filters, reader, limit=CSV_LIMIT):
        yield (
            *(entry.at, entry.who.text, entry.area_label, entry.kind),
            *(entry.thing, entry.text, entry.reason, entry.door),
        )


# --- Filters ----------------------------------------------------------------------------------------------------------


def _asked(query: QueryDict, reader: Reader) -> Asked:
    form = FilterForm(query)
    form.is_valid()
    # What is no answer to its question stands beside the field, and narrows nothing.
    given = {name: value for name, value in form.cleaned_data.items() if value}
    filters = Filters(
        areas=frozenset(given.get("area", ())),
        kinds=frozenset(given.get("kind", ())),
        role=given.get("role", ""),
        thing=given.get("thing", ""),
        since=_midnight(given.get("since")),
        until=_midnight(given["until"], after=1) if "until" in given else None,
        everybody=given.get("by") == "all",
    )
    if "person" not in given:
        return Asked(form, given, filters)
    filters, note = _with_person(filters, given["person"], reader)
    return Asked(form, given, filters, str(note))


def _with_person(filters: Filters, text: str, reader: Reader) -> tuple[Filters, Any]:
    """By address, id, or, for those who may see accounts, by a part of the name.

    The others see who acted and no more: of anyone else the page says nothing, whether there is an account or not.
    """
    found: tuple[uuid.UUID, ...] = ()
    try:
        found = (uuid.UUID(text),)
    except ValueError:
        if "@" in text[1:-1]:
            found = tuple(User.objects.of_address(text).values_list("pk", flat=True)[:1])
    if not reader.may_see(User):
        is_shown = found and filters.role != "about"
        return replace(filters, people=found if is_shown else None, role="acted"), ""
    if found:
        return replace(filters, people=found), ""
    if "@" in text[1:-1] and reader.may_see(AuditEvent) and is_storable(text):
        note = _("No account has this address. Shown is what was tried with it.")
        return replace(filters, people=None, subject=audit.subject(text)), note
    found = tuple(UserSearch.objects.find(text, PEOPLE + 1))
    if not found:
        return replace(filters, people=None), _("No one is found by this name or address.")
    if len(found) > PEOPLE:
        return replace(filters, people=found[:PEOPLE]), _("Many people match; say more to find the one you mean.")
    return replace(filters, people=found), ""


def _midnight(day: date | None, after: int = 0) -> datetime | None:
    return timezone.make_aware(datetime.combine(day + timedelta(days=after), time())) if day else None


def _query(given: dict[str, Any]) -> str:
    return urlencode({name: value for name, value in given.items() if value}, doseq=True)


def _chips(asked: Asked) -> list[dict[str, Any]]:
    """What narrows the list, each with the address of the list without it."""
    labels = {value: label for _group, kinds in _kinds() for value, label in kinds}
    found = []
    for name, value in asked.given.items():
        values = value if isinstance(value, list) else [value]
        for one in values:
            rest = {**asked.given, name: [other for other in values if other != one]}
            if name == "person":
                rest.pop("role", None)
            text = AREAS[one] if name == "area" else labels[one] if name == "kind" else one
            if isinstance(one, date):
                text = date_format(one, "DAY_OF_YEAR")
            elif name in {"role", "by"}:
                text = dict(asked.form.fields[name].choices)[one]  # type: ignore[attr-defined]
            found.append({"name": asked.form.fields[name].label, "text": text, "url": f"?{_query(rest)}"})
    return found


def _spans(asked: Asked) -> list[dict[str, Any]]:
    today = timezone.localdate()
    spans = ((_("Today"), 0), (_("Last 7 days"), 6), (_("Last 30 days"), 29))
    rest = {name: value for name, value in asked.given.items() if name not in {"since", "until"}}
    return [
        {
            "label": label,
            "url": f"?{_query({**rest, 'since': since})}",
            "is_chosen": asked.given.get("since") == since and "until" not in asked.given,
        }
        for label, days in spans
        for since in (today - timedelta(days=days),)
    ]
