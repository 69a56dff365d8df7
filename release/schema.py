"""Which migrations the release before cannot stand beside.

While a release is rolled out, processes of the one before go on reading and writing the new schema, and after it has
been rolled back they do again. What they name in a statement must still be there, what they leave out must have a
value, and nothing may hold a lock on a table for as long as it takes to read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from django.db import migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.migration import Migration
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState
from django.db.models import Value
from django.db.models.fields import NOT_PROVIDED
from django.db.models.functions import Now

from lib.migrations import AddIndexConcurrently, RemoveIndexConcurrently

_HARMLESS = (
    migrations.CreateModel,
    migrations.AlterModelManagers,
    migrations.AlterModelOptions,
    migrations.AlterModelTableComment,
    migrations.RemoveConstraint,
    migrations.RemoveIndex,
    migrations.RenameIndex,
    RemoveIndexConcurrently,
)
#: Of statements by hand, about a table that the release before knows.
_SQL = {
    r"\bDROP\s+TABLE\b": "the release before still uses the table",
    r"\bRENAME\b": "the release before still uses the old name",
    r"\bADD\s+COLUMN\b(?!.*\bDEFAULT\b).*\bNOT\s+NULL\b": "an INSERT of the release before leaves it out",
    r"\bSET\s+NOT\s+NULL\b": "the release before may write null",
    r"\bALTER\s+COLUMN\s+\S+\s+(SET\s+DATA\s+)?TYPE\b": "the table is written anew under lock",
    r"\bCREATE\s+(UNIQUE\s+)?INDEX\b(?!\s+CONCURRENTLY)": "nobody can write until it is made",
    r"\bADD\s+CONSTRAINT\b(?!.*\bNOT\s+VALID\b)": "the whole table is read under lock",
}
_TABLE = re.compile(r"\b(?:TABLE|ON)\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?\"?(\w+)", re.IGNORECASE)
_DROPPED = re.compile(r"\bDROP\s+COLUMN\s+(?:IF\s+EXISTS\s+)?\"?(\w+)", re.IGNORECASE)


class Fault(NamedTuple):
    """What a migration does that the release before cannot stand, unless its `excused` says under this name why it can.

    `class Migration: excused = {"AddIndex user.by_name": "a table of a hundred rows"}`
    """

    migration: str
    operation: str
    reason: str

    def __str__(self) -> str:
        return f"{self.migration}: {self.operation}: {self.reason}"


def since(before: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Our migrations that are not among those of the release before, `(app, name)`, in the order they run."""
    graph = MigrationLoader(None, ignore_no_migrations=True).graph
    apps = {app for app, _ in before}
    plan = {node: None for leaf in sorted(graph.leaf_nodes()) for node in graph.forwards_plan(leaf)}
    return [node for node in plan if node[0] in apps and node not in before]


def faults(before: set[tuple[str, str]]) -> list[Fault]:
    """Of all migrations since those of the release before."""
    graph = MigrationLoader(None, ignore_no_migrations=True).graph
    found = [
        Fault(".".join(node), "Migration", "is gone, and databases of the release before have applied it")
        for node in sorted(before - set(graph.nodes))
    ]
    old = graph.make_state(nodes=sorted(before & set(graph.nodes)), at_end=True, real_apps=None)
    state = old.clone()
    for node in since(before):
        found += faults_of(graph.nodes[node], state, old)
    return found


def faults_of(migration: Migration, state: ProjectState, old: ProjectState) -> list[Fault]:
    """Of one migration. `state`: the models before it, which it changes as the migration does; `old`: the models of the
    release before."""
    excused = dict(getattr(migration, "excused", {}))
    name = f"{migration.app_label}.{migration.name}"
    found = []
    for operation, is_real, is_known in _flat(migration.operations):
        reason = _reason(operation, migration, state, old) if is_real else _reason_of_state(operation, migration, state)
        if is_known:
            operation.state_forwards(migration.app_label, state)
        if reason and not excused.pop(_name(operation), ""):
            found.append(Fault(name, _name(operation), reason))
    return found + [Fault(name, each, "is excused, and needs no excuse") for each in excused]


def _flat(operations: Iterable[Operation]) -> Iterator[tuple[Any, bool, bool]]:
    """Each operation, whether it changes the database, and whether it changes the models."""
    for operation in operations:
        if isinstance(operation, migrations.SeparateDatabaseAndState):
            for each, _, _ in _flat(operation.database_operations):
                yield each, True, False
            for each, _, _ in _flat(operation.state_operations):
                yield each, False, True
        else:
            yield operation, True, True


def _name(operation: Any) -> str:
    model = getattr(operation, "model_name", None) or getattr(operation, "old_name", None) or ""
    part = next(
        (
            getattr(getattr(operation, each), "name", getattr(operation, each))
            for each in ("index", "constraint", "old_name", "name")
            if getattr(operation, each, None)
        ),
        "",
    )
    named = ".".join(dict.fromkeys(filter(None, (model.lower(), part if model else part.lower()))))
    return f"{type(operation).__name__} {named}".strip()


