"""The server's OpenAPI document, kept in the user's cache folder: one file per server."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from pathlib import Path

from switchboard_client import operations
from switchboard_client.server import Server


def load(server: Server, *, refresh: bool = False) -> tuple[list[operations.Operation], bool]:
    """What the server can do, and whether it was asked for that: with `refresh`, or after ten minutes, by the `ETag`.

    Raises: Refused.
    """
    given = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    file = Path(given, "switchboard", f"{hashlib.sha256(server.url.encode()).hexdigest()[:32]}.json")
    document, etag, is_fresh = {}, "", False
    with contextlib.suppress(OSError, ValueError, TypeError):  # also of what another version left
        document, etag, at = json.loads(file.read_bytes())
        is_fresh = 0 <= time.time() - at < 600
    if is_fresh and not refresh:
        return operations.read(document), False
    answer = server.ask("GET", "/api/openapi.json", {"If-None-Match": etag} if etag else {})
    if answer.status != 304:
        document, etag = answer.json(), answer.headers.get("ETag", "")
    known = operations.read(document)
    with contextlib.suppress(OSError):  # a folder that cannot be written costs time, no more
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = file.with_suffix(f".{os.getpid()}")
        made.write_text(json.dumps([document, etag, time.time()]))
        made.replace(file)
    return known, True
