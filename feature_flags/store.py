"""The flags as this process last saw them: immutable, swapped as one, rebuilt when the revision has moved."""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from django.db import Error, OperationalError, connection

from feature_flags.models import FeatureFlag
from lib.errors import ProductError

logger = logging.getLogger("switchboard.flags")

#: After a lost connection, how long reads are answered without asking again: a connect may take seconds to fail.
RETRY_SECONDS = 1.0
LOG_SECONDS = 60.0

_REVISION_SQL = "SELECT revision FROM feature_flags_flagsetstate WHERE id = 1"


@dataclass(frozen=True, slots=True)
class Snapshot:
    revision: int
    states: Mapping[str, bool]
    seed_list: bytes


_EMPTY: Mapping[str, bool] = MappingProxyType({})

_snapshot: Snapshot | None = None
_retry_at = 0.0
_log_at = 0.0


def current() -> Snapshot | None:
    """The newest snapshot: one query, plus one when the revision has moved.

    Without a database it is the last one that was read; None when there was none yet.
    """
    global _snapshot
    if time.monotonic() < _retry_at:
        return _snapshot
    try:
        revision = _read_revision()
        known = _snapshot
        if known is not None and known.revision == revision:
            return known
        # Revision first, rows second: rows may be newer than their number, and the next read then notices.
        fresh = _build(revision)
    except Error as error:
        return _last_known(error)
    # Inside a transaction the revision may still be rolled back and its number given to other rows: keep nothing.
    if not connection.in_atomic_block:
        _snapshot = fresh
    return fresh


def states() -> Mapping[str, bool]:
    """Stored switches by codename; empty when nothing was ever read."""
    snapshot = current()
    return snapshot.states if snapshot else _EMPTY


def seed_list() -> bytes:
    """The list of all flags as JSON, in codename order. FLAGS_UNAVAILABLE when nothing was ever read."""
    snapshot = current()
    if snapshot is None:
        raise ProductError("FLAGS_UNAVAILABLE", "The flags cannot be read yet.", status=503, retry_after=1)
    return snapshot.seed_list


def ready() -> bool:
    """Whether flags can be answered, from the database or from what was read of it before."""
    return current() is not None


def is_loaded() -> bool:
    """Whether this process has ever read the flags; asks nothing."""
    return _snapshot is not None


def forget() -> None:
    """Start anew: the database is another one than before, so its revisions may repeat."""
    global _snapshot, _retry_at, _log_at
    _snapshot, _retry_at, _log_at = None, 0.0, 0.0


def _read_revision() -> int:
    with connection.cursor() as cursor:
        cursor.execute(_REVISION_SQL)
        row = cursor.fetchone()
    return int(row[0]) if row else 0


def _build(revision: int) -> Snapshot:
    rows = FeatureFlag.objects.values_list("codename", "label", "description", "is_active")
    # Sorted here: the databases disagree about the order of letters.
    listed = [
        {"codename": codename, "label": label, "description": description, "is_active": is_active}
        for codename, label, description, is_active in sorted(rows, key=lambda row: row[0])
    ]
    return Snapshot(
        revision=revision,
        states=MappingProxyType({str(flag["codename"]): bool(flag["is_active"]) for flag in listed}),
        seed_list=json.dumps(listed, ensure_ascii=False, separators=(",", ":")).encode(),
    )


def _last_known(error: Error) -> Snapshot | None:
    global _retry_at, _log_at
    now = time.monotonic()
    if isinstance(error, OperationalError):
        _retry_at = now + RETRY_SECONDS
    if now >= _log_at:
        _log_at = now + LOG_SECONDS
        # Only the kind: a driver's message may repeat addresses and names.
        logger.error(
            "flags cannot be read from the database, answering from memory",
            extra={"error": type(error).__name__, "revision": _snapshot.revision if _snapshot else None},
        )
    if not connection.in_atomic_block:
        # Threads outside a request have nobody else to drop a connection that broke.
        connection.close_if_unusable_or_obsolete()
    return _snapshot
