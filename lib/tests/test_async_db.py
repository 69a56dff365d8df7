"""Statements on the event loop, by pools of these tests' own; project/tests/test_database_served.py has a server's."""

import asyncio
import datetime
import uuid
from contextlib import asynccontextmanager

import psycopg
import pytest
from django.contrib.auth.models import Group
from django.db import DataError, IntegrityError, OperationalError, ProgrammingError, connection

from lib import async_db, pg_pool
from lib.db import libpq_parameters
from project.tests.processes import until

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite stays on the lanes"),
]

PID = "SELECT pg_backend_pid()"
LOCK = "SELECT pg_advisory_xact_lock(%s)"
#: Who waits for that lock.
WAITING = """
SELECT pid FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""


@asynccontextmanager
async def pool(size=4):
    async_db.open_pool(size)
    try:
        yield async_db._pool
    finally:
        async_db.close_pool()
        await asyncio.sleep(0)


@pytest.fixture
def other():
    """A connection of someone else, which holds the advisory lock 1."""
    with psycopg.connect(**libpq_parameters(), autocommit=True) as held:
        held.execute("SELECT pg_advisory_lock(1)")
        yield held


def count_waiting(other):
    return len(other.execute(WAITING).fetchall())


async def waiting(other, count):
    while count_waiting(other) != count:
        await asyncio.sleep(0.01)


def test_values_go_and_come_as_with_djangos_cursor():
    moment, key = datetime.datetime(2026, 1, 31, 8, 30, 0, 5, datetime.UTC), uuid.uuid4()
    given = [7, 2**40, "é'\\", b"\x00'\\\xff", True, None, moment, key]
    sql = "SELECT %s::int, %s::bigint, %s::text, %s::bytea, %s::boolean, %s::text, %s::timestamptz, %s::uuid"

    async def ask():
        async with pool():
            return await async_db.fetch(sql, *given), await async_db.fetch(PID)

    (row,), ((pid,),) = asyncio.run(ask())

    assert list(row) == given
    assert row[6].utcoffset() == datetime.timedelta(0)
    with connection.cursor() as cursor:
        cursor.execute(PID)
        assert cursor.fetchone()[0] != pid


def test_rows_become_objects_as_with_raw():
    sql = "SELECT 'Support' AS name, 3 AS id, %s::int + 1 AS more"

    async def ask():
        async with pool():
            return await async_db.objects(Group, sql, 1)

    (found,), (raw,) = asyncio.run(ask()), Group.objects.raw(sql, [1])

    assert [(group.pk, group.name, group.more) for group in (found, raw)] == [(3, "Support", 2)] * 2
    assert found._state.db == raw._state.db


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELECT 1 / %s::int", DataError),
        ("SELECT %s FROM nowhere", ProgrammingError),
        ("INSERT INTO auth_group (id, name) VALUES (%s, NULL)", IntegrityError),
    ],
)
def test_errors_are_djangos_and_leave_the_connection_as_it_was(sql, error):
    async def ask():
        async with pool(1):
            before = await async_db.fetch(PID)
            with pytest.raises(error):
                await async_db.fetch(sql, 0)
            assert await async_db.fetch(PID) == before

    asyncio.run(ask())


def test_a_connection_that_ended_while_idle_is_replaced(other):
    async def ask():
        async with pool(1):
            ((pid,),) = await async_db.fetch(PID)
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            await asyncio.sleep(0.01)  # the loop hears of it
            assert await async_db.fetch(PID) != [(pid,)]

    asyncio.run(ask())


def test_a_connection_that_ends_under_a_statement_is_an_operational_error(other):
    async def ask():
        async with pool(1):
            asked = asyncio.create_task(async_db.fetch(LOCK, 1))
            await waiting(other, 1)
            other.execute(f"SELECT pg_terminate_backend(pid) FROM ({WAITING}) AS waiting")
            with pytest.raises(OperationalError):
                await asked
            assert await async_db.fetch("SELECT 1") == [(1,)]

    asyncio.run(ask())


def test_cancelled_statements_keep_their_connections_until_the_answer_and_no_longer(other):
    async def ask():
        async with pool(2) as opened:
            asked = [asyncio.create_task(async_db.fetch(LOCK, 1)) for _ in range(6)]
            await waiting(other, 2)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
            assert (opened.idle, count_waiting(other)) == ([], 2)
            other.execute("SELECT pg_advisory_unlock(1)")
            pids = {pid for ((pid,),) in await asyncio.gather(*(async_db.fetch(PID) for _ in range(8)))}
            assert len(pids) <= len(opened.idle) == 2

    asyncio.run(ask())


def test_a_cancel_in_the_moment_of_the_answer_gives_the_connection_back_once():
    async def ask():
        async with pool(1) as opened:
            await async_db.fetch(PID)
            (held,) = opened.idle
            finish = held._finish

            def cancel_first(outcome):
                asked.cancel()
                finish(outcome)

            held._finish = cancel_first
            asked = asyncio.create_task(async_db.fetch(PID))
            with pytest.raises(asyncio.CancelledError):
                await asked
            assert opened.idle == [held]
            assert opened.slots._value == 1

    asyncio.run(ask())


def test_who_waits_too_long_for_a_connection_is_told(other, monkeypatch):
    monkeypatch.setattr(pg_pool, "_WAIT_SECONDS", 0.01)

    async def ask():
        async with pool(1):
            first = asyncio.create_task(async_db.fetch(LOCK, 1))
            await waiting(other, 1)
            with pytest.raises(OperationalError):
                await async_db.fetch(PID)
            other.execute("SELECT pg_advisory_unlock(1)")
            await first
            assert await async_db.fetch("SELECT 1") == [(1,)]

    asyncio.run(ask())


def test_a_pooler_that_forgets_prepared_statements_is_answered_without_them():
    async def ask():
        async with pool(1) as opened:
            assert await async_db.fetch("SELECT %s::int", 1) == [(1,)]
            await async_db.fetch("DEALLOCATE ALL")
            assert await async_db.fetch("SELECT %s::int", 2) == [(2,)]
            assert not opened.prepares

    asyncio.run(ask())


def test_a_statement_that_a_pooler_has_prepared_already_is_used():
    async def ask():
        async with pool(1) as opened:
            await async_db.fetch("SELECT %s::int", 1)
            opened.idle[0].prepared.clear()
            assert await async_db.fetch("SELECT %s::int", 2) == [(2,)]
            assert opened.prepares

    asyncio.run(ask())


def test_connections_live_as_long_as_django_says(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "CONN_MAX_AGE", 0)

    async def ask():
        async with pool(1):
            return [await async_db.fetch(PID) for _ in range(2)]

    first, second = asyncio.run(ask())

    assert first != second


def test_a_closed_pool_leaves_no_connection(other):
    async def ask():
        async with pool(2):
            asked = asyncio.create_task(async_db.fetch(LOCK, 1))
            await waiting(other, 1)
            ((idle,),) = await async_db.fetch(PID)
        busy = other.execute(WAITING).fetchone()[0]
        other.execute("SELECT pg_advisory_unlock(1)")
        await asked
        return [idle, busy]

    pids = asyncio.run(ask())

    until(lambda: not other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = ANY(%s)", [pids]).fetchall())
