"""A few connections to PostgreSQL, driven by the event loop; lib/async_db.py says when they are used.

libpq is driven here, through psycopg's own wrapper, for waiting is what costs. With 32 waiting at once a statement took
63 µs of CPU (140 µs unprepared), with psycopg's AsyncConnection 190, with its AsyncConnectionPool 400, on a lane with a
cursor of Django's 700.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import count
from typing import Any

import psycopg
from django.db import OperationalError, connection
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import DuplicatePreparedStatement, FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.pq import ConnStatus, ExecStatus, abc

from lib.db import libpq_parameters

#: How long a statement waits for a connection to become free.
_WAIT_SECONDS = 10


class _Query:
    """A statement as libpq takes it.

    Its name says what it is: behind a pooler another process may have prepared it on the same connection.
    """

    def __init__(self, sql: str) -> None:
        numbers = count(1)
        self.text = re.sub("%s", lambda _: f"${next(numbers)}", sql).encode()
        #: Of the columns, known from the first answer on.
        self.names: list[str] | None = None
        self.name = b"switchboard_" + sha256(self.text).hexdigest()[:32].encode()


# As many as there are statements in the code.
_query = cache(_Query)


class _Connection:
    """One connection and the statement it is busy with, if any."""

    def __init__(self, pool: Pool, opened: psycopg.AsyncConnection[Any]) -> None:
        self.pool, self.opened, self.pgconn = pool, opened, opened.pgconn
        self.transformer = Transformer(opened)
        self.prepared: set[bytes] = set()
        self.ends_at = time.monotonic() + pool.max_age
        self.answer: asyncio.Future[abc.PGresult] | None = None
        self.result: abc.PGresult | None = None
        self.is_closed = False
        #: Busy for a request that was cancelled: it goes back with the answer.
        self.is_abandoned = False
        pool.opened += 1
        # What is sent fits into an empty buffer, since there is one statement at a time: sending never blocks.
        self.pgconn.nonblocking = 0
        self.socket = self.pgconn.socket
        # For as long as the connection lives, so that one which the server ends is noticed while it idles, too.
        pool.loop.add_reader(self.socket, self._read)

    @property
    def is_usable(self) -> bool:
        return not self.is_closed and self.pgconn.status == ConnStatus.OK and time.monotonic() < self.ends_at

    async def ask(self, query: _Query, params: Sequence[Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
        values = self.transformer.dump_sequence(params, [PyFormat.TEXT] * len(params))
        if self.pool.prepares:
            try:
                result = await self._ask_prepared(query, values)
            except (InvalidSqlStatementName, FeatureNotSupported):
                # A pooler gave us another connection, or a migration changed a column; nothing was done yet.
                self.pool.prepares = False
        if not self.pool.prepares:
            self.pgconn.send_query_params(query.text, values)
            result = await self._answered()
        self.transformer.set_pgresult(result)
        if query.names is None:
            query.names = [(result.fname(number) or b"").decode() for number in range(result.nfields)]
        return query.names, self.transformer.load_rows(0, result.ntuples, tuple)

    async def _ask_prepared(self, query: _Query, values: Sequence[Any]) -> abc.PGresult:
        if query.name not in self.prepared:
            self.pgconn.send_prepare(query.name, query.text)
            with suppress(DuplicatePreparedStatement):
                await self._answered()
            self.prepared.add(query.name)
        self.pgconn.send_query_prepared(query.name, values)
        return await self._answered()

    async def _answered(self) -> abc.PGresult:
        self.answer = self.pool.loop.create_future()
        result = await self.answer
        if result.status not in {ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK}:
            raise error_from_result(result)
        return result

    def _read(self) -> None:
        try:
            self.pgconn.consume_input()
            while not self.pgconn.is_busy():
                result = self.pgconn.get_result()
                if result is None:
                    self._finish(self.result)
                    return
                self.result = result
        except psycopg.OperationalError as error:
            self.close()
            self._finish(error)

    def _finish(self, outcome: abc.PGresult | Exception | None) -> None:
        answer, self.answer, self.result = self.answer, None, None
        if self.is_abandoned:
            self.is_abandoned = False
            self.pool.give_back(self)
        elif answer is None or answer.done():
            # It was idle; or its request was cancelled just now, and is about to give it back.
            return
        elif isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)  # type: ignore[arg-type]

    def close(self) -> None:
        # Once: the number of the socket may be another's by now.
        if not self.is_closed:
            self.is_closed = True
            self.pool.opened -= 1
            self.pool.loop.remove_reader(self.socket)
            self.pgconn.finish()


class Pool:
    """At most `size` connections, opened when they are needed, none of them for longer than `max_age` seconds."""

    def __init__(self, size: int, max_age: float) -> None:
        self.max_age = max_age
        self.prepares = True
        self.is_closed = False
        self.opened = 0
        self.idle: list[_Connection] = []
        self.slots = asyncio.Semaphore(size)

    async def ask(self, sql: str, params: Sequence[Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
        try:
            taken = await self._take()
            try:
                return await taken.ask(_query(sql), params)
            finally:
                if taken.answer is None:
                    self.give_back(taken)
                else:
                    taken.is_abandoned = True
        except psycopg.Error:
            # As Django's own cursor words it.
            with connection.wrap_database_errors:
                raise

    async def _take(self) -> _Connection:
        if self.slots.locked():
            try:
                async with asyncio.timeout(_WAIT_SECONDS):
                    await self.slots.acquire()
            except TimeoutError:
                raise OperationalError("no connection to the database became free") from None
        else:
            await self.slots.acquire()
        while self.idle:
            if (newest := self.idle.pop()).is_usable:
                return newest
            newest.close()
        try:
            return await self._open()
        except BaseException:
            self.slots.release()
            raise

    async def _open(self) -> _Connection:
        self.loop = asyncio.get_running_loop()
        opened = await psycopg.AsyncConnection.connect(**libpq_parameters(), autocommit=True)
        try:
            await opened.execute("SELECT set_config('TimeZone', 'UTC', false)")
        except BaseException:
            await opened.close()
            raise
        return _Connection(self, opened)

    def give_back(self, taken: _Connection) -> None:
        if taken.is_usable and not self.is_closed:
            self.idle.append(taken)
        else:
            taken.close()
        self.slots.release()

    def close(self) -> None:
        self.is_closed = True
        while self.idle:
            self.idle.pop().close()
