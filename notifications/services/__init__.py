"""The verbs of the outbox: the only writers of its rows."""

from notifications.services.delivery import Courier
from notifications.services.health import health
from notifications.services.queueing import cancel_open, queue, withdraw
from notifications.services.staff import cancel, resend, retry

__all__ = ["Courier", "cancel", "cancel_open", "health", "queue", "resend", "retry", "withdraw"]
