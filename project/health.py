"""`/healthz`: this process answers. `/readyz`: it may be sent traffic. `/metrics`: figures for Prometheus."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import Error as DatabaseFailure
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare

from feature_flags.runtime import store
from lib import metrics as counted
from lib import stopping
from lib.private import without_error_line
from notifications.services import health
from project import errors, write_check

logger = logging.getLogger("switchboard.health")
_told: dict[str, str] = {}


async def healthz(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ok", "checks": {}}` while the process answers."""
    return JsonResponse({"status": "ok", "checks": {}})


async def readyz(request: HttpRequest) -> JsonResponse:
    """200 `ok` or `degraded`, 503 `down` or `draining`; shape `{"status", "checks": {name: {"status", "reason"?}}}`.

    Down: before the first good start, and while migrations are missing. Afterwards a database that is lost, or takes no
    writes, only degrades: flags go on from memory.
    """
    if stopping.is_draining:
        return _readiness("draining", {})
    checks = await sync_to_async(_checks)()
    statuses = {check["status"] for check in checks.values()}
    status = next((word for word in ("down", "degraded") if word in statuses), "ok")
    _tell(checks)
    return _readiness(status, checks)


def _tell(checks: dict[str, dict[str, Any]]) -> None:
    """One line for each change, however often it is asked."""
    global _told
    found = {name: check["status"] for name, check in checks.items()}
    if found != _told and (_told or set(found.values()) != {"ok"}):
        reasons = {name: check["reason"] for name, check in checks.items() if "reason" in check}
        level = logging.ERROR if "database" in reasons else logging.WARNING if reasons else logging.INFO
        logger.log(level, "readiness changed", extra={"checks": found, "reasons": reasons})
    _told = found


def _readiness(status: str, checks: dict[str, dict[str, Any]]) -> JsonResponse:
    response = JsonResponse({"status": status, "checks": checks}, status=200 if status in {"ok", "degraded"} else 503)
    response["Cache-Control"] = "no-store"
    # It is asked every few seconds, and says itself what is wrong.
    return without_error_line(response)


def _checks() -> dict[str, dict[str, Any]]:
    try:
        missing = len(_known_migrations() - set(MigrationRecorder(connection).applied_migrations()))
        if missing:
            return {"migrations": {"status": "down", "reason": f"{missing} missing: run `manage.py migrate`"}}
        database = {"status": "ok"}
        if failure := write_check.failure():
            database = {"status": "degraded", "reason": f"the database takes no writes ({failure})"}
        return {"database": database, "mail": health.check(), "flags": _flags()}
    except DatabaseFailure as error:
        reason = f"database unreachable ({type(error).__name__})"
        return {"database": {"status": "degraded" if store.snapshot else "down", "reason": reason}, "flags": _flags()}


def _flags() -> dict[str, Any]:
    # Read here as well: after a first `migrate` readiness does not wait for the watcher's next try.
    if store.snapshot is None and store.refresh() is None:
        return {"status": "down", "reason": "no snapshot yet"}
    if (silent := store.stale_seconds()) > store.STALE_SECONDS:
        return {"status": "degraded", "reason": f"answered from memory, last confirmed {silent} seconds ago"}
    return {"status": "ok"}


@cache
def _known_migrations() -> frozenset[tuple[str, str]]:
    return frozenset(MigrationLoader(None, ignore_no_migrations=True).disk_migrations)


def _figures() -> str:
    asked = health.figures()
    if asked[0][2][()]:
        writable: dict[counted.Labels, float] = {(): float(not write_check.failure())}
        asked.append(("switchboard_database_writable", "Whether the database takes writes.", writable))
    return counted.text(asked)


async def metrics(request: HttpRequest) -> HttpResponse:
    """200 with METRICS_TOKEN as bearer; otherwise, as without one, there is no such page."""
    given = request.headers.get("Authorization", "")
    if not settings.METRICS_TOKEN or not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
        return errors.answer(request, 404)
    response = HttpResponse(await sync_to_async(_figures)(), content_type=counted.CONTENT_TYPE)
    response["Cache-Control"] = "no-store"
    return response
