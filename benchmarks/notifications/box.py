"""The outbox of a benchmark, asked in JSON: `python -m benchmarks.notifications.box`."""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import django

from benchmarks.notifications import verbs


def queue(type: str, names: list[str], **context: Any) -> dict[str, str]:
    """Queue one mail for each name in one transaction; the Message-ID of each address."""
    from django.db import transaction

    from notifications.services import outbox

    with transaction.atomic():
        rows = [
            outbox.queue(type, to=f"{name}@example.org", context={"number": number, **context})[0]
            for number, name in enumerate(names)
        ]
    return {row.to_address: row.message_id for row in rows}


def rows() -> list[dict[str, Any]]:
    from notifications.models import Message

    return list(Message.objects.values("to_address", "message_id", "state", "reason", "attempts", "last_code"))


def count_open() -> int:
    from notifications.models import Message

    return Message.objects.filter(state__in=Message.OPEN).count()


def held() -> dict[str, list[str]]:
    """Who holds what: addresses by the name of the worker, which tells its process."""
    from notifications.models import Message

    found: dict[str, list[str]] = {}
    for owner, address in Message.objects.filter(state="sending").values_list("lease_owner", "to_address"):
        found.setdefault(owner, []).append(address)
    return found


def outcomes() -> dict[str, int]:
    from notifications.models import Attempt

    return Counter(Attempt.objects.values_list("outcome", flat=True))


def clear() -> None:
    from notifications.models import Message, ProviderState, Suppression

    Message.objects.all().delete()
    ProviderState.objects.all().delete()
    Suppression.objects.all().delete()


def people(first: int, count: int) -> list[list[str]]:
    """Registered people whose code was mailed: [address, token, code] of each; the mails themselves are dropped."""
    from lib.actors import Actor, RequestInfo
    from users.services import registration

    made = []
    actor = Actor("api", request=RequestInfo("192.0.2.1", "benchmark"))
    for number in range(first, first + count):
        email = f"person{number}@example.org"
        registration.register(email=email, password_hash="!", first_name="Ada", last_name="Lovelace", actor=actor)
        token, code = registration.request_code(email=email, actor=actor)
        made.append([email, token, code or ""])
    clear()
    return made


def wake(count: int) -> list[list[Any]]:
    """Queue one at a time in an embedded process at rest: [address, when COMMIT was sent] of each."""
    from django.db import transaction

    from benchmarks.notifications.types import MAIL
    from notifications import engine
    from notifications.services import outbox

    def commits() -> Iterator[list[Any]]:
        for number in range(count):
            # At no fixed distance from the last one: pollers would fall into step.
            time.sleep(random.uniform(0.1, 0.5))
            with transaction.atomic():
                outbox.queue(MAIL, to=f"wake{number}@example.org", context={"number": number})
                at = time.monotonic()
            yield [f"wake{number}@example.org", at]

    engine.start()
    made = list(commits())
    time.sleep(1)
    engine.stop()
    return made


def publish(url: str, count: int, subjects: int) -> dict[str, str]:
    """Publish so many events of so many subjects to a new endpoint; the `webhook-id` by the address in each."""
    from django.db import transaction

    from lib import events
    from lib.actors import Actor
    from notifications.models import WebhookDelivery
    from notifications.services import endpoints

    name = "address.suppressed"
    endpoints.create(name="benchmark", url=url, events=[name], actor=Actor.command("benchmark"))
    about = {"scope": "all", "reason": "staff", "until": None}
    told = [
        events.Event(name, f"address:{n % subjects}", {"address": f"s{n % subjects}-{n}@example.org", **about})
        for n in range(count)
    ]
    with transaction.atomic():
        events.publish_all(told)
    rows = WebhookDelivery.objects.values_list("body", "uid")
    return {json.loads(body)["data"]["address"]: uid.hex for body, uid in rows}


def count_open_deliveries() -> int:
    from notifications.models import WebhookDelivery

    return WebhookDelivery.objects.filter(due_at__isnull=False).count()


def main() -> None:
    from benchmarks.notifications import inside

    outbox = (queue, rows, count_open, held, outcomes, clear, people, wake, publish, count_open_deliveries)
    measured = (inside.enqueue, inside.render, inside.fill, inside.claim, inside.plans)
    verbs.serve({verb.__name__: verb for verb in (*outbox, *measured)})


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "benchmarks.notifications.settings")
    django.setup()
    main()
