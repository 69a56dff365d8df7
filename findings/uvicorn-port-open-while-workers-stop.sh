#!/bin/sh
# uvicorn 0.54.0, workers=2: at a stop the port stays open until the last worker has ended, and nobody accepts.
#
# On SIGTERM each worker closes its listening socket and finishes its requests (timeout_graceful_shutdown). The parent
# holds the same socket and closes it only when it ends itself. Until then the kernel takes new connections into the
# backlog: a client, or a proxy that would have gone to the next server on "connection refused", hangs for as long as
# the slowest request takes, and is reset then. With workers=1 the same client is refused at once.
#
# The guess that failed: that a server which has begun to stop refuses connections, whatever its number of workers.
#
# A request of 4 seconds is under way; a second after SIGTERM another client connects. Prints what it met. Exits 1 when
# uvicorn behaves otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "uvicorn[standard]==0.54.0"
cat > "$dir/app.py" <<'PYTHON'
import asyncio


async def app(scope, receive, send):
    if scope["type"] == "http":
        await asyncio.sleep(4 if scope["path"] == "/slow" else 0)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})
PYTHON
cat > "$dir/check.py" <<'PYTHON'
import signal
import socket
import subprocess
import sys
import time


def ask(port, path, timeout):
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        return client.recv(100)


def met(workers):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--workers", str(workers)]
    command += ["--log-level", "critical", "--timeout-graceful-shutdown", "20", "--lifespan", "off"]
    server = subprocess.Popen(command)
    for _ in range(200):
        try:
            ask(port, "/", 5)
            break
        except OSError:
            time.sleep(0.1)
    slow = socket.create_connection(("127.0.0.1", port))
    slow.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    time.sleep(0.5)
    server.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    try:
        answer = ask(port, "/", 1)
    except TimeoutError:
        answer = "taken, and no answer"
    except ConnectionError as error:
        answer = "refused" if isinstance(error, ConnectionRefusedError) else type(error).__name__
    slow.close()
    server.kill() if server.poll() is None and server.wait(20) is None else None
    return answer


seen = {workers: met(workers) for workers in (1, 2)}
for workers, answer in seen.items():
    print(f"workers={workers}: {answer}")
sys.exit(seen != {1: "refused", 2: "taken, and no answer"})
PYTHON
cd "$dir"
"$dir/venv/bin/python" check.py
