"""Real processes for the tests that need them: databases of their own and servers on free ports."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psycopg
from django.conf import settings

ROOT = Path(settings.BASE_DIR)
DEADLINE = 20


def until(condition, deadline=DEADLINE):
    """Ask `condition` until it answers something true; fail when it never does."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"never came true: {condition}")


@contextlib.contextmanager
def database(tmp_path):
    """The URL of an empty database of the kind the suite runs on."""
    url = os.environ.get("TEST_DATABASE_URL")
    if not url:
        yield f"sqlite:///{tmp_path}/process.sqlite3"
        return
    name = f"switchboard_process_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{url.rpartition('/')[0]}/{name}"
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def environment(database_url, **changes):
    keep = {key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ}
    return keep | {
        "ENV_FILE": "",
        "DEBUG": "0",
        "ENVIRONMENT": "test",
        "SECRET_KEY": "process-0123456789-abcdefghijklmnopqrstuvwxyz",
        "USERS_TOKEN_SECRET": "process-token-secret-0123456789-abcdefghijkl",
        "DATABASE_URL": database_url,
        "BASE_URL": "http://127.0.0.1",
        "APP_URL": "https://app.example.org",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "CORS_ORIGINS": "https://app.example.org",
        "EMAIL_URL": "dummymail://",
        "USERS_ARGON2_MEMORY": "64",
        "USERS_ARGON2_TIME": "1",
        "USERS_RETURN_VERIFICATION_TOKENS": "1",
        "USERS_RETURN_FORGOT_PASSWORD_TOKEN": "1",
        **changes,
    }


def manage(*arguments, env, **options):
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), *arguments],
        env=env,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=60,
        **options,
    )


class Server:
    """A running `manage.py serve`; `url` is where it answers."""

    def __init__(self, env, *, log, arguments=("--migrate",)):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self.log = log
        self.env = {**env, "PORT": str(port)}
        with log.open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(ROOT / "manage.py"), "serve", *arguments],
                env=self.env,
                cwd=ROOT,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def is_up(self, path="/healthz"):
        assert self.process.poll() is None, self.log.read_text()
        try:
            return httpx.get(self.url + path).status_code == 200
        except httpx.TransportError:
            return False

    def stop(self, sent=signal.SIGTERM):
        """Ask it to stop and return the seconds that took."""
        started = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(sent)
            self.process.wait(DEADLINE)
        return time.monotonic() - started

    def kill(self):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE)


@contextlib.contextmanager
def serving(tmp_path, *, path="/readyz", **changes):
    """A migrated, ready server on a database of its own."""
    with database(tmp_path) as url:
        server = Server(environment(url, **changes), log=tmp_path / "server.log")
        try:
            until(lambda: server.is_up(path))
            yield server
        finally:
            server.kill()
