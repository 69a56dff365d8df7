"""Is mail flowing? One look for the readiness page."""

from datetime import timedelta

from django.conf import settings

from notifications import registry
from notifications.models import Message
from notifications.services.clock import moment

LATE = timedelta(minutes=5)


def health() -> dict[str, str]:
    """`{"status": "ok"}` or `{"status": "degraded", "reason": …}`; mail never takes the product down."""
    if settings.NOTIFICATIONS_ENGINE == "off":
        return {"status": "degraded", "reason": "Mail is off: set EMAIL_URL and NOTIFICATIONS_ENGINE."}
    if Message.objects.filter(priority__in=registry.PRIORITIES, due_at__lte=moment(-LATE)).exists():
        return {"status": "degraded", "reason": "A message has been due for more than 5 minutes."}
    return {"status": "ok"}
