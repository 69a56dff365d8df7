"""Indexes of big tables, made and removed while others go on writing: on PostgreSQL CONCURRENTLY, on SQLite as ever.

The migration says `atomic = False`, and may be run again after an interruption.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.postgres import operations
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


class AddIndexConcurrently(operations.AddIndexConcurrently):
    def database_forwards(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, *states: Any) -> None:
        kind = operations.AddIndexConcurrently if _is_concurrent(schema_editor) else migrations.AddIndex
        with _patient(schema_editor):
            # One that an interrupted run has left is not valid, and in the way.
            _drop(schema_editor, self.index.name)
            kind.database_forwards(self, app_label, schema_editor, *states)

    def database_backwards(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, *states: Any) -> None:
        with _patient(schema_editor):
            _drop(schema_editor, self.index.name)


class RemoveIndexConcurrently(operations.RemoveIndexConcurrently):
    def database_forwards(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, *states: Any) -> None:
        with _patient(schema_editor):
            _drop(schema_editor, self.name)

    def database_backwards(self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, *states: Any) -> None:
        kind = operations.RemoveIndexConcurrently if _is_concurrent(schema_editor) else migrations.RemoveIndex
        with _patient(schema_editor):
            _drop(schema_editor, self.name)
            kind.database_backwards(self, app_label, schema_editor, *states)


def _is_concurrent(schema_editor: BaseDatabaseSchemaEditor) -> bool:
    return schema_editor.connection.vendor == "postgresql"


def _drop(schema_editor: BaseDatabaseSchemaEditor, name: str) -> None:
    how = "CONCURRENTLY " if _is_concurrent(schema_editor) else ""
    schema_editor.execute(f"DROP INDEX {how}IF EXISTS {schema_editor.quote_name(name)}")


@contextmanager
def _patient(schema_editor: BaseDatabaseSchemaEditor) -> Iterator[None]:
    """These statements wait until all older transactions have ended, and block no one meanwhile: they need no
    `lock_timeout`, which would leave them half done."""
    if not _is_concurrent(schema_editor):
        yield
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('lock_timeout'), set_config('lock_timeout', '0', false)")
        before = cursor.fetchone()[0]
        try:
            yield
        finally:
            cursor.execute("SELECT set_config('lock_timeout', %s, false)", [before])
