"""The seed's database: which columns it has, and its rows, read without loading them all."""

import re
from collections.abc import Collection, Iterator
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from lib.text import require_storable

#: By table: the columns of each type, and the ones that must be there; an older seed may lack the others.
TABLES = {
    "users": {
        "text": "id email hashed_password first_name last_name created_by updated_by",
        "boolean": "is_active is_superuser is_verified",
        "integer": "login_failed_count",
        "timestamp": "last_login verified_on deactivated_on",
        "timestamptz": "created_on updated_on",
    },
    "feature_flags": {
        "text": "codename label description created_by updated_by",
        "boolean": "is_active",
        "timestamptz": "created_on updated_on",
    },
}
_REQUIRED = {"users": ("id", "email", "hashed_password"), "feature_flags": ("codename", "is_active")}

# Of accounts with one address the one people have been using comes first.
_IN_USE_FIRST = """
SELECT * FROM ({rows}) AS rows
ORDER BY is_verified DESC NULLS LAST, last_login DESC NULLS LAST, created_on DESC NULLS LAST, id
"""


class SourceError(Exception):
    """The source cannot be reached, or is no database of the seed; the message holds no secret."""


class Source:
    """One read-only connection to the seed's database; a context manager."""

    def __init__(self, dsn: str) -> None:
        options = {"connect_timeout": 10, **_parts(dsn), "client_encoding": "utf8"}
        try:
            self._connection = psycopg.connect(**options, row_factory=dict_row)
            self._connection.read_only = True
            # One snapshot for all that is read, however long it takes.
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            # What has no zone is UTC, wherever the server stands. Set in the transaction: poolers take no options.
            self._connection.execute("SET TIME ZONE 'UTC'")
        except (psycopg.Error, UnicodeError, ValueError) as error:
            # Only the kind: a driver may repeat the address it was given.
            raise SourceError(f"The source cannot be reached ({type(error).__name__}).") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check(self, tables: Collection[str]) -> None:
        """SourceError when one of the tables cannot be read: before anything is written, not half-way."""
        for table in tables:
            self._select(table)

    def users(self, batch: int) -> Iterator[dict[str, Any]]:
        """Every row, those in use first. Which addresses are one no database says: each has blanks of its own."""
        return self._rows(sql.SQL(_IN_USE_FIRST).format(rows=self._select("users")), batch)

    def flags(self, batch: int) -> Iterator[dict[str, Any]]:
        """Every row, the oldest first."""
        query = sql.SQL("SELECT * FROM ({rows}) AS rows ORDER BY created_on NULLS LAST, codename")
        return self._rows(query.format(rows=self._select("feature_flags")), batch)

    def _select(self, table: str) -> sql.Composed:
        query = """
            SELECT attname FROM pg_attribute
            WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
        """
        try:
            known = {row["attname"] for row in self._connection.execute(query, [table]).fetchall()}
        except psycopg.Error as error:
            raise SourceError(f"The source cannot be read ({type(error).__name__}).") from None
        if not known:
            raise SourceError(f"The source is no database of the seed: it has no table {table}.")
        if missing := [name for name in _REQUIRED[table] if name not in known]:
            raise SourceError(f"The source is no database of the seed: {table} lacks {', '.join(missing)}.")
        wanted = [(name, kind) for kind, names in TABLES[table].items() for name in names.split()]
        chosen = [_column(name, kind, is_there=name in known) for name, kind in wanted]
        return sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(chosen), sql.Identifier(table))

    def _rows(self, query: sql.Composed, batch: int) -> Iterator[dict[str, Any]]:
        try:
            with self._connection.cursor(name="rows") as cursor:
                cursor.itersize = batch
                cursor.execute(query)
                yield from cursor
        except (psycopg.Error, UnicodeError) as error:
            raise SourceError(f"The source cannot be read ({type(error).__name__}).") from None


def _parts(dsn: str) -> dict[str, Any]:
    """What the driver needs to connect; SourceError for an address it cannot read."""
    # SQLAlchemy names its driver in the address: postgresql+asyncpg://…, which says `ssl` where others say `sslmode`.
    dsn = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", dsn.strip())
    if dsn.startswith("postgresql://"):
        dsn = re.sub(
            r"([?&])ssl=(true|(?P<mode>[\w-]+))", lambda ssl: f"{ssl[1]}sslmode={ssl['mode'] or 'require'}", dsn
        )
    try:
        return dict(conninfo_to_dict(require_storable(dsn)))
    except (psycopg.Error, UnicodeError, ValueError):
        # Without the cause: it repeats what it could not read, which may be a password.
        raise SourceError(
            "The source cannot be reached: its address cannot be read; percent-encode what is special in its password."
        ) from None


def _column(name: str, kind: str, *, is_there: bool) -> sql.Composed:
    text = "{column}::{kind} AS {column}"
    if not is_there:
        text = "NULL::{kind} AS {column}"
    elif kind in {"timestamp", "timestamptz"}:
        # Python knows the years 1 to 9999 and no infinity.
        text = "CASE WHEN {column} BETWEEN '0002-01-01' AND '9998-12-31' THEN {column}::{kind} END AS {column}"
    return sql.SQL(text).format(column=sql.Identifier(name), kind=sql.SQL(kind))
