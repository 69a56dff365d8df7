"""Counters of mail and webhooks. No row is read here; what the tables know: services/health.py."""

from __future__ import annotations

import os

from django.conf import settings

from lib.metrics import Counter, Histogram

ENQUEUED = Counter("notifications_enqueued_total", "Messages put into the outbox.", ("type", "channel"))
OUTCOMES = Counter("notifications_outcome_total", "What tries came to.", ("outcome", "provider"))
RETRIES = Counter("notifications_retries_total", "Tries that will be repeated.")
LOST_LEASES = Counter("notifications_lost_lease_total", "Messages that another worker had taken, or staff had stopped.")
DUPLICATES = Counter("notifications_duplicate_key_total", "Events that were queued before.")
LOST_WAKE_UPS = Counter("notifications_wake_up_failed_total", "Tasks that could not be enqueued; the sweeper sends.")
_ABOUT = "Reports of the provider: their kind, or ignored, repeated, ping."
REPORTS = Counter("notifications_reports_total", _ABOUT, ("provider", "kind"))
SENDING = Histogram("notifications_send_seconds", "Seconds the mail server took for a message.")
RENDERING = Histogram("notifications_render_seconds", "Seconds to render a message and build its MIME form.")

WEBHOOKS = Counter(
    "webhooks_attempts_total", "Tries to tell an endpoint: the state they left, or lost_lease.", ("state",)
)
# By final state, for the row of this worker.
_finished: dict[str, int] = {}


def count_attempt(outcome: str, state: str | None, provider: str | None = None) -> None:
    """An attempt has ended with `outcome` and left the message in `state`; None: it was no longer this worker's."""
    via = settings.EMAIL_URL.partition(":")[0] if provider is None else provider
    OUTCOMES.add("lost_lease" if state is None else outcome, via)
    if state is None:
        LOST_LEASES.add()
    elif state != "queued":
        _finished[state] = _finished.get(state, 0) + 1
    elif outcome != "transport_down":
        RETRIES.add()


def finished(state: str) -> int:
    """How many messages this process has brought into a final state."""
    return _finished.get(state, 0)


def forget() -> None:
    """A forked child has done nothing yet."""
    _finished.clear()


os.register_at_fork(after_in_child=forget)
