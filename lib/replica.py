"""A copy of the database (DATABASE_REPLICA_URL) for what may be a second old: lists that staff look at, and exports.

Nothing else is read there: callers that want the copy ask for it by `read`. What its rows lead to is read beside them.
Whoever has just changed something reads the database itself for a while, so that no list seems to have lost it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from django.conf import settings
from django.core.signals import request_started
from django.db import DEFAULT_DB_ALIAS, Error, connections
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger("switchboard.replica")

ALIAS = "replica"
#: Seconds that a copy is left alone after it could not be used; one line of the log for each.
PAUSE = 30.0
#: In the browser of somebody who has changed something, for that many seconds: longer than a copy in use can be behind,
#: which is PostgreSQL's `wal_receiver_timeout` (60) where nothing but the network in between is away.
COOKIE, OWN_SECONDS = "changed", 75
#: A row that says whether a copy follows: it receives, and has applied what it received, or did so a moment ago.
FOLLOWS = """SELECT pg_is_in_recovery() AND EXISTS (SELECT 1 FROM pg_stat_wal_receiver)
  AND (pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
       OR now() - pg_last_xact_replay_timestamp() < interval '5 s')"""

_QUESTIONS = frozenset({"GET", "HEAD", "OPTIONS"})

M = TypeVar("M", bound=Model)
_has_written: ContextVar[bool] = ContextVar("lib.replica.has_written", default=False)
_paused_until = 0.0
# Servers of the older kind use a thread for one request after the other.
request_started.connect(lambda **_: _has_written.set(False), weak=False, dispatch_uid="lib.replica")


class Router:
    """Reads stay with the rows they begin with, all writes go to the database itself, which alone is migrated."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return None

    def db_for_write(self, model: type[Model], **hints: Any) -> str:
        _has_written.set(True)
        return DEFAULT_DB_ALIAS

    def allow_relation(self, one: Model, other: Model, **hints: Any) -> bool:
        return True

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return db == DEFAULT_DB_ALIAS


class OwnChangesMiddleware:
    """Marks the browser that has sent anything but a question; `read` looks for the mark."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if ALIAS in connections.settings and request.method not in _QUESTIONS:
            secure = settings.SESSION_COOKIE_SECURE
            response.set_cookie(COOKIE, "1", max_age=OWN_SECONDS, secure=secure, httponly=True, samesite="Lax")
        return response


def read(rows: QuerySet[M], request: HttpRequest) -> QuerySet[M]:
    """The same rows of the copy; of the database itself without one, when it is away or behind, in a transaction, after
    a write of the same request, and for who has just changed something."""
    global _paused_until
    if ALIAS not in connections.settings or _has_written.get() or connections[DEFAULT_DB_ALIAS].in_atomic_block:
        return rows
    if request.method not in _QUESTIONS or COOKIE in request.COOKIES:
        return rows
    if (now := time.monotonic()) < _paused_until:
        return rows
    copy = connections[ALIAS]
    try:
        with copy.cursor() as cursor:
            cursor.execute(FOLLOWS)
            (follows,) = cursor.fetchone() or (False,)
    except Error as error:
        copy.close()
        why = type(error).__name__
    else:
        if follows:
            return rows.using(ALIAS)
        why = "behind"
    _paused_until = now + PAUSE
    logger.warning("the replica is not used, lists are read from the database itself", extra={"why": why})
    return rows
