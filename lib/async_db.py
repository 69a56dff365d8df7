"""Single statements of hot answers, asked on the event loop: no thread, no hop.

Between `open_pool` and `close_pool` (the lifespan of a server on PostgreSQL) a few connections of their own take them.
Everywhere else (SQLite; tests, whose transactions belong to Django's connection) the same call runs on the request's
lane. Each statement is a transaction of its own; whatever needs several in one belongs on a lane.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakSet

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from lib import metrics, tracing
from lib.asgi import on_lane
from lib.db import adapted

if TYPE_CHECKING:
    from lib.pg_pool import Pool

M = TypeVar("M", bound=models.Model)
_pool: Pool | None = None
_made: WeakSet[BaseDatabaseWrapper] = WeakSet()
connection_created.connect(lambda connection, **_: _made.add(connection), weak=False)
metrics.Gauge(
    "switchboard_database_connections",
    "Connections to the database: of threads, and of the event loop.",
    lambda: {
        ("threads",): sum(each.connection is not None for each in list(_made)),
        ("event loop",): _pool.opened if _pool else 0,
    },
    ("of",),
)


def open_pool(size: int) -> None:
    """From here on statements run on the event loop, where the database can do that."""
    global _pool
    if connection.vendor == "postgresql":
        from lib.pg_pool import Pool

        age = settings.DATABASES[DEFAULT_DB_ALIAS]["CONN_MAX_AGE"]
        _pool = Pool(size, inf if age is None else age)


def close_pool() -> None:
    """Close idle connections at once and busy ones with their answers; any thread may call it."""
    global _pool
    pool, _pool = _pool, None
    if pool is not None and hasattr(pool, "loop"):
        pool.loop.call_soon_threadsafe(pool.close)


async def fetch(sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """The rows of one statement, as this database's driver gives them.

    `sql` is a constant of the code, with `%s` for each of `params`, whose types PostgreSQL must be able to infer.

    Raises: what Django's cursor raises.
    """
    if _pool is None:
        return await on_lane(_fetch, sql, params)
    return (await _ask(_pool, sql, params))[1]


async def _ask(pool: Pool, sql: str, params: Sequence[Any]) -> tuple[list[str], list[tuple[Any, ...]]]:
    if tracing.tracer is None:
        return await pool.ask(sql, params)
    with tracing.statement(sql):
        return await pool.ask(sql, params)


async def objects(model: type[M], sql: str, *params: Any) -> list[M]:
    """The rows of one statement as objects; a column that is no field becomes an attribute, as in `Manager.raw`."""
    if _pool is None:
        return await on_lane(_objects, model, sql, params)
    names, rows = await _ask(_pool, sql, params)
    fields = [field.attname for field in model._meta.concrete_fields if field.attname in names]
    order = [names.index(name) for name in fields]
    more = [(name, number) for number, name in enumerate(names) if name not in fields]
    found = []
    for row in rows:
        item = model.from_db(DEFAULT_DB_ALIAS, fields, [row[number] for number in order])
        for name, number in more:
            setattr(item, name, row[number])
        found.append(item)
    return found


def row(item: models.Model) -> tuple[str, list[Any]]:
    """The columns of a new row, but for the key that the database gives, and its values as `fetch` takes them on
    PostgreSQL; the ORM takes five times as long, for it asks each field."""
    from psycopg.types.json import Jsonb

    columns, names = _columns(type(item), item.pk is None)
    values = (item.__dict__[name] for name in names)
    return columns, [Jsonb(value) if isinstance(value, (dict, list)) else value for value in values]


@cache
def _columns(model: type[models.Model], is_numbered: bool) -> tuple[str, list[str]]:
    fields = [field for field in model._meta.concrete_fields if not (is_numbered and field.primary_key)]
    return ", ".join(f'"{field.column}"' for field in fields), [field.attname for field in fields]


def _fetch(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, adapted(*params))
        return cursor.fetchall() if cursor.description else []


def _objects(model: type[M], sql: str, params: Sequence[Any]) -> list[M]:
    return list(model._default_manager.raw(sql, adapted(*params)))