def _reason_of_state(operation: Any, migration: Migration, state: ProjectState) -> str:
    """Why a change of the models alone leaves the table unfit for them."""
    if isinstance(operation, migrations.RemoveField):
        field = state.models[migration.app_label, operation.model_name_lower].fields[operation.name]
        if not field.many_to_many and not _may_be_left_out(field):
            return "an INSERT leaves it out, and the column has no default: give it a db_default first"
    return ""


def _reason(operation: Any, migration: Migration, state: ProjectState, old: ProjectState) -> str:
    if isinstance(operation, migrations.RunSQL):
        return _reason_of_sql(operation, old)
    if isinstance(operation, migrations.RunPython):
        return _reason_of_python(migration, old)
    model = getattr(operation, "model_name_lower", None) or getattr(operation, "old_name_lower", None)
    model = model or getattr(operation, "name_lower", "")
    if isinstance(operation, _HARMLESS) or (migration.app_label, model) not in old.models:
        return ""
    if isinstance(operation, AddIndexConcurrently):
        return "the migration has to say atomic = False" if migration.atomic else ""
    if isinstance(operation, migrations.AddIndex):
        return "nobody can write until it is made: use AddIndexConcurrently of lib/migrations.py"
    if isinstance(operation, migrations.AddField):
        return _reason_of_new(operation.field)
    if isinstance(operation, migrations.AlterField):
        before = state.models[migration.app_label, model].fields.get(operation.name)
        return _reason_of_altered(before, operation.field) if before else ""
    if isinstance(operation, (migrations.RemoveField, migrations.RenameField)):
        field = getattr(operation, "old_name", None) or operation.name
        if field not in old.models[migration.app_label, model].fields:
            return ""
        return "the release before still uses it: take it from the models first, from the table one release later"
    if isinstance(operation, (migrations.DeleteModel, migrations.RenameModel, migrations.AlterModelTable)):
        return "the release before still uses the table"
    if isinstance(operation, migrations.AddConstraint):
        return "the whole table is read under lock, and the release before may write what it forbids"
    return "say why the release before can stand beside it"


def _reason_of_sql(operation: migrations.RunSQL, old: ProjectState) -> str:
    statements = [operation.sql] if isinstance(operation.sql, str) else operation.sql
    tables = {model.options.get("db_table") or "_".join(key): model for key, model in old.models.items()}
    for statement in statements:
        text = statement if isinstance(statement, str) else statement[0]
        known = [tables[name] for name in _TABLE.findall(text) if name in tables]
        if {column for model in known for column in _columns(model)} & set(_DROPPED.findall(text)):
            return "the release before still uses it"
        for pattern, reason in _SQL.items():
            if known and re.search(pattern, text, re.IGNORECASE | re.DOTALL):
                return reason
    return ""


def _columns(model: ModelState) -> Iterator[str]:
    for name, field in model.fields.items():
        yield field.db_column or (f"{name}_id" if field.is_relation else name)


def _reason_of_python(migration: Migration, old: ProjectState) -> str:
    """Rows are moved for as long as it takes: no lock of a table may be held meanwhile."""
    beside = [each for each, is_real, _ in _flat(migration.operations) if is_real]
    is_alone = all(isinstance(each, (migrations.RunPython, migrations.CreateModel)) for each in beside)
    return (
        "" if is_alone or not migration.atomic else "holds the locks of its neighbours: put it into a migration apart"
    )


def _reason_of_new(field: Any) -> str:
    if field.many_to_many:
        return ""
    if not _may_be_left_out(field):
        return "an INSERT of the release before leaves it out: give it a db_default"
    computed = hasattr(field.db_default, "resolve_expression") and not isinstance(field.db_default, (Value, Now))
    if computed or getattr(field, "generated", False):
        return "it has another value in each row, for which the table is written anew under lock"
    if field.db_index or field.unique:
        return "nobody can write until its index is made: db_index=False, and AddIndexConcurrently in a migration apart"
    return ""


def _may_be_left_out(field: Any) -> bool:
    return field.null or field.db_default is not NOT_PROVIDED or getattr(field, "generated", False)


def _reason_of_altered(before: Any, after: Any) -> str:
    if before.null and not after.null:
        return "the release before may write null"
    if (after.unique and not before.unique) or (after.db_index and not before.db_index):
        return "nobody can write until its index is made"
    if before.get_internal_type() != after.get_internal_type():
        return "the table is written anew under lock, and the release before may not know the type"
    for bound in ("max_length", "max_digits", "decimal_places"):
        least, most = getattr(before, bound, None), getattr(after, bound, None)
        if most is not None and (least is None or most < least):
            return f"narrows {bound}"
    if not _may_be_left_out(after) and _may_be_left_out(before):
        return "an INSERT of the release before may leave it out"
    return ""
