"""Whether the database takes writes, by a small write of our own: a full disk and a primary that has become read-only
answer every question."""

from __future__ import annotations

import threading
import time

from django.db import Error, connection, transaction

#: Seconds between two writes, however many ask.
INTERVAL = 5.0

# A new file, so that it takes a page of the disk; rows of a table that is there may find room in its pages. Its commit
# takes a page of the log.
_ON_POSTGRESQL = "CREATE TEMPORARY TABLE write_check AS SELECT 1 AS one; DROP TABLE write_check"
# In the first page of the file; nothing else of ours or Django's uses it.
_ON_SQLITE = "PRAGMA user_version = {}"

_lock = threading.Lock()
_failure, _next_at, _number = "", 0.0, 0


def failure() -> str:
    """What kept the last write from being taken, such as `DiskFull` or `SQLITE_READONLY`; empty: nothing did.

    Who asks while another's write is under way has the answer of the one before. Raises nothing.
    """
    global _failure, _next_at
    if time.monotonic() >= _next_at and _lock.acquire(blocking=False):
        try:
            _failure = _write()
            _next_at = time.monotonic() + INTERVAL
        finally:
            _lock.release()
    return _failure


def forget() -> None:
    """Write anew when asked next."""
    global _failure, _next_at
    _failure, _next_at = "", 0.0


def _write() -> str:
    global _number
    _number = _number % 1_000_000 + 1
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_ON_POSTGRESQL if connection.vendor == "postgresql" else _ON_SQLITE.format(_number))
    except Error as error:
        # With its library two MiB, for nothing on PostgreSQL.
        import sqlite3

        cause = error.__cause__ or error
        name = getattr(cause, "sqlite_errorname", type(cause).__name__)
        # Another writes at the moment; a role that may make no temporary table can still be one that writes.
        is_busy = getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
        return "" if is_busy or name == "InsufficientPrivilege" else name
    return ""
