"""The claim reads a range of its index, however much is kept or waits for tomorrow."""

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from notifications.models import Message
from notifications.services import claims
from notifications.tests.factories import MessageFactory

pytestmark = pytest.mark.django_db

KEPT = 20_000


@pytest.fixture
def _much_is_kept():
    """Rows that are through, rows for tomorrow, and a few that are due."""
    row = MessageFactory.create(finished=True)
    columns = [field.column for field in Message._meta.concrete_fields if not field.primary_key and field.name != "uid"]
    # A suffix of the first row's uid makes each one its own.
    numbers = {
        "postgresql": f"generate_series(1, {KEPT}) AS n(n)",
        "sqlite": "(WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < "
        f"{KEPT}) SELECT n FROM n) AS n",
    }[connection.vendor]
    fresh = {"postgresql": "gen_random_uuid()", "sqlite": "lower(hex(randomblob(16)))"}[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO notifications_message (uid, {', '.join(columns)}) "
            f"SELECT {fresh}, {', '.join(f'm.{column}' for column in columns)} FROM notifications_message m, {numbers} "
            "WHERE m.id = %s",
            [row.pk],
        )
        tomorrow = connection.ops.adapt_datetimefield_value(timezone.now() + timedelta(days=1))
        cursor.execute(
            "UPDATE notifications_message SET state = 'queued', due_at = %s WHERE id %% 2 = 0 AND id > %s",
            [tomorrow, row.pk],
        )
        MessageFactory.create_batch(3)
        cursor.execute("ANALYZE notifications_message")


def plan(cursor, sql, values):
    if connection.vendor == "sqlite":
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", values)
        return "\n".join(str(line[3]) for line in cursor.fetchall())
    # A generic plan: what PostgreSQL makes of a statement it is given often, without seeing the values.
    types = "smallint, interval, text[], bigint, uuid, text, interval"
    numbered = sql
    for n in range(1, len(values) + 1):
        numbered = numbered.replace("%s", f"${n}", 1)
    cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    cursor.execute(f"PREPARE claim ({types}) AS {numbered}")
    try:
        cursor.execute(f"EXPLAIN EXECUTE claim ({', '.join(['%s'] * len(values))})", values)
        return "\n".join(line[0] for line in cursor.fetchall())
    finally:
        cursor.execute("DEALLOCATE claim")


@pytest.mark.usefixtures("_much_is_kept")
def test_the_claim_reads_a_range_of_its_index():
    sql, values = claims.statement("worker", 0, 10, ["email"], uuid.uuid4())

    with connection.cursor() as cursor:
        found = plan(cursor, sql, values)

    assert "message_due" in found
    # Both columns bound it: the class alone would walk past everything that waits for tomorrow.
    bound = {"postgresql": "due_at <= (statement_timestamp()", "sqlite": "(priority=? AND due_at<?)"}[connection.vendor]
    assert bound in found
    assert "Seq Scan on notifications_message" not in found
    assert "SCAN notifications_message" not in found
    assert len(claims.claim("worker", 10)) == 3


@pytest.mark.usefixtures("_much_is_kept")
def test_an_idle_poll_reads_its_index():
    due = Message.objects.filter(priority__in=[0, 1, 2], due_at__lte=timezone.now(), channel__in=["email"])

    found = due.explain()

    assert "message_due" in found
    assert "Seq Scan" not in found
