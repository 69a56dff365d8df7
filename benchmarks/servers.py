"""The servers under test: their databases, their processes, and how they are started and always stopped."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import psycopg

from benchmarks import bolt, seed

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60

STATUS = "/api/_status"
FLAGS = "/api/feature-flags/feature-flags"
USER = "/api/users/user"
LOGIN = "/api/login"


def credentials(number: int | str) -> str:
    """The login form of one of the seeded people."""
    return urlencode({"username": seed.email(number), "password": seed.PASSWORD})


#: Name in the tables, and what uvicorn loads.
APPLICATIONS = {
    "bare": "benchmarks.bare:application",
    "fastapi": "benchmarks.fastapi_peer:application",
    "bolt": "",  # its own server, see benchmarks.bolt
    "stock": "benchmarks.stock:application",
    "before": "project.asgi:application",
    "ours": "project.asgi:application",
}
#: Where the code of a server stands, when not here.
CHECKOUTS: dict[str, Path] = {}


@dataclass(frozen=True)
class Server:
    """One running worker."""

    name: str
    base: str
    pid: int

    def call(self, path: str, *, body: str | None = None, bearer: str | None = None) -> Any:
        """The JSON of one answer; SystemExit when it is not a 200."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        request = urllib.request.Request(self.base + path, body.encode() if body else None, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            sys.exit(f"{self.name}: {path} answered {error.code}: {error.read().decode(errors='replace')[:500]}")

    def sign_in(self) -> str:
        """A fresh access token; the bare server takes any."""
        return "any" if self.name == "bare" else self.call(LOGIN, body=credentials(0))["access_token"]

    def check(self) -> None:
        """Stop unless the answers are the ones that are to be compared."""
        flags, user = self.call(FLAGS), self.call(USER, bearer=self.sign_in())
        if self.call(STATUS) != {"status": "running"} or len(flags) != seed.FLAGS or user["email"] != seed.email(0):
            sys.exit(f"{self.name} does not answer what the others answer: {len(flags)} flags, user {user}.")

    def memory(self) -> float:
        """Resident MiB of the worker."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def cpu_seconds(self) -> float:
        """What the worker and its children have used since they started, all threads, in user and kernel mode."""
        pids, ticks = [self.pid], 0
        for pid in pids:
            process = Path(f"/proc/{pid}")
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            pids += [int(child) for task in process.glob("task/*/children") for child in task.read_text().split()]
        return ticks / os.sysconf("SC_CLK_TCK")


@cache
def devices(server: Server) -> list[str]:
    """The cookie by which the browser of each of the seeded people is known once they signed in there; empty where a
    server leaves none."""
    found = []
    for number in range(seed.PEOPLE):
        request = urllib.request.Request(server.base + LOGIN, credentials(number).encode(), {"User-Agent": "benchmark"})
        with urllib.request.urlopen(request, timeout=30) as response:
            found.append((response.headers["Set-Cookie"] or "").partition(";")[0])
    return found


@contextmanager
def databases(admin_url: str, names: list[str]) -> Iterator[dict[str, str]]:
    """Fresh databases `switchboard_bench_<name>` and their addresses; dropped at the end."""
    created = {name: f"switchboard_bench_{name}" for name in names}
    try:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            for database in created.values():
                connection.execute(f"DROP DATABASE IF EXISTS {database}")
                connection.execute(f"CREATE DATABASE {database}")
    except psycopg.errors.ObjectInUse as error:
        sys.exit(f"Is another benchmark running? {error}")
    except psycopg.OperationalError as error:
        sys.exit(f"The benchmark needs a PostgreSQL (--database-url or BENCH_DATABASE_URL): {error}")
    try:
        yield {
            name: urlunsplit(urlsplit(admin_url)._replace(scheme="postgres", path=f"/{database}"))
            for name, database in created.items()
        }
    finally:
        with psycopg.connect(admin_url, autocommit=True) as connection:
            for database in created.values():
                connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def process(
    command: list[str], *, env: dict[str, str], log: Path, cwd: Path = ROOT
) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that ends with the block, whatever happens inside; what it says is in `log`."""
    with log.open("wb") as output:
        started = subprocess.Popen(command, cwd=cwd, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield started
        finally:
            started.terminate()
            try:
                started.wait(timeout=10)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


# uvicorn's own command takes no protocol of others; the product is measured with the one it is served by, and nobody
# with that for WebSockets, which nothing here speaks.
SERVE = """
import sys, uvicorn
app, port, http = sys.argv[1:]
uvicorn.run(app, port=int(port), access_log=False, proxy_headers=False, loop="uvloop", http=http, ws="none")
"""


@contextmanager
def running(
    name: str, database_urls: dict[str, str], logs: Path, *, application: str = "", **changes: str
) -> Iterator[Server]:
    """The server, seeded and ready; `changes` are settings from the environment."""
    port = free_port()
    application = application or APPLICATIONS[name]
    http = "lib.protocol:BoundedProtocol" if application == APPLICATIONS["ours"] else "httptools"
    command = [sys.executable, "-c", SERVE, application, str(port), http] if application else bolt.command(port)
    env, log = {**environment(name, port, database_urls), **changes}, logs / f"{name}.log"
    with process(command, env=env, log=log, cwd=CHECKOUTS.get(name, ROOT)) as started:
        server = Server(name, f"http://127.0.0.1:{port}", started.pid)
        wait_until_ready(server, started, log)
        yield server


def seed_database(name: str, database_urls: dict[str, str]) -> None:
    """Tables and rows, in processes of their own."""
    env = environment(name, 8000, database_urls)
    modules = {
        "fastapi": [["benchmarks.fastapi_peer"]],
        "product": (product := [["manage", "migrate", "-v0"], ["benchmarks.seed_data"]]),
        "before": product,
    }
    for arguments in modules[name]:
        cwd = CHECKOUTS.get(name, ROOT)
        run = subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, env=env, capture_output=True, text=True)
        if run.returncode:
            sys.exit(f"{' '.join(arguments)} failed:\n{run.stdout}{run.stderr}")


