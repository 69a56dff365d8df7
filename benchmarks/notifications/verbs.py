"""A process that is asked in JSON, one line each: `["verb", {arguments}]`."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from django.db import InterfaceError, OperationalError, connection

AWAY_SECONDS = 60


def serve(verbs: Mapping[str, Callable[..., Any]]) -> None:
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        name, arguments = json.loads(line)
        print(json.dumps(_patiently(verbs[name], arguments)), flush=True)


def _patiently(verb: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """The answer, also when somebody takes the database away for a while."""
    end = time.monotonic() + AWAY_SECONDS
    while True:
        try:
            return verb(**arguments)
        except (OperationalError, InterfaceError):
            if time.monotonic() > end:
                raise
            connection.close()
            time.sleep(0.1)
