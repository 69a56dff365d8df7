"""A mail to oneself: how a type looks where it is read, made of its sample."""

from __future__ import annotations

from typing import TYPE_CHECKING

from notifications.models import Message
from notifications.registry import NotificationType
from notifications.rendering.samples import TEST
from notifications.services.queueing import queue

if TYPE_CHECKING:
    from users.models import User


def send_test(kind: NotificationType, *, user: User, language: str) -> Message:
    """Queue the sample of a type, marked as a test, to the user's own address; its codes and links are made up."""
    address = str(getattr(user, user.get_email_field_name()))
    return queue(TEST, to=address, context={"about": kind.code}, user=user, language=language)[0]
