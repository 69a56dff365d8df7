"""Messages the product sends: declared here, queued and delivered by `notifications.services`."""

from notifications.registry import (
    ACCOUNT,
    BULK,
    SECURITY,
    NotificationType,
    UnknownType,
    Withdrawn,
    declare,
    get,
)

__all__ = ["ACCOUNT", "BULK", "SECURITY", "NotificationType", "UnknownType", "Withdrawn", "declare", "get"]
