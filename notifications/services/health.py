"""Whether mail is delivered, by queries that each read an index; and the status of one message in a sentence."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db.models import Max, Q, QuerySet, Subquery
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from lib.metrics import Asked, Labels, build_info
from notifications import metrics, registry
from notifications.models import Message, ProviderState, WebhookDelivery, WebhookEndpoint, Worker, database_time, moment

LATE = timedelta(minutes=5)
#: Seconds between two heartbeats of a process; after three missed ones it counts as silent.
BEAT = 10.0
SILENCE = timedelta(seconds=3 * BEAT)


def check() -> dict[str, str]:
    """`{"status": "ok"}` or `{"status": "degraded", "reason": …}`; mail never takes the product down."""
    reason = ""
    if settings.NOTIFICATIONS_ENGINE == "off":
        reason = "Mail is off: set EMAIL_URL and NOTIFICATIONS_ENGINE."
    elif names := sorted(paused_providers().values_list("alias", flat=True)):
        reason = f"The provider is paused: {', '.join(names)}."
    elif not _is_due_for(SILENCE):
        reason = ""
    elif not has_worker():
        reason = "A message is due, and no worker gives a sign of life."
    elif _is_due_for(LATE):
        reason = "A message has been due for more than 5 minutes."
    return {"status": "degraded", "reason": reason} if reason else {"status": "ok"}


def has_worker() -> bool:
    """Whether a process that delivers, and runs the periodic jobs, has given a sign of life lately."""
    return Worker.objects.filter(beat_at__gt=moment(-SILENCE)).exists()


def _is_due_for(wait: timedelta) -> bool:
    return Message.objects.filter(priority__in=registry.PRIORITIES, due_at__lte=moment(-wait)).exists()


#: Messages that are through are counted so far: there may be millions.
COUNTED = 10_000


def depth() -> dict[str, int]:
    """How many messages are in each state, of those that are through up to COUNTED."""
    rows = {state: Message.objects.filter(state=state) for state in Message.State}
    return {state.value: (found if state in Message.OPEN else found[:COUNTED]).count() for state, found in rows.items()}


def status() -> dict[str, Any]:
    """Depth by state, the age of the oldest due message, providers and workers, as JSON can hold them."""
    now = database_time()
    paused = set(paused_providers().values_list("alias", flat=True))

    def provider(row: ProviderState) -> dict[str, Any]:
        is_paused = row.alias in paused
        return {
            "alias": row.alias,
            "paused": is_paused,
            "paused_until": row.paused_until.isoformat() if is_paused and row.paused_until else None,
            "reason": row.reason if is_paused else "",
            "failures": row.failures,
            "last_ok_at": row.last_ok_at.isoformat() if row.last_ok_at else None,
        }

    def worker(row: Worker) -> dict[str, Any]:
        as_they_are = {name: getattr(row, name) for name in ("host", "pid", "engine", "version", "sent", "failed")}
        return as_they_are | {"started_at": row.started_at.isoformat(), "beat_seconds": _seconds(now - row.beat_at)}

    return {
        "states": depth(),
        "oldest_due_seconds": oldest_due_seconds(),
        "providers": [provider(row) for row in ProviderState.objects.order_by("alias")],
        "workers": [worker(row) for row in Worker.objects.all()],
    }


def figures() -> list[Asked]:
    """What is asked for by each scrape: whether the database answers and, where it does, what its tables know."""
    about = "switchboard_database_up", "Whether the database answers."
    try:
        found = gauges()
    except DatabaseFailure:
        return [(*about, {(): 0}), build_info()]
    return [(*about, {(): 1}), build_info(), *found]


def gauges() -> list[Asked]:
    """What the tables know."""
    depth: dict[Labels, float] = {
        (("state", state.value),): Message.objects.filter(state=state).count() for state in Message.OPEN
    }
    waiting: dict[Labels, float] = {
        (("state", state),): WebhookDelivery.objects.filter(state=state, due_at__isnull=False).count()
        for state in (WebhookDelivery.State.QUEUED, WebhookDelivery.State.SENDING)
    }
    paused = WebhookEndpoint.objects.filter(paused_at__isnull=False).count()
    last_beat = Worker.objects.aggregate(at=Max("beat_at"))["at"]
    beats: dict[Labels, float] = {} if last_beat is None else {(): _seconds(database_time() - last_beat)}
    return [
        ("notifications_queue_depth", "Messages that are not through.", depth),
        ("notifications_oldest_due_seconds", "How long the oldest due message waits.", {(): oldest_due_seconds()}),
        ("notifications_worker_last_beat_seconds", "Seconds since any worker gave a sign of life.", beats),
        ("webhooks_queue_depth", "Deliveries that are not through.", waiting),
        ("webhooks_endpoints_paused", "Endpoints that are sent nothing.", {(): paused}),
        ("notifications_provider_paused", "Whether a provider is paused.", {(): int(paused_providers().exists())}),
    ]


def oldest_due() -> datetime | None:
    """Since when the first in line has been due: one statement, one look at the index per class."""
    due, firsts = Message.objects.filter(due_at__lte=moment()).order_by("due_at"), Q()
    for priority in registry.PRIORITIES:
        firsts |= Q(pk=Subquery(due.filter(priority=priority).values("pk")[:1]))
    found = Message.objects.filter(firsts).values_list("due_at", flat=True)
    return min((at for at in found if at), default=None)


def oldest_due_seconds() -> float:
    """How long the oldest due message has waited; 0 when none is due."""
    return _seconds(database_time() - oldest) if (oldest := oldest_due()) else 0


def paused_providers() -> QuerySet[ProviderState]:
    return ProviderState.objects.filter(Q(paused_until=None) | Q(paused_until__gt=moment()), paused=True)


def _seconds(span: timedelta) -> float:
    return max(0.0, round(span.total_seconds(), 1))


class Heartbeat:
    """The Worker row of this process; `engine` is its NOTIFICATIONS_ENGINE."""

    def __init__(self, engine: str) -> None:
        self.id = uuid.uuid4()
        self.engine = engine

    def beat(self) -> None:
        values = {
            "beat_at": moment(),
            "sent": metrics.finished(Message.State.SENT),
            "failed": metrics.finished(Message.State.FAILED),
        }
        if Worker.objects.filter(pk=self.id).update(**values):
            return
        # New, or silent for so long (a laptop that slept) that the row was purged.
        host, version = socket.gethostname()[:255], settings.RELEASE
        values |= {"host": host, "pid": os.getpid(), "version": version, "engine": self.engine, "started_at": moment()}
        Worker.objects.create(id=self.id, **values)

    def stop(self) -> None:
        Worker.objects.filter(pk=self.id).delete()


# --- One message ------------------------------------------------------------------------------------------------------

_FAILED = {
    "refused": gettext_lazy("the mail server refused it"),
    "render_error": gettext_lazy("it cannot be rendered"),
    "worker_killer": gettext_lazy("workers died of it"),
    "not_sent": gettext_lazy("the provider took it and reports that it did not send it"),
    "attempts_used": gettext_lazy("all its attempts are used up"),
}
_SUPPRESSED = {
    "not_allowed": gettext_lazy("NOTIFICATIONS_ALLOW_TO does not name this address"),
    "suppressed": gettext_lazy("the address is on the list of suppressions"),
    "preference": gettext_lazy("its recipient has switched this category off"),
    "throttled": gettext_lazy("the address has had as many of this type as its rate allows"),
    "inactive": gettext_lazy("its recipient's account is not active any more"),
    "unverified": gettext_lazy("its recipient has not verified their address"),
}
_CANCELLED = {
    "staff": gettext_lazy("Cancelled by staff"),
    "withdrawn": gettext_lazy("Withdrawn: what it was about is over"),
}


def describe(
    message: Message,
    *,
    providers: Iterable[ProviderState],
    workers: Iterable[Worker],
    engine: str,
    lease: timedelta,
    now: datetime,
) -> str:
    """One sentence, from the row, the providers, the workers and NOTIFICATIONS_ENGINE."""
    if message.due_at is None:
        return _ended(message)
    due = {"time": at(message.due_at)}
    if message.state == Message.State.SENDING and message.due_at > now:
        since = {"worker": message.lease_owner or "?", "time": at(message.handed_at or message.due_at - lease)}
        if message.handed_at:
            return _("Being sent by %(worker)s, handed to the mail server at %(time)s.") % since
        return _("Being sent by %(worker)s since %(time)s.") % since
    if engine == "off":
        return _("Nothing is sent: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.")
    if message.expires_at <= now:
        return _("It expired at %(time)s; the next worker that takes it notes so.") % {"time": at(message.expires_at)}
    for provider in providers:
        if provider.alias == message.channel and provider.is_paused(now):
            because = {"because": f": {provider.reason}" if provider.reason else ""}
            if provider.paused_until is None:
                return _("The way out is paused until staff resume it%(because)s.") % because
            because["time"] = at(provider.paused_until)
            return _("The way out is paused until %(time)s%(because)s.") % because
    if message.due_at > now:
        if not message.attempts:
            return _("Waiting for its time: %(time)s.") % due
        counts = {"n": message.attempts, "most": message.max_attempts, "code": message.last_code or _("no code")}
        return _("Attempt %(n)d of %(most)d did not succeed (%(code)s); the next is at %(time)s.") % (due | counts)
    if engine != "inline":
        last_beat = max((worker.beat_at for worker in workers), default=None)
        if last_beat is None:
            return _("Due, and no worker has given a sign of life.")
        if now - last_beat > SILENCE:
            seconds = {"seconds": int((now - last_beat).total_seconds())}
            return _("It is due, and no worker has given a sign of life for %(seconds)d s.") % seconds
    if message.state == Message.State.SENDING:
        return _("Its worker fell silent while sending; since %(time)s any other may take it over.") % due
    return _("Due since %(time)s; a worker takes it next.") % due


def at(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "MOMENT_TO_THE_SECOND")


def span(length: timedelta) -> str:
    """A length of time at a glance: `12 s`, `3 min`, `2 h`, `4 d`."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _ended(message: Message) -> str:
    when = at(message.finished_at or message.created_at)
    values = {"time": when, "code": f" ({message.last_code})" if message.last_code else ""}
    values["report"] = message.get_delivery_state_display().lower()
    reason = message.reason.replace("_", " ")
    if message.state == Message.State.SENT:
        if message.delivery_state:
            return _("Sent at %(time)s; the provider reports: %(report)s.") % values
        if message.reason == "unverified":
            return _("Sent at %(time)s; the provider's answer could not be read, its report will tell.") % values
        return _("Sent at %(time)s.") % values
    if message.state == Message.State.FAILED:
        # What matters first: a list shows the beginning.
        values["reason"] = str(_FAILED.get(message.reason, reason))
        return _("Failed: %(reason)s%(code)s, at %(time)s.") % values
    if message.state == Message.State.UNKNOWN:
        return _(
            "It may have arrived: handed over at %(time)s, and no answer was noted, so only staff send it again."
        ) % {"time": at(message.handed_at) if message.handed_at else when}
    if message.state == Message.State.SUPPRESSED:
        return _("Not sent: %(reason)s.") % {"reason": _SUPPRESSED.get(message.reason, reason)}
    if message.state == Message.State.EXPIRED:
        return _("Not sent: it expired at %(time)s.") % {"time": at(message.expires_at)}
    cause = _CANCELLED.get(message.reason) or _("Withdrawn before it was sent: %(reason)s") % {"reason": reason}
    return f"{cause} ({when})."
