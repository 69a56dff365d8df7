"""The line of a request, as any formatter of records would write it."""

import io
import json
import logging
import time

from lib import logs


def test_the_line_of_a_request_is_that_of_a_record_with_its_fields(monkeypatch, caplog):
    # What a test before asked of the logger is remembered by it: only `setLevel` makes it forget.
    logs.logger.isEnabledFor(logging.INFO)
    caplog.set_level(logging.INFO, logs.logger.name)
    handlers = [logs.LineHandler(io.StringIO()) for _ in range(2)]
    for handler in handlers:
        handler.setFormatter(logs.JsonFormatter())
    asked = 'G"T', f"/é\n{'x' * 60}", 404, time.perf_counter(), None
    written = []

    # Alone, a handler is given a line; two are given a record.
    for at_work in (handlers[:1], handlers):
        monkeypatch.setattr(logging.root, "handlers", at_work)
        logs.log_request(*asked)
        written.append([json.loads(line) for line in handlers[0].stream.getvalue().splitlines()])

    first, second = written[1]
    assert written[0] == [first]
    assert (
        list(first)
        == list(second)
        == ["at", "level", "logger", "message", "request_id", "method", "path", "status", "ms", "user_id"]
    )
    assert {**first, "at": "", "ms": 0, "request_id": ""} == {**second, "at": "", "ms": 0, "request_id": ""}
    assert first["path"] == "/é\n…"


def test_a_line_that_cannot_be_written_ends_no_request(monkeypatch, capsys):
    handler = logs.LineHandler(io.StringIO())
    handler.stream.close()

    handler.write("x\n")

    assert "ValueError" in capsys.readouterr().err
