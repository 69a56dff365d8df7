"""The peer's box, asked in JSON: `python -m benchmarks.notifications.peer_box`."""

import os
import time
from typing import Any

import django

from benchmarks.notifications import verbs


def _send() -> Any:
    # Imported late: a task asks for the settings where it is declared.
    from benchmarks.notifications import peer

    return peer.send


def queue(names: list[str]) -> None:
    from django.db import transaction

    with transaction.atomic():
        for number, name in enumerate(names):
            _send().enqueue(f"{name}@example.org", number)


def enqueue(count: int) -> list[float]:
    """Milliseconds of each `enqueue` in autocommit."""
    taken = []
    for number in range(count):
        start = time.perf_counter()
        _send().enqueue(f"enqueue{number}@example.org", number)
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def states() -> dict[str, int]:
    from django.db.models import Count
    from django_tasks_db.models import DBTaskResult

    return dict(DBTaskResult.objects.order_by("status").values_list("status").annotate(Count("pk")))


def count_open() -> int:
    from django_tasks_db.models import DBTaskResult

    return DBTaskResult.objects.filter(status__in=["READY", "RUNNING"]).count()


def clear() -> None:
    from django_tasks_db.models import DBTaskResult

    DBTaskResult.objects.all().delete()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.notifications.peer_settings")
    django.setup()
    verbs.serve({verb.__name__: verb for verb in (queue, enqueue, states, count_open, clear)})
