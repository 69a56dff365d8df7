"""A rolling restart of two processes behind nginx under load: `python -m benchmarks.rolling [SECONDS]`.

nginx (Debian's `nginx-light`) balances over two `manage.py serve` on one database. Clients sign in, read profiles and
flags on connections they keep, while one process after the other is stopped by SIGTERM and started anew, again and
again. Every answer but a 200 counts as failed; the bar is 0.
"""

import http.client
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks import servers

CLIENTS = 6
PREPARE = [["manage", "migrate", "-v0"], ["benchmarks.seed_data"]]
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream switchboard {{
        server 127.0.0.1:{first} fail_timeout=1s;
        server 127.0.0.1:{second} fail_timeout=1s;
        keepalive 32;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://switchboard;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host 127.0.0.1;
        }}
    }}
}}
"""


class Client(threading.Thread):
    """Asks one thing after the other until it is told to stop; counts answers by kind and status."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__(daemon=True)
        self.port, self.number = port, number
        self.stopping = threading.Event()
        self.answers: Counter[tuple[str, object]] = Counter()

    def run(self) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        bearer = ""
        while not self.stopping.is_set():
            answer = self.ask("sign-in", "POST", servers.LOGIN, servers.credentials(self.number), form)
            bearer = json.loads(answer)["access_token"] if answer else bearer
            for _ in range(10):
                self.ask("profile", "GET", servers.USER, None, {"Authorization": f"Bearer {bearer}"})
                self.ask("flags", "GET", servers.FLAGS)

    def ask(self, kind: str, method: str, path: str, body: str | None = None, headers: dict[str, str] = {}) -> bytes:  # noqa: B006
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            self.answers[kind, repr(error)] += 1
            return b""
        self.answers[kind, answer.status] += 1
        return content if answer.status == 200 else b""


def start(url: str, port: int, folder: Path) -> "subprocess.Popen[bytes]":
    # `fail_timeout` is how long nginx leaves out a process that refused it; the next start takes longer.
    env = {**servers.environment("product", port, {"product": url}), "PORT": str(port)}
    with (folder / f"{port}.log").open("ab") as log:
        command = [sys.executable, "manage.py", "serve"]
        process = subprocess.Popen(command, cwd=servers.ROOT, env=env, stdout=log, stderr=log)
    end = time.monotonic() + servers.START_SECONDS
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
            return process
        except OSError:
            time.sleep(0.1)
    sys.exit((folder / f"{port}.log").read_text()[-3000:])


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    folder = Path(tempfile.mkdtemp())
    url = f"sqlite:///{folder}/rolling.sqlite3"
    first, second, port = (servers.free_port() for _ in range(3))
    for words in PREPARE:
        env = servers.environment("product", first, {"product": url})
        subprocess.run([sys.executable, "-m", *words], cwd=servers.ROOT, env=env, check=True, stdout=subprocess.DEVNULL)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, first=first, second=second, port=port))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        running = {each: start(url, each, folder) for each in (first, second)}
        stack.callback(lambda: [process.terminate() for process in running.values()])
        nginx = subprocess.Popen(["nginx", "-e", f"{folder}/nginx.log", "-c", f"{folder}/nginx.conf"])
        stack.callback(nginx.terminate)
        clients = [Client(port, number) for number in range(CLIENTS)]
        time.sleep(1)
        for client in clients:
            client.start()
        restarts, end = 0, time.monotonic() + seconds
        while time.monotonic() < end:
            for each in (first, second):
                running[each].terminate()
                running[each].wait(60)
                running[each] = start(url, each, folder)
                restarts += 1
                # nginx comes back to it.
                time.sleep(2)
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join()
        for process in running.values():
            process.terminate()
            process.wait(60)
    answers = sum((client.answers for client in clients), Counter())
    failed = sum(count for (_, status), count in answers.items() if status != 200)
    for (kind, status), count in sorted(answers.items(), key=str):
        print(f"{kind:8} {status}: {count}")
    print(f"{restarts} restarts, {sum(answers.values())} requests, {failed} failed")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
