"""The product with two doors more, to look inside: `uvicorn benchmarks.accounts.inside:application`.

`/bench/statements` tells what the requests since the last time asked the database, `/bench/lag` how late the event
loop was since then, in milliseconds.
"""

import asyncio
import json
import threading
import time
from typing import Any

from django.db.backends.signals import connection_created

from lib.pg_pool import Pool
from project.asgi import application as product

TICK = 0.005
#: BEGIN and the like are no questions.
ASIDE = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")

statements: list[str] = []
lags: list[float] = []
_ticking: set[Any] = set()


def _note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
    # Requests alone: the watcher of the flags and the periodic jobs have threads of their own.
    if threading.current_thread().name.startswith("lane-") and not sql.startswith(ASIDE):
        statements.append(sql)
    return execute(sql, params, many, context)


def _watch(connection: Any, **_: Any) -> None:
    if _note not in connection.execute_wrappers:
        connection.execute_wrappers.append(_note)


connection_created.connect(_watch)


async def _ask(pool: Any, sql: str, params: Any) -> Any:
    statements.append(sql)
    return await _asked(pool, sql, params)


# What is asked on the event loop goes through no connection of Django's.
_asked, Pool.ask = Pool.ask, _ask  # type: ignore[method-assign]


async def _tick() -> None:
    while True:
        due = time.perf_counter() + TICK
        await asyncio.sleep(TICK)
        lags.append((time.perf_counter() - due) * 1000)


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "http" and not _ticking:
        _ticking.add(asyncio.get_running_loop().create_task(_tick()))
    found = {"/bench/statements": statements, "/bench/lag": lags}.get(scope.get("path", ""))
    if found is None:
        await product(scope, receive, send)
        return
    body = json.dumps(found).encode()
    found.clear()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
