"""The verbs of the outbox: the only writers of its rows."""

from notifications.services.delivery import Courier
from notifications.services.health import health
from notifications.services.queueing import queue, withdraw

__all__ = ["Courier", "health", "queue", "withdraw"]