_SECRETS = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "USERS_TOKEN_SECRET", "TOKEN_SECRET")}


def environment(name: str, port: int, database_urls: dict[str, str]) -> dict[str, str]:
    """Only what is named here: the developer's own settings must not leak into a comparison."""
    env = {"PATH": os.environ.get("PATH", ""), "PYTHONDONTWRITEBYTECODE": "1", **_SECRETS}
    if name == "fastapi":
        url = database_urls["fastapi"].replace("postgres://", "postgresql+asyncpg://", 1)
        return {**env, "DATABASE_URL": url}
    if name == "bolt":
        return {**env, "DATABASE_URL": database_urls["fastapi"]}
    if name == "bare":
        return env
    if name != "before":
        # As in the Dockerfile.
        env["GLIBC_TUNABLES"] = "glibc.malloc.mmap_threshold=1048576:glibc.malloc.hugetlb=1"
    return {
        **env,
        "ENV_FILE": "",
        "DEBUG": "0",
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_urls["before" if name == "before" else "product"],
        "USERS_IP_LIMITS": "0",
        "BASE_URL": f"http://127.0.0.1:{port}",
        "APP_URL": "http://localhost:3000",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "EMAIL_URL": "dummymail://",
        "DEFAULT_FROM_EMAIL": "Switchboard <noreply@example.org>",
    }


def wait_until_ready(
    server: Server, started: "subprocess.Popen[bytes]", log: Path, path: str = STATUS, seconds: int = START_SECONDS
) -> None:
    end = time.monotonic() + seconds
    while started.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(server.base + path, timeout=5).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"{server.name} did not start:\n{log.read_text(errors='replace')[-3000:]}")
