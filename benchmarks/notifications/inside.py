"""What one call costs inside a process: queuing, rendering, claiming. Verbs of `box.py`."""

import time
from typing import Any


def enqueue(count: int) -> list[float]:
    """Milliseconds of each `queue` in autocommit."""
    from benchmarks.notifications.types import MAIL
    from notifications.services import outbox

    taken = []
    for number in range(count):
        start = time.perf_counter()
        outbox.queue(MAIL, to=f"enqueue{number}@example.org", context={"number": number})
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def render(count: int) -> dict[str, float]:
    """Milliseconds of CPU of one mail: its subject, text and html, and these with the MIME message around them."""
    from django.utils import timezone

    from benchmarks.notifications.types import MAIL
    from notifications import registry
    from notifications.models import Message
    from notifications.rendering import render
    from notifications.rendering.render import build

    kind, now = registry.get(MAIL), timezone.now()
    context = {"first_name": "Ada", "number": 1, "poisoned": False}
    row = Message(type=MAIL, language="en", context=context, to_address="ada@example.org", message_id="<1@example.org>")

    def cost(call: Any) -> float:
        call()
        start = time.process_time()
        for _ in range(count):
            call()
        return (time.process_time() - start) / count * 1000

    return {
        "render": cost(lambda: render.render(kind, {**context, "code": "481516"}, language="en")),
        "build": cost(lambda: build(row, {"code": "481516"}, date=now).message().as_bytes()),
    }


def fill(kept: int, tomorrow: int = 0, due: int = 10) -> None:
    """Sent rows, rows due tomorrow and rows due now, made by the database from one that was queued."""
    from datetime import timedelta

    from django.db import connection
    from django.utils import timezone

    from benchmarks.notifications.types import MAIL
    from notifications.models import Message
    from notifications.services import outbox

    (row,) = outbox.queue(MAIL, to="first@example.org", context={})
    table, now = Message._meta.db_table, timezone.now()
    Message.objects.filter(pk=row.pk).update(due_at=now - timedelta(hours=1))
    columns = [field.column for field in Message._meta.local_concrete_fields if not field.primary_key]
    is_postgresql = connection.vendor == "postgresql"
    uid = "gen_random_uuid()" if is_postgresql else "lower(hex(randomblob(16)))"
    numbers = "generate_series(1, %s) AS number(n)"
    if not is_postgresql:
        numbers = "(WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < %s) SELECT n FROM c)"
    own = {
        "uid": uid,
        "to_address": "'filled' || n || '@example.org'",
        "message_id": "'<filled' || n || '@example.org>'",
    }
    sent = {"state": "'sent'", "due_at": "NULL", "sent_at": "created_at", "finished_at": "created_at"}
    with connection.cursor() as cursor:
        for count, changes, values in (
            (kept, sent, []),
            (tomorrow, {"due_at": "%s"}, [now + timedelta(days=1)]),
            (due - 1, {}, []),
        ):
            if count > 0:
                cells = ", ".join((own | changes).get(column, f"m.{column}") for column in columns)
                into = f"INSERT INTO {table} ({', '.join(columns)})"
                cursor.execute(
                    f"{into} SELECT {cells} FROM {table} m, {numbers} WHERE m.id = %s", [*values, count, row.pk]
                )
        # As the database does by itself in the course of a day.
        cursor.execute("VACUUM ANALYZE" if is_postgresql else "ANALYZE")


def claim(count: int) -> list[float]:
    """Milliseconds of each claim of ten, which are given back."""
    from notifications.services import claims

    taken = []
    for _ in range(count):
        start = time.perf_counter()
        held = claims.claim("benchmark", 10)
        taken.append((time.perf_counter() - start) * 1000)
        if len(held) != 10:
            raise SystemExit(f"Of ten due messages {len(held)} were claimed.")
        claims.give_back(held)
    return taken


def plans() -> list[str]:
    """How the database answers the statements of one claim."""
    from django.db import connection, transaction
    from django.test.utils import CaptureQueriesContext

    from notifications.models import Message
    from notifications.services import claims

    with CaptureQueriesContext(connection) as asked:
        held = claims.claim("benchmark", 10)
    claims.give_back(held)
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    found = []
    for query in asked.captured_queries:
        if Message._meta.db_table in query["sql"]:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(f"{explain} {query['sql']}")
                found.append("\n".join(str(line[-1]) for line in cursor.fetchall()))
    return found
