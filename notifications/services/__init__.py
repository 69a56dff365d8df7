"""The verbs of the outbox: the only writers of its rows."""

from notifications.services.delivery import QueueWorker
from notifications.services.health import gauges, health, status
from notifications.services.housekeeping import forget_user, purge, purgeable
from notifications.services.queueing import cancel_open, queue, withdraw
from notifications.services.staff import cancel, resend, retry
from notifications.services.suppressions import lift, suppress
from notifications.services.transport import pause_provider, provider_states, resume_provider

__all__ = [
    "QueueWorker",
    "cancel",
    "cancel_open",
    "forget_user",
    "gauges",
    "health",
    "lift",
    "pause_provider",
    "provider_states",
    "purge",
    "purgeable",
    "queue",
    "resend",
    "resume_provider",
    "retry",
    "status",
    "suppress",
    "withdraw",
]
