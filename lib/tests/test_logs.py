"""The line of a request, as any formatter of records would write it."""

import json
import logging

from lib.logs import JsonFormatter, RequestRecord


def test_the_line_of_a_request_is_that_of_any_record_with_its_fields():
    line = {"request_id": "a-1", "method": 'G"T', "path": f"/é\n{'x' * 60}", "status": 200, "ms": 1.5, "user_id": None}
    record = RequestRecord(**line)
    plain = logging.makeLogRecord(vars(record))

    written = json.loads(JsonFormatter().format(record))

    assert written == json.loads(JsonFormatter().format(plain))
    assert written["path"] == "/é\n…"
    assert list(written) == ["at", "level", "logger", "message", *line]
