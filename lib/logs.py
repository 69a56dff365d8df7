"""Structured logs: one JSON object per line, so that a line is searched by field and never by regular expression."""

import json
import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as _quoted
from typing import Any, ClassVar, TextIO

from lib.text import printable

logger = logging.getLogger("switchboard.request")

#: The request a line belongs to; set by RequestMiddleware, read by every line and every queued message.
request_id: ContextVar[str] = ContextVar("request_id", default="")
#: And its trace, where requests are traced (lib/tracing.py).
trace_id: ContextVar[str] = ContextVar("trace_id", default="")


@contextmanager
def of_request(identity: str, traceparent: str | None) -> Iterator[None]:
    """Lines inside belong to the request, and trace, of what is sent for it later."""
    before = request_id.set(identity), trace_id.set((traceparent or "")[3:35])
    try:
        yield
    finally:
        request_id.reset(before[0])
        trace_id.reset(before[1])


# What a link carries (54 characters), or an API key (53), opens something, and a log has many readers. A request that
# was refused before it had a route, and Django's own lines, show the path as it came.
_TOKEN_LENGTH = 53
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{_TOKEN_LENGTH},}}")
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "request", "color_message", "taskName"}
_encode = json.JSONEncoder(default=str, ensure_ascii=False).encode


def _without_tokens(text: str) -> str:
    return text if len(text) < _TOKEN_LENGTH else _TOKEN.sub("…", text)


@lru_cache(2)
def _second(timestamp: int) -> str:
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _at(seconds: float) -> str:
    ms = int(seconds * 1000)
    return f"{_second(ms // 1000)}.{ms % 1000:03}+00:00"


def log_request(method: str, path: str, status: int, started: float, user_id: str | None = None) -> None:
    """The one line a request leaves: never with the query, which may carry a token.

    Every request waits for it: where our handler is the only one, it is written without a record of `logging`.
    """
    if not logger.isEnabledFor(logging.INFO):
        return
    ms, handlers = round((time.perf_counter() - started) * 1000, 1), logging.root.handlers
    if len(handlers) == 1 and isinstance(handlers[0], LineHandler):
        trace = f'"trace_id": "{found}", ' if (found := trace_id.get()) else ""
        handlers[0].write(
            f'{{"at": "{_at(time.time())}", "level": "info", "logger": "{logger.name}", "message": "request", '
            f'"request_id": {_quoted(request_id.get())}, {trace}"method": {_quoted(method)}, '
            f'"path": {_quoted(_without_tokens(path))}, "status": {status}, "ms": {ms}, '
            f'"user_id": {_quoted(user_id) if user_id else "null"}}}\n'
        )
    else:
        line = {"request_id": request_id.get(), "method": method, "path": path, "status": status, "ms": ms}
        logger.info("request", extra={**line, "user_id": user_id})


class LineHandler(logging.StreamHandler[TextIO]):
    """To stderr, also what is a line already."""

    def write(self, line: str) -> None:
        try:
            with self.lock:  # type: ignore[union-attr]
                self.stream.write(line)
                # A stream that ends its lines has sent it.
                if not getattr(self.stream, "line_buffering", False):
                    self.stream.flush()
        except Exception:
            self.handleError(logging.makeLogRecord({"msg": line}))


class JsonFormatter(logging.Formatter):
    """`{"at", "level", "logger", "message", "request_id"?, "trace_id"?, …extra, "exception"?}`; `at` as in RFC 3339."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": _at(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _without_tokens(record.getMessage()),
        }
        if current := request_id.get():
            line["request_id"] = current
        if trace := trace_id.get():
            line["trace_id"] = trace
        for key, value in record.__dict__.items():
            if key not in _OWN:
                line[key] = value
        if isinstance(path := line.get("path"), str):
            line["path"] = _without_tokens(path)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return _encode(line)


class TextFormatter(logging.Formatter):
    """`12:50:03 GET /api/_status 200 1 ms`: one short line for who watches, coloured unless NO_COLOR is set.

    Fields are those of `JsonFormatter`; the id of a request is left out.
    """

    _COLOURS: ClassVar[dict[str, str]] = {"2": "32", "3": "36", "4": "33", "5": "31", "w": "33", "e": "31", "c": "31"}

    def format(self, record: logging.LogRecord) -> str:
        fields = {key: value for key, value in record.__dict__.items() if key not in _OWN and key != "request_id"}
        if record.name == logger.name and "status" in fields:
            before, mark = f"{fields['method']} {fields['path']}", str(fields["status"])
            after = f"{fields['ms']:.0f} ms"
        else:
            before, mark = record.name.removeprefix("switchboard."), record.levelname.lower()
            about = "".join(f" {key}={value}" for key, value in fields.items() if value not in ("", None))
            after = record.getMessage() + about
        # Strangers choose paths: nothing of theirs moves the cursor.
        before, after = (printable(_without_tokens(text)) for text in (before, after))
        if (colour := self._COLOURS.get(mark[0])) and not os.environ.get("NO_COLOR"):
            mark = f"\x1b[{colour}m{mark}\x1b[0m"
        line = f"{time.strftime('%H:%M:%S', time.localtime(record.created))} {before} {mark} {after}"
        trace = self.formatException(record.exc_info).splitlines() if record.exc_info else []
        return "\n".join((line, *map(printable, trace)))


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
