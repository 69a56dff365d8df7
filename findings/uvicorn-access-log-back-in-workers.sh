#!/bin/sh
# uvicorn 0.54.0: `access_log=False` holds with one process and is undone with workers=2, where the application
# configures logging.
#
# uvicorn takes the handlers from the logger `uvicorn.access` and ends its propagation, then asks that logger for each
# connection whether it has handlers. With one process, whose logging is configured before, that is the last word. In a
# worker the application is loaded afterwards, and a `logging.config.dictConfig` (Django's LOGGING) that names the logger
# `uvicorn`, with `disable_existing_loggers: False`, sets every child of a named logger back: level NOTSET, no handlers,
# `propagate` True. The access log is on again, for each request, in the workers alone.
#
# The guess that failed: that `disable_existing_loggers: False` leaves loggers alone which the configuration does not
# name. It resets the children of those it names. The remedy: name `uvicorn.access` as well.
#
# Prints the access lines of one request. Exits 1 when uvicorn or Python behave otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "uvicorn[standard]==0.54.0"
cat > "$dir/app.py" <<'PYTHON'
import logging.config

logging.config.dictConfig(
    {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"stderr": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {"uvicorn": {"level": "INFO"}},
    }
)


async def app(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
PYTHON
cat > "$dir/serve.py" <<'PYTHON'
import sys

import uvicorn

if __name__ == "__main__":
    import app  # noqa: F401  as a command does that has configured its logging before it serves

    uvicorn.run("app:app", port=int(sys.argv[1]), workers=int(sys.argv[2]), access_log=False, log_config=None)
PYTHON
cat > "$dir/check.py" <<'PYTHON'
import socket
import subprocess
import sys
import time
import urllib.request


def lines(workers):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "serve.py", str(port), str(workers)]
    with open("log", "w+") as log:
        server = subprocess.Popen(command, stderr=log, stdout=log)
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/asked", timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        server.terminate()
        server.wait(30)
        log.seek(0)
        return sum("GET /asked" in line for line in log)


seen = {workers: lines(workers) for workers in (1, 2)}
for workers, number in seen.items():
    print(f"workers={workers}, access_log=False: {number} access lines")
sys.exit(seen != {1: 0, 2: 1})
PYTHON
cd "$dir"
"$dir/venv/bin/python" check.py
