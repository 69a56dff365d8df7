"""How messages ended, by the hour."""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import Count

from lib import hourly
from notifications.models import Message, MessageCount

State = Message.State
KINDS = (State.SENT, State.FAILED, State.UNKNOWN, State.SUPPRESSED, State.EXPIRED, State.CANCELLED)


def count_messages(now: datetime) -> Iterator[int]:
    return hourly.count(MessageCount, _of_hour, now)


def _of_hour(begin: datetime, end: datetime) -> list[tuple[str, int]]:
    ended = Message.objects.filter(state__in=KINDS, finished_at__gte=begin, finished_at__lt=end).order_by()
    return list(ended.values_list("state").annotate(Count("pk")))
