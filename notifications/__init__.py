"""Messages the product sends: declared here, queued and delivered by `notifications.services`."""

from notifications.registry import (
    ACCOUNT,
    BULK,
    EMAIL,
    IN_APP,
    SECURITY,
    Category,
    NotificationType,
    UnknownType,
    Withdrawn,
    declare,
    declare_category,
    get,
)

__all__ = [
    "ACCOUNT",
    "BULK",
    "EMAIL",
    "IN_APP",
    "SECURITY",
    "Category",
    "NotificationType",
    "UnknownType",
    "Withdrawn",
    "declare",
    "declare_category",
    "get",
]
