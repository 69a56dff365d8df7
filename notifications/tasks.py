"""The task of Django's Tasks API; imported only when NOTIFICATIONS_ENGINE is `tasks`."""

from __future__ import annotations

from notifications.models import Message
from notifications.services.delivery import QueueWorker

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task  # type: ignore[no-redef]


class DeliveryFailed(Exception):
    """Holds only the class of the error: backends store what a task raises, and a driver repeats rows."""


@task
def deliver(uid: str) -> None:
    """Send this message, if it is still due and not claimed. A second run of the task does nothing."""
    pk = Message.objects.filter(uid=uid).values_list("pk", flat=True).first()
    if pk is None:
        return
    try:
        QueueWorker().deliver_these([pk])
    except Exception as error:
        raise DeliveryFailed(type(error).__name__) from None
