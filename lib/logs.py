"""Structured logs: one JSON object per line, so that a line is searched by field and never by regular expression."""

import json
import logging
import re
import time
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

#: The request a line belongs to; set by RequestMiddleware, read by every line and every queued message.
request_id: ContextVar[str] = ContextVar("request_id", default="")

# What a link carries (54 characters) opens something, and a log has many readers. A request that was refused before it
# had a route, and Django's own lines, show the path as it came.
_TOKEN_LENGTH = 54
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{_TOKEN_LENGTH},}}")
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "request", "color_message", "taskName"}
_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode


def _without_tokens(text: str) -> str:
    return text if len(text) < _TOKEN_LENGTH else _TOKEN.sub("…", text)


@lru_cache(2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class RequestRecord(logging.LogRecord):
    """The record of one request; where in the code and on which thread it was made is no news, and not looked up."""

    _same = vars(logging.LogRecord("switchboard.request", logging.INFO, __file__, 0, "request", (), None))

    request_id: str
    method: str
    path: str
    status: int
    ms: float
    user_id: str | None

    def __init__(self, **line: Any) -> None:
        now = time.time()
        self.__dict__.update(self._same, created=now, msecs=now % 1 * 1000, **line)

    def written(self, at: str) -> str:
        """What JsonFormatter makes of any record, in one step: this is the line that every request waits for."""
        return (
            f'{{"at": "{at}", "level": "info", "logger": "{self.name}", "message": "request", '
            f'"request_id": {_encode(self.request_id)}, "method": {_encode(self.method)}, '
            f'"path": {_encode(_without_tokens(self.path))}, "status": {self.status}, "ms": {self.ms}, '
            f'"user_id": {_encode(self.user_id)}}}'
        )


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "message", "request_id"?, …extra, "exception"?}`; `at` is UTC in RFC 3339."""

    def format(self, record: logging.LogRecord) -> str:
        second, ms = divmod(int(record.created * 1000), 1000)
        at = f"{_second(second)}.{ms:03}+00:00"
        if type(record) is RequestRecord:
            return record.written(at)
        line: dict[str, Any] = {
            "at": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _without_tokens(record.getMessage()),
        }
        if current := request_id.get():
            line["request_id"] = current
        for key, value in record.__dict__.items():
            if key not in _OWN:
                line[key] = value
        if isinstance(path := line.get("path"), str):
            line["path"] = _without_tokens(path)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class Refusals(logging.Filter):
    """What Django refuses as suspicious (`django.security.*`): a line at warning, not a traceback at error.

    Any client can cause these: a line has at most 200 characters of theirs, and of one kind there are ten a minute. The
    first of the next minute counts those `left_out`.
    """

    lines, characters = 10, 200

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("django.security"):
            return True
        minute = int(record.created // 60)
        begun, count = self._seen.get(record.name, (minute, 0))
        left_out = 0
        if begun != minute:
            left_out, count = max(0, count - self.lines), 0
        self._seen[record.name] = (minute, count + 1)
        if count >= self.lines:
            return False
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = record.getMessage()[: self.characters], ()
        record.exc_info = record.exc_text = None
        if left_out:
            record.left_out = left_out
        return True
