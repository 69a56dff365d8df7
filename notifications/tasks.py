"""The task of Django's Tasks API; imported only when NOTIFICATIONS_ENGINE is `tasks`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db.models import Model

from notifications.models import Message, WebhookDelivery
from notifications.services.delivery import QueueWorker
from notifications.services.webhook_delivery import deliver_these

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task  # type: ignore[no-redef]


class DeliveryFailed(Exception):
    """Holds only the class of the error: backends store what a task raises, and a driver repeats rows."""


@task
def deliver(uid: str) -> None:
    """Send this message, if it is still due and not claimed. A second run of the task does nothing."""
    _run(Message, uid, QueueWorker().deliver_these)


@task
def deliver_webhook(uid: str) -> None:
    """The same for a webhook."""
    _run(WebhookDelivery, uid, deliver_these)


def _run(model: type[Model], uid: str, deliver: Callable[[Sequence[int]], object]) -> None:
    pk = model._default_manager.filter(uid=uid).values_list("pk", flat=True).first()
    if pk is None:
        return
    try:
        deliver([pk])
    except Exception as error:
        raise DeliveryFailed(type(error).__name__) from None
