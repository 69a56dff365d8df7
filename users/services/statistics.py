"""Sign-ins and failures by the hour."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count

from lib import hourly
from users.models import AuditEvent, SignInCount

KINDS = ("login.ok", "login.failed", "login.paused")


def count_sign_ins(now: datetime) -> Iterator[int]:
    return hourly.count(SignInCount, _of_hour, now)


def _of_hour(begin: datetime, end: datetime) -> list[tuple[str, int]]:
    events = AuditEvent.objects.filter(at__gte=begin, at__lt=end, event__in=KINDS).order_by()
    return list(events.values_list("event").annotate(Count("pk")))
