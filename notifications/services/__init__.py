"""The verbs of the outbox: the only writers of its rows."""

from notifications.services.delivery import Courier
from notifications.services.health import gauges, health, status
from notifications.services.housekeeping import forget_user, purge, purgeable
from notifications.services.queueing import cancel_open, queue, withdraw
from notifications.services.staff import cancel, resend, retry

__all__ = [
    "Courier",
    "cancel",
    "cancel_open",
    "forget_user",
    "gauges",
    "health",
    "purge",
    "purgeable",
    "queue",
    "resend",
    "retry",
    "status",
    "withdraw",
]
