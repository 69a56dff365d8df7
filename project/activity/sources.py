"""Where the Activity page looks, and how it merges what it finds: newest first, a page at a time, by an index each."""

from __future__ import annotations

import heapq
import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import BadRequest
from django.db.models import BooleanField, Model, Q, QuerySet
from django.db.models.expressions import RawSQL
from django.db.models.fields.json import KeyTextTransform

from feature_flags.models import FeatureFlag, FlagRevision, FlagToken, Segment
from notifications.models import (
    Announcement,
    Message,
    ProviderState,
    Suppression,
    TemplateOverride,
    WebhookDelivery,
    WebhookEndpoint,
)
from notifications.services import overrides
from project.activity import entries
from project.activity.entries import FLAGS, MAIL, SETTINGS, Entry, Reader, area_of
from users.audit_events import EVENTS, STAFF_EVENTS
from users.models import STAFF_DOORS, AuditEvent, User, UserSession
from users.services import audit

PAGE = 50
#: Models whose changes have a record of their own, beside the one of Django's admin.
RECORDED: frozenset[type[Model]] = frozenset(
    {
        *(User, Group, UserSession, AuditEvent),
        *(FeatureFlag, Segment, FlagToken, FlagRevision),
        *(Message, Suppression, ProviderState, TemplateOverride, Announcement),
        *(WebhookEndpoint, WebhookDelivery),
    }
)
#: What staff did, in the words of the index `audit_by_staff`: SQLite would not use it for a statement with parameters.
BY_STAFF = RawSQL(  # noqa: S611  (made of our own words)
    "(users_auditevent.door IN ({}) OR users_auditevent.event IN ({}))".format(
        *(", ".join(f"'{word}'" for word in words) for words in (STAFF_DOORS, STAFF_EVENTS))
    ),
    (),
    output_field=BooleanField(),
)
#: What tells of being there, not of a change; shown where everybody's activity is asked for.
PRESENCE = ("login.ok", "login.failed", "login.factor_required", "admin.reauthenticated")
#: Kinds of what happens to flags, by the action of their history.
FLAG_KINDS = {f"flag.{action}": action for action in FlagRevision.Action.values}


@dataclass(frozen=True, kw_only=True)
class Filters:
    """What is asked for; empty means everything. `people` are ids, None where a person was asked for and none found."""

    areas: frozenset[str] = frozenset()
    kinds: frozenset[str] = frozenset()
    people: tuple[uuid.UUID, ...] | None = ()
    subject: bytes = b""  #: The MAC of an address without an account.
    role: str = ""  #: `did`, `about`, or either; `acted`: did to others, where a sentence names them to everyone.
    thing: str = ""
    since: datetime | None = None
    until: datetime | None = None
    everybody: bool = False  #: Also what people did themselves, and sign-ins.


@dataclass(frozen=True)
class Source:
    key: str
    rows: QuerySet[Any]
    time: str
    label: Callable[[Any], tuple[str, ...]]
    entry: Callable[[Any, Reader], Entry]


@dataclass
class Page:
    entries: list[Entry]
    older: str = ""  #: The cursor of the next page; empty where there is none.


def sources(filters: Filters, reader: Reader) -> list[Source]:
    """One for each record that this reader may see and these filters can be answered from."""
    if filters.people is None and not filters.subject:
        return []
    found: list[Source] = []
    if reader.may_see(AuditEvent):
        found += _audit(filters, reader)
    elif reader.may_see(TemplateOverride):
        found += _templates(filters)
    if reader.may_see(FlagRevision):
        found += _revisions(filters, reader)
    if reader.may_see(LogEntry):
        found += _log(filters, reader)
    return found


