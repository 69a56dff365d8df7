"""The database as migrations leave it, after each test whose transactions are real.

Django's own `flush` truncates every table and has every app make its rows again, which takes longer than most tests.
"""

import contextlib

from django.db import connection, transaction
from django.test import TransactionTestCase

from users.services import audit

_AUDIT = "users_auditevent"
_tables = []
#: What migrations put in: the table, and its columns; the rows are in a table beside it.
_kept = {}


def keep():
    """Remember the rows there are now, and bring these back instead of flushing."""
    # The index of names follows the table of users by triggers.
    names = set(connection.introspection.table_names()) - {"django_migrations"}
    _tables[:] = [name for name in names if not name.startswith("users_usersearch")]
    with connection.cursor() as cursor:
        for table in _with_rows(cursor):
            columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
            _kept[table] = ", ".join(f'"{column}"' for column in columns)
            cursor.execute(f'CREATE TABLE "kept_{table}" AS SELECT {_kept[table]} FROM "{table}"')
    TransactionTestCase._fixture_teardown = lambda *args: restore()


def restore():
    """In one transaction, at whose end the foreign keys are checked."""
    with transaction.atomic(), connection.cursor() as cursor:
        written = _with_rows(cursor)
        with audit.purging() if _AUDIT in written else contextlib.nullcontext():
            for table in written:
                cursor.execute(f'DELETE FROM "{table}"')
        for table, columns in _kept.items():
            cursor.execute(f'INSERT INTO "{table}" ({columns}) SELECT {columns} FROM "kept_{table}"')


def _with_rows(cursor):
    cursor.execute(" UNION ALL ".join(f"SELECT '{name}' WHERE EXISTS (SELECT 1 FROM \"{name}\")" for name in _tables))
    return [name for (name,) in cursor.fetchall()]
