"""The circuit breaker of a channel, shared by all processes: a failure pauses it for a time that doubles; when it ends,
one worker probes with one message. While the login is refused, or staff have paused it, only staff resume it.
"""

from __future__ import annotations

import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import F, Q, Value
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from lib.actors import Actor
from lib.errors import ProductError
from lib.text import is_storable
from notifications.models import Message, ProviderState, moment
from notifications.providers.base import Result

logger = logging.getLogger("switchboard.notifications")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
FOR_EVER = float("inf")
REMEMBER_SUCCESS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Admission:
    """What a worker may do: nothing for `wait` seconds, probe with one message, or send as many as it likes."""

    wait: float = 0.0
    is_probe: bool = False
    failures: int = 0
    #: The last success was recorded so long ago that it should be recorded again.
    is_stale: bool = True


def admit(channel: str) -> Admission:
    """Call this before claiming. A worker that gets the probe must call `worked`, `failed` or `release_probe`."""
    now = moment()
    # The clock comes along: where hosts disagree, the database's counts.
    clock = Value(now) if isinstance(now, datetime) else now
    state = ProviderState.objects.filter(alias=channel).annotate(now=clock).first()
    if state is None:
        return Admission()
    now = state.now
    is_stale = state.last_ok_at is None or now - state.last_ok_at > REMEMBER_SUCCESS
    if not state.paused:
        return Admission(failures=state.failures, is_stale=is_stale)
    if state.paused_until is None:
        if not state.config_fingerprint or state.config_fingerprint == fingerprint():
            return Admission(FOR_EVER)
    elif state.paused_until > now:
        return Admission((state.paused_until - now).total_seconds())
    # Compare-and-set: of all workers that see the pause end, one probes. If it dies, the next one may after a lease.
    same = ProviderState.objects.filter(pk=state.pk, paused=True, paused_until=state.paused_until)
    if not same.update(paused_until=moment(timedelta(seconds=settings.NOTIFICATIONS_LEASE))):
        return Admission(FIRST_PAUSE)
    return Admission(is_probe=True, failures=state.failures, is_stale=True)


def failed(channel: str, result: Result, admission: Admission) -> float:
    """Pause the channel; return for how many seconds. Of several workers that fail at once, one does it."""
    ProviderState.objects.bulk_create([ProviderState(alias=channel)], ignore_conflicts=True)
    open_to_us = ProviderState.objects.filter(alias=channel, paused_by="")
    values: dict[str, Any] = {"paused": True, "reason": f"{result.code}: {result.text}"[:500]}
    if result.needs_staff:
        seconds = FOR_EVER
        values |= {"paused_until": None, "failures": F("failures") + 1, "config_fingerprint": fingerprint()}
        changed = open_to_us.exclude(paused=True, paused_until=None).update(**values)
    else:
        known = admission.failures if admission.is_probe else 0
        seconds = min(FIRST_PAUSE * 2.0 ** min(known, 10), LONGEST_PAUSE) * random.uniform(0.8, 1.2)  # noqa: S311
        values["paused_until"] = moment(timedelta(seconds=seconds))
        values |= {"failures": known + 1, "config_fingerprint": ""}
        ours = open_to_us.filter(paused=admission.is_probe)
        changed = (ours.filter(failures=known) if admission.is_probe else ours).update(**values)
    if changed:
        _log("provider paused", channel, code=result.code, until="staff resume" if result.needs_staff else "retry")
    return seconds


def worked(channel: str, admission: Admission) -> None:
    """The provider answered: close the circuit again. Called only after the probe, or once a minute."""
    if admission.is_probe:
        ours = ProviderState.objects.filter(alias=channel, paused=True, paused_by="", paused_until__isnull=False)
        if ours.update(**ProviderState.OPEN, last_ok_at=moment()):
            _log("provider answers again", channel)
        return
    if not ProviderState.objects.filter(alias=channel).update(last_ok_at=moment()):
        ProviderState.objects.bulk_create([ProviderState(alias=channel, last_ok_at=moment())], ignore_conflicts=True)


def release_probe(channel: str) -> None:
    """The probe was not used, as no message came that far: the next worker may have it now."""
    taken = ProviderState.objects.filter(alias=channel, paused=True, paused_by="", paused_until__isnull=False)
    taken.update(paused_until=moment())


def pause(alias: str, *, actor: Actor, reason: str) -> bool:
    """Send nothing until staff resume; return whether that is new.

    Raises: PROVIDER_UNKNOWN (404), REASON_INVALID (400).
    """
    _known(alias)
    if len(reason) > 500 or not is_storable(reason):
        raise ProductError(
            "REASON_INVALID", _("The reason must have at most 500 characters, none of them unprintable.")
        )
    ProviderState.objects.bulk_create([ProviderState(alias=alias)], ignore_conflicts=True)
    changed = ProviderState.objects.filter(Q(paused=False) | Q(paused_by=""), alias=alias).update(
        paused=True, paused_until=None, paused_by=actor.label, reason=reason, config_fingerprint=""
    )
    if changed:
        _log("provider paused", alias, by=actor.label)
    return bool(changed)


def resume(alias: str, *, actor: Actor) -> bool:
    """End the pause, whatever caused it; return whether there was one.

    Raises: PROVIDER_UNKNOWN (404).
    """
    _known(alias)
    changed = ProviderState.objects.filter(alias=alias, paused=True).update(**ProviderState.OPEN)
    if changed:
        _log("provider resumed", alias, by=actor.label)
    return bool(changed)


def states() -> list[ProviderState]:
    """One per channel, in a fixed order; a channel that was never paused nor used has an unsaved one."""
    rows = {row.alias: row for row in ProviderState.objects.filter(alias__in=Message.Channel.values)}
    return [rows.get(alias) or ProviderState(alias=alias) for alias in Message.Channel.values]


def fingerprint() -> str:
    """A keyed hash of EMAIL_URL: it shows a change and not the value."""
    return salted_hmac("notifications.email_url", settings.EMAIL_URL, algorithm="sha256").hexdigest()


def _known(alias: str) -> None:
    if alias not in Message.Channel.values:
        raise ProductError("PROVIDER_UNKNOWN", _("There is no such channel."), status=404)


def _log(message: str, channel: str, **extra: str) -> None:
    logger.warning(message, extra={"channel": channel, **extra})
