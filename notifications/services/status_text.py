"""The status of a message in one sentence, for support staff."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from notifications.models import Message, ProviderState, Worker

State = Message.State

#: Workers write a heartbeat every 10 s.
SILENT_AFTER = timedelta(seconds=30)

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
    if message.state == State.SENDING and message.due_at > now:
        since = {"worker": message.lease_owner or "?", "time": at(message.handed_at or message.due_at - lease)}
        if message.handed_at:
            return _("Being sent by %(worker)s, handed to the mail server at %(time)s.") % since
        return _("Being sent by %(worker)s since %(time)s.") % since
    if engine == "off":
        return _("Nobody sends: set EMAIL_URL, and NOTIFICATIONS_ENGINE to anything but off.")
    if message.expires_at <= now:
        return _("It expired at %(time)s; the next worker that takes it notes so.") % {"time": at(message.expires_at)}
    for provider in providers:
        if provider.alias == message.channel and is_paused(provider, now):
            return _paused(provider)
    if message.due_at > now:
        return _not_yet(message, message.due_at)
    if engine != "inline" and (silence := _silence(workers, now)) is not None:
        return silence
    if message.state == State.SENDING:
        return _("Its worker fell silent while sending; since %(time)s any other may take it over.") % {
            "time": at(message.due_at)
        }
    return _("Due since %(time)s; a worker takes it next.") % {"time": at(message.due_at)}


def is_paused(provider: ProviderState, now: datetime) -> bool:
    """Whether nothing leaves this way now; a pause without an end lasts until staff resume."""
    return provider.paused if provider.paused_until is None else provider.paused_until > now


def at(moment: datetime) -> str:
    return date_format(timezone.localtime(moment), "j M Y H:i:s e")


def span(length: timedelta) -> str:
    """A length of time at a glance: `12 s`, `3 min`, `2 h`, `4 d`."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _paused(provider: ProviderState) -> str:
    because = f": {provider.reason}" if provider.reason else ""
    if provider.paused_until is None:
        return _("The way out is paused until staff resume it%(because)s.") % {"because": because}
    return _("The way out is paused until %(time)s%(because)s.") % {
        "time": at(provider.paused_until),
        "because": because,
    }


def _not_yet(message: Message, due_at: datetime) -> str:
    if not message.attempts:
        return _("Waiting for its time: %(time)s.") % {"time": at(due_at)}
    return _("Attempt %(n)d of %(most)d did not succeed (%(code)s); the next is at %(time)s.") % {
        "n": message.attempts,
        "most": message.max_attempts,
        "code": message.last_code or _("no code"),
        "time": at(due_at),
    }


def _silence(workers: Iterable[Worker], now: datetime) -> str | None:
    beats = [worker.beat_at for worker in workers]
    if not beats:
        return _("It is due, and no worker is there: none has given a sign of life.")
    silent = now - max(beats)
    if silent <= SILENT_AFTER:
        return None
    return _("It is due, and no worker has given a sign of life for %(seconds)d s.") % {
        "seconds": int(silent.total_seconds())
    }


def _ended(message: Message) -> str:
    when = at(message.finished_at or message.created_at)
    values = {"time": when, "code": f" ({message.last_code})" if message.last_code else ""}
    reason = message.reason.replace("_", " ")
    if message.state == State.SENT:
        if message.delivery_state:
            return _("Sent at %(time)s; the provider reports: %(report)s.") % {
                "time": when,
                "report": message.get_delivery_state_display().lower(),
            }
        if message.reason == "unverified":
            return _("Sent at %(time)s; the provider's answer could not be read, its report will tell.") % values
        return _("Sent at %(time)s.") % values
    if message.state == State.FAILED:
        return _("Failed at %(time)s: %(reason)s%(code)s.") % {**values, "reason": _FAILED.get(message.reason, reason)}
    if message.state == State.UNKNOWN:
        return _(
            "Handed over at %(time)s, and no answer was noted: it may have arrived, so nobody but staff sends it again."
        ) % {"time": at(message.handed_at) if message.handed_at else when}
    if message.state == State.SUPPRESSED:
        return _("Not sent: %(reason)s.") % {"reason": _SUPPRESSED.get(message.reason, reason)}
    if message.state == State.EXPIRED:
        return _("Not sent: it expired at %(time)s.") % {"time": at(message.expires_at)}
    cause = _CANCELLED.get(message.reason) or _("Withdrawn before it was sent: %(reason)s") % {"reason": reason}
    return f"{cause} ({when})."
