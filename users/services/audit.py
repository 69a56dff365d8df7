"""The audit log: who did what to which account, when, from where, by which door. Never a secret, never free text
of a stranger. Written in the transaction of the change; refusals in one of their own."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Q, QuerySet

from lib import db, events, hourly, metrics
from lib.actors import Actor, RequestInfo
from lib.addresses import normal_email
from lib.logs import request_id
from lib.text import is_storable
from users.audit_events import DETAILS, EVENTS, STAFF_EVENTS
from users.events import PUBLISHED
from users.models import STAFF_DOORS, AuditEvent, SignInCount, User
from users.services import tokens

#: What of `data` is about the person, and shown to them.
_SHOWN = ("amr", "changed", "count", "ended", "factor", "is_staff", "is_superuser", "kind", "pause_seconds", "why")
# The trigger of migration 0004. SQLite's triggers know no settings, so it goes and comes back.
_DROP_TRIGGER = "DROP TRIGGER IF EXISTS users_auditevent_no_delete"
_CREATE_TRIGGER = """
CREATE TRIGGER users_auditevent_no_delete BEFORE DELETE ON users_auditevent
BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END
"""


COUNTED = metrics.Counter("switchboard_account_events_total", "Events of the audit log.", ("event", "outcome"))


def event(
    name: str,
    /,
    *,
    actor: Actor,
    user: User | None = None,
    user_id: uuid.UUID | None = None,
    email: str = "",
    outcome: str = AuditEvent.Outcome.OK,
    session_id: uuid.UUID | None = None,
    **data: Any,
) -> AuditEvent:
    """An event, not written yet; ValueError for an event or a key of `data` that is not listed.

    While the `actor` is unknown, the account itself is noted as the actor. `reason` is a text typed by staff, `why` one
    of our own.
    """
    if name not in EVENTS or not data.keys() <= DETAILS.keys():
        raise ValueError(f"not to be audited: {name} with {sorted(data)}")
    COUNTED.add(name, outcome)
    user_id = user.pk if user is not None else user_id
    email = user.email if user is not None and not email else email
    if actor.request.api_key:
        data["key"] = actor.request.api_key
    if actor.request.proposed_by:
        data["proposed_by"] = actor.request.proposed_by
    return AuditEvent(
        event=name,
        outcome=outcome,
        user_id=user_id,
        subject_mac=subject(email) if email else None,
        actor=actor.label or (user_id.hex if user_id else ""),
        door=actor.door,
        session_id=session_id or actor.request.session_id,
        ip=actor.request.ip,
        user_agent=actor.request.user_agent,
        request_id=request_id.get()[:64],
        data=data,
    )


def record(name: str, /, *, actor: Actor, user: User | None = None, **more: Any) -> None:
    """Write one event, and publish it if it is one for programs outside; the arguments are those of `event`."""
    row = event(name, actor=actor, user=user, **more)
    row.save(force_insert=True)
    _publish([(row, user)])


def record_each(name: str, users: Sequence[User], /, *, actor: Actor, **more: Any) -> None:
    """The same event of each of these users."""
    rows = [(event(name, actor=actor, user=user, **more), user) for user in users]
    AuditEvent.objects.bulk_create([row for row, _user in rows])
    _publish(rows)


def _publish(rows: Sequence[tuple[AuditEvent, Any]]) -> None:
    """Those of them that are for programs outside."""
    found = []
    for row, user in rows:
        public, outcome = PUBLISHED.get(row.event, ("", ""))
        if public and outcome == row.outcome:
            found.append(events.Event(public, f"user:{user.pk.hex}", _published(public, row, user)))
    events.publish_all(found)


def _published(name: str, row: AuditEvent, user: User) -> dict[str, Any]:
    about: dict[str, Any] = {"id": user.pk.hex, "email": user.email, "actor": row.actor}
    about["reason"] = row.data.get("reason") or row.data.get("why", "")
    if name == "user.updated":
        about["changed"] = row.data.get("changed", ["is_staff", "is_superuser"])
    elif name == "session.replay":
        about["session_id"] = row.session_id.hex if row.session_id else None
    return about


#: Ids come in the order of time but for transactions that ran side by side.
_DISORDER = timedelta(minutes=5)


def first_id(since: datetime) -> int:
    """An id that no event since then falls below: a range of the primary key where a column has no index."""
    earlier = AuditEvent.objects.filter(at__lt=since - _DISORDER).order_by("-at").values_list("pk", flat=True)
    return earlier.first() or 0


def last_id(until: datetime) -> int:
    """An id that no event before then goes beyond."""
    last = AuditEvent.objects.filter(at__lt=until + _DISORDER).order_by("-at").values_list("pk", flat=True)
    return last.first() or 0


def about(email: str) -> QuerySet[AuditEvent]:
    """The events of an address, newest first: those of its account, and those that named it before there was one."""
    if not is_storable(email):
        return AuditEvent.objects.none()
    mine = Q(subject_mac__in=tokens.subject_macs("audit", normal_email(email)))
    if user_id := User.objects.of_address(email).values_list("pk", flat=True).first():
        mine |= Q(user_id=user_id)
    return AuditEvent.objects.filter(mine).order_by("-id")


def subject(email: str) -> bytes:
    """The MAC by which the events of an address are found."""
    return tokens.subject_mac("audit", normal_email(email))


@contextmanager
def purging() -> Iterator[None]:
    """Let what runs inside, in a transaction, delete events."""
    allow, refuse = _DROP_TRIGGER, _CREATE_TRIGGER
    if connection.vendor == "postgresql":
        allow, refuse = "SET LOCAL switchboard.purge = 'on'", "SET LOCAL switchboard.purge = 'off'"
    with connection.cursor() as cursor:
        cursor.execute(allow)
        yield
        cursor.execute(refuse)


PAGE = 50


def own_events(user: User, *, before: str = "") -> list[dict[str, Any]]:
    """The newest 50 events of the account, or those before the one whose `id` is given; BAD_CURSOR."""
    rows = AuditEvent.objects.filter(user_id=user.pk).order_by("-id")
    if before:
        rows = rows.filter(pk__lt=db.read_cursor(before, of=_owner(user)))
    return [event_out(row, user) for row in rows[:PAGE]]


def all_own_events(user: User) -> Iterator[list[dict[str, Any]]]:
    """All of them, newest first, a slice at a time."""
    for rows in db.newest_first(AuditEvent.objects.filter(user_id=user.pk)):
        yield [event_out(row, user) for row in rows]


def event_out(row: AuditEvent, user: User) -> dict[str, Any]:
    """One event in the shape of the wire; without IP address and client where staff or the product acted.

    `by`: `staff`, `system`, `unknown` for a client that failed to authenticate, else `you`.
    """
    is_own = row.user_id is not None and row.actor == row.user_id.hex
    if row.door in {AuditEvent.Door.SCHEDULE, AuditEvent.Door.IMPORT}:
        by = "system"
    elif row.event in STAFF_EVENTS or (row.door in STAFF_DOORS and not is_own):
        by = "staff"
    else:
        by = "you" if row.outcome == AuditEvent.Outcome.OK else "unknown"
    is_ours = by in {"staff", "system"}
    return {
        "id": db.make_cursor(row.pk, of=_owner(user)),
        "at": row.at,
        "event": row.event,
        "outcome": row.outcome,
        "by": by,
        "door": row.door,
        "ip": "" if is_ours else row.ip,
        "label": "" if is_ours else RequestInfo(user_agent=row.user_agent).client_name,
        "session_id": row.session_id.hex if row.session_id and not is_ours else None,
        "data": {key: value for key, value in row.data.items() if key in _SHOWN},
    }


def count_sign_ins(now: datetime) -> Iterator[int]:
    """By the hour, for the chart on the first page; see `lib.hourly.count`."""
    sign_ins = AuditEvent.objects.filter(event__in=("login.ok", "login.failed", "login.paused"))
    return hourly.count(SignInCount, sign_ins, now, kind="event", at="at")


def _owner(user: User) -> str:
    return f"security-events:{user.pk.hex}"
