"""Django's `migrate`, beside processes that go on serving."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands import migrate
from django.db import OperationalError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.errors import LockNotAvailable

_MIGRATING = 0x5377626D  # any number, the same in every process
#: Seconds between two tries: a little more each time.
_PAUSES = (1, 2, 4, 8, 8, 8, 8, 8, 8)

pause = time.sleep


class Command(migrate.Command):
    """On PostgreSQL, hosts that migrate at the same time take turns, and a migration that waits for a lock gives up
    after a moment and tries again: all who use the table stand in line behind it."""

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--lock-timeout",
            type=int,
            default=2000,
            metavar="MS",
            help="PostgreSQL: how long a try waits for a lock (default: %(default)s)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        if connection.vendor != "postgresql" or options["check_unapplied"] or options["plan"]:
            super().handle(*args, **options)
            return
        with _one_at_a_time(connection), _impatient(connection, options["lock_timeout"]):
            for seconds in (*_PAUSES, None):
                try:
                    super().handle(*args, **options)
                except OperationalError as error:
                    if not isinstance(error.__cause__, LockNotAvailable):
                        raise
                    if seconds is None:
                        text = "Gave up: a table stayed locked. What is done so far stays; run it again later."
                        raise CommandError(f"{text} {_others(connection)}") from error
                    self.stderr.write(f"A table is locked: trying again in {seconds} s. {_others(connection)}")
                    pause(seconds)
                else:
                    return


@contextmanager
def _one_at_a_time(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Ask again and again: one that waits in `pg_advisory_lock` has a snapshot, for whose end CREATE INDEX CONCURRENTLY
    of the one that holds the lock would wait in turn."""
    with connection.cursor() as cursor:
        while True:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [_MIGRATING])
            if cursor.fetchone()[0]:
                break
            pause(0.2)
        try:
            yield
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATING])


@contextmanager
def _impatient(connection: BaseDatabaseWrapper, milliseconds: int) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [f"{milliseconds}ms"])
        try:
            yield
        finally:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])


def _others(connection: BaseDatabaseWrapper) -> str:
    """Whose transactions have been open for longest: one of them holds the lock."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, coalesce(nullif(application_name, ''), usename), state,"
            " extract(epoch FROM now() - xact_start)::int FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid() AND xact_start IS NOT NULL"
            " ORDER BY xact_start LIMIT 3"
        )
        found = [f"{pid} ({name}, {state}, {seconds} s)" for pid, name, state, seconds in cursor.fetchall()]
    return f"Transactions open for longest, by pid: {', '.join(found)}." if found else ""