def read(filters: Filters, reader: Reader, *, older: str = "", size: int = PAGE) -> Page:
    """The entries after the cursor, by one query a source and one for names; BadRequest for no cursor of ours."""
    places = _places(older)
    asked = [source for source in sources(filters, reader) if places.get(source.key) != 0]
    found: dict[str, list[Any]] = {}
    for source in asked:
        rows = source.rows.filter(pk__lt=places[source.key]) if source.key in places else source.rows
        found[source.key] = list(rows.order_by("-pk")[: size + 1])
    ordered = [[(getattr(row, source.time), row, source) for row in found[source.key]] for source in asked]
    merged = list(islice(heapq.merge(*ordered, key=lambda each: each[0], reverse=True), size))
    # Keys come in the order of time but for what was written side by side, or with an older date.
    merged.sort(key=lambda each: each[0], reverse=True)
    reader.learn_names(label for _at, row, source in merged for label in source.label(row))
    taken: dict[str, int] = {}
    for _at, _row, source in merged:
        taken[source.key] = taken.get(source.key, 0) + 1
    left = {key: rows[taken.get(key, 0) :] for key, rows in found.items()}
    # Where each source goes on: a row that came meanwhile is newer, and belongs to no later page.
    cursor = ".".join(f"{key}{rows[0].pk + 1 if rows else 0}" for key, rows in sorted(left.items()))
    page = [source.entry(row, reader) for _at, row, source in merged]
    return Page(page, cursor if any(left.values()) else "")


def everything(filters: Filters, reader: Reader, *, limit: int) -> Iterator[Entry]:
    """The newest entries, up to the limit, read a page at a time as they are asked for."""
    older, left = "", limit
    while left > 0:
        page = read(filters, reader, older=older, size=min(left, 10 * PAGE))
        yield from page.entries
        left -= len(page.entries)
        older = page.older
        if not older:
            return


_PLACE = re.compile(r"([a-z])(\d{1,18})", re.ASCII)


def _places(cursor: str) -> dict[str, int]:
    if not cursor:
        return {}
    found = [_PLACE.fullmatch(part) for part in cursor.split(".")]
    if not all(found):
        raise BadRequest("This is no page of the activity.")
    return {match[1]: int(match[2]) for match in found if match}


# --- The audit trail --------------------------------------------------------------------------------------------------


def _audit(filters: Filters, reader: Reader) -> list[Source]:
    events = {name for name in EVENTS if not filters.areas or area_of(name) in filters.areas}
    if filters.kinds:
        events &= filters.kinds
    if reader.may_see(FlagRevision):
        # Their own history has them.
        events -= {"flag_token.created", "flag_token.revoked"}
    if filters.thing:
        events = {name for name in events if entries.names_thing(name, reader)}
    if not events:
        return []
    rows = _within(AuditEvent.objects.all(), "at", filters, window=True)
    if filters.thing:
        rows = rows.annotate(named=KeyTextTransform("name", "data")).filter(named__icontains=filters.thing)
    if filters.areas or filters.kinds or filters.thing:
        rows = rows.filter(event__in=sorted(events))
    elif len(events) < len(EVENTS):
        rows = rows.exclude(event__in=sorted(set(EVENTS) - events))
    staff = rows.filter(BY_STAFF)
    if filters.subject:
        return [_of_audit("a", rows.filter(subject_mac=filters.subject))] if filters.role != "did" else []
    if filters.people:
        return _audit_of_people(filters, rows, staff)
    if filters.everybody or (filters.kinds and not filters.thing):
        return [_of_audit("a", rows)]
    if not filters.kinds:
        staff = staff.exclude(event__in=PRESENCE).exclude(event="session.ended", data__why="logout")
    return [_of_audit("s", staff)]


def _audit_of_people(filters: Filters, rows: Any, staff: Any) -> list[Source]:
    ids = filters.people or ()
    labels = [key.hex for key in ids]
    others = Q(user_id=None) | ~Q(user_id__in=ids)
    if filters.role == "acted":
        return [_of_audit("s", staff.filter(others, actor__in=labels))]
    about = rows.filter(user_id__in=ids)
    if filters.role == "about":
        return [_of_audit("a", about)]
    own = about.filter(actor__in=labels) if filters.role == "did" else about
    # Without what the first has already.
    return [_of_audit("a", own), _of_audit("s", staff.filter(others, actor__in=labels))]


