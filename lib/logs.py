"""Structured logs: one JSON object per line, so that a line is searched by field and never by regular expression."""

import json
import logging
import re
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

#: The request a line belongs to; set by RequestMiddleware, read by every line and every queued message.
request_id: ContextVar[str] = ContextVar("request_id", default="")

# What a link carries (54 characters) opens something, and a log has many readers. A request that was refused before it
# had a route, and Django's own lines, show the path as it came.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{54,}")
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "request", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "message", "request_id"?, …extra, "exception"?}`; `at` is UTC in RFC 3339."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _TOKEN.sub("…", record.getMessage()),
        }
        if current := request_id.get():
            line["request_id"] = current
        line.update((key, value) for key, value in record.__dict__.items() if key not in _OWN)
        if isinstance(path := line.get("path"), str):
            line["path"] = _TOKEN.sub("…", path)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)