def _of_audit(key: str, rows: QuerySet[Any]) -> Source:
    def labels(event: AuditEvent) -> tuple[str, ...]:
        return (event.actor, event.user_id.hex if event.user_id else "")

    return Source(key, rows, "at", labels, entries.of_event)


def _within(rows: QuerySet[Any], time: str, filters: Filters, *, window: bool = False) -> QuerySet[Any]:
    """Between the two moments; `window` also as a range of keys, found by the index of the time."""
    if filters.since:
        rows = rows.filter(**{f"{time}__gte": filters.since})
    if filters.until:
        rows = rows.filter(**{f"{time}__lt": filters.until})
    if window and filters.since:
        rows = rows.filter(pk__gt=audit.first_id(filters.since))
    if window and filters.until:
        rows = rows.filter(pk__lte=audit.last_id(filters.until))
    return rows


# --- Flags, mail, and what has no other record ------------------------------------------------------------------------


def _revisions(filters: Filters, reader: Reader) -> list[Source]:
    actions = sorted(FLAG_KINDS[kind] for kind in filters.kinds if kind in FLAG_KINDS)
    if not _includes(FLAGS, filters, bool(actions)):
        return []
    rows = _within(FlagRevision.objects.defer("snapshot"), "at", filters)
    if actions:
        rows = rows.filter(action__in=actions)
    if filters.people:
        rows = rows.filter(actor__in=filters.people)
    if not filters.thing:
        return [_of_revisions("f", rows)]
    # Where a name is not shown, no search finds it.
    rows = rows.filter(subject__in=entries.named_subjects(reader))
    # Those of flags that are there, by an index of the flag; segments, tokens and flags that are gone by their name.
    flags = FeatureFlag.objects.filter(codename__icontains=filters.thing)
    others = rows.filter(flag=None, codename__icontains=filters.thing)
    return [_of_revisions("f", rows.filter(flag__in=flags)), _of_revisions("g", others)]


def _of_revisions(key: str, rows: QuerySet[Any]) -> Source:
    def labels(revision: FlagRevision) -> tuple[str, ...]:
        return (revision.actor_label or (revision.actor_id.hex if revision.actor_id else ""),)

    return Source(key, rows, "at", labels, entries.of_revision)


def _templates(filters: Filters) -> list[Source]:
    if not _includes(MAIL, filters, "template.saved" in filters.kinds):
        return []
    rows = _within(overrides.changed_parts().defer("body"), "created_at", filters)
    if filters.people:
        rows = rows.filter(edited_by__in=filters.people)
    if filters.thing:
        rows = rows.filter(type__icontains=filters.thing)
    return [Source("t", rows, "created_at", lambda version: (version.edited_by_label,), entries.of_template)]


def _log(filters: Filters, reader: Reader) -> list[Source]:
    flags = [int(kind[-1]) for kind in filters.kinds if kind in entries.LOG_KINDS]
    models = [model for model in admin.site._registry if model not in RECORDED and reader.may_see(model)]
    if not models or not _includes(SETTINGS, filters, bool(flags)):
        return []
    types: Mapping[Any, ContentType] = ContentType.objects.get_for_models(*models, for_concrete_models=False)
    rows = LogEntry.objects.filter(content_type__in=[kind.pk for kind in types.values()])
    rows = _within(rows, "action_time", filters)
    if flags:
        rows = rows.filter(action_flag__in=flags)
    if filters.people:
        rows = rows.filter(user__in=filters.people)
    if filters.thing:
        rows = rows.filter(object_repr__icontains=filters.thing)
    return [Source("l", rows, "action_time", lambda row: (row.user_id.hex if row.user_id else "",), entries.of_log)]


def _includes(area: str, filters: Filters, has_kind: bool) -> bool:
    """Whether a source of one area, whose rows concern no account, has an answer."""
    if (filters.people and filters.role == "about") or filters.subject:
        return False
    return (not filters.areas or area in filters.areas) and (not filters.kinds or has_kind)
