"""How the process starts, what it refuses to start with, and how it stops. Real processes."""

import contextlib
import gc
import json
import os
import pty
import re
import select
import signal
import socket
import sqlite3
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import yaml
from django.conf import settings
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from lib.actors import Actor
from manage import collect_later
from project.tests.processes import Server, connected, database, environment, fetch, manage, serving, until
from users.models import UserSession
from users.services import sessions
from users.tests.factories import PASSWORD, UserFactory

ROOT = Path(settings.BASE_DIR)
SQLITE = "sqlite:////tmp/never-opened.sqlite3"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SECRET_KEY": "too-short-6b1f"}, "SECRET_KEY"),
        ({"EMAIL_URL": "smtp://mail", "DEFAULT_FROM_EMAIL": ""}, "DEFAULT_FROM_EMAIL"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(changes, words):
    """Those of settings.py, of which test_settings.py has the rest; and those of Django's checks."""
    result = manage("check", env=environment(SQLITE, **changes))

    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    for value in changes.values():
        assert len(value) < 8 or value not in result.stderr, "the value must not be printed"


#: What is loaded by the first who asks for it.
LATER = {"project.staff_api", "lib.admin.verbs"}


def loaded(text):
    """The modules that a process with PYTHONPROFILEIMPORTTIME=1 has loaded."""
    return {line.rpartition("|")[2].strip() for line in text.splitlines() if line.startswith("import time:")}


def test_debug_starts_with_nothing_set():
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}

    checked = manage("check", env={**env, "ENV_FILE": "", "DEBUG": "1", "PYTHONPROFILEIMPORTTIME": "1"})

    assert checked.returncode == 0
    assert loaded(checked.stderr) >= LATER


def test_a_server_loads_the_staff_api_and_the_admin_when_they_are_asked_for(tmp_path):
    with serving(tmp_path, PYTHONPROFILEIMPORTTIME="1") as server:
        before = loaded(server.log.read_text())
        with ThreadPoolExecutor(8) as threads:
            paths = ["/api/staff/people"] * 6 + ["/admin/login/"] * 2
            answers = list(threads.map(lambda path: httpx.get(server.url + path), paths))
        after = loaded(server.log.read_text())

    needless = LATER | {"django.test", "cryptography.hazmat.bindings._rust"}
    assert before & (needless | ({"sqlite3"} if server.env["DATABASE_URL"].startswith("postgres") else set())) == set()
    assert [answer.status_code for answer in answers] == [401] * 6 + [200] * 2
    assert after >= LATER


def test_garbage_is_looked_for_as_usual_once_more_is_made_than_at_a_start():
    usual, watching = gc.get_threshold(), list(gc.callbacks)

    collect_later()
    started = gc.get_threshold()
    gc.collect()

    assert started[0] > 100 * usual[0]
    assert (gc.get_threshold(), gc.callbacks) == (usual, watching)


def test_a_command_loads_no_engine_it_does_not_use(tmp_path):
    engines = {"pydantic", "ninja", "webauthn", "segno", "jwt", "cryptography", "project.urls", "users.notifications"}
    engines |= {"re2", "selectolax"}
    with database(tmp_path, migrated=True) as url:
        result = manage("list_feature_flags", env=environment(url, PYTHONPROFILEIMPORTTIME="1"))

    assert result.returncode == 0
    assert loaded(result.stderr) & engines == set()


def test_check_deploy_is_clean_with_the_settings_of_the_compose_file():
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    values = {
        "SECRET_KEY": "x9-" + os.urandom(24).hex(),
        "USERS_TOKEN_SECRET": os.urandom(24).hex(),
        "POSTGRES_PASSWORD": "p",
        # Without it mail goes to the console, and W001 says so.
        "EMAIL_URL": "smtp+tls://mail.example.org",
    }

    def filled(text):
        text = re.sub(r"\$\{(\w+)\?[^}]*\}", lambda found: values[found[1]], str(text))
        return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: values.get(found[1], found[2]), text)

    env = {key: filled(value) for key, value in compose["services"]["web"]["environment"].items()}
    result = manage(
        "check", "--deploy", "--fail-level", "WARNING", env={"PATH": os.environ["PATH"], "ENV_FILE": "", **env}
    )

    assert result.returncode == 0, result.stderr


def test_every_setting_is_explained_in_the_example():
    source = (ROOT / "project/settings.py").read_text()
    read = set(re.findall(r'"([A-Z][A-Z0-9_]{2,})"', source)) - {
        "BACKEND",
        "DIRS",
        "APP_DIRS",
        "OPTIONS",
        "ENGINE",
        "DENY",
    }
    read = {name for name in read if re.search(rf'(read\.\w+|_purpose_secret)\([^)]*"{name}"', source)}
    read -= {"POSTGRES_URL"}
    explained = set(re.findall(r"^([A-Z_]+[A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert read - explained == {"ACCESS_TOKEN_SECRET"}  # the seed's other name, told beside its own
    assert explained - read == {"DATABASE_URL", "DATABASE_LISTEN_URL", "DATABASE_REPLICA_URL"}  # read in lib/env.py
    assert len(read) > 40


def test_at_a_terminal_it_speaks_to_a_person(tmp_path):
    """Short lines, mails as their reader sees them, and the first sign-in last of what the start says."""
    terminal, inside = pty.openpty()
    register = {"email": "ada@example.org", "password": "Analytical-1843", "first_name": "Ada", "last_name": "L"}
    with database(tmp_path, migrated=True) as url:
        env = environment(url, DEBUG="1", EMAIL_URL="consolemail://", APP_URL="")
        server = Server(env, log=Path(os.ttyname(inside)), arguments=("--first-admin",))
        written = Terminal(terminal)
        try:
            until(lambda: "manage.py create_admin" in written.text() and written.text().endswith("+\n"))
            started = written.text()
            httpx.post(server.url + "/api/register", json=register).raise_for_status()
            httpx.get(server.url + "/api/%1B%5B2J")
            asked = httpx.post(server.url + "/api/auth/request-verification-token", json={"email": "ada@example.org"})
            until(lambda: "type this code" in written.text())
            until(lambda: "request-verification-token \x1b[32m200" in written.text())
            shown = written.text()
        finally:
            server.kill()
            os.close(inside)
            os.close(terminal)

    assert asked.status_code == 200
    *_, first, _, password, lost, _ = started.splitlines()
    assert first.startswith(f"| First sign-in at {server.url}/admin/")
    assert lost.startswith("| Lost it? manage.py create_admin")
    assert started.count(password) == 1
    assert "Subject: Registration Code\nTo: ada@example.org\n\nHello Ada,\n" in shown
    assert "Content-Type" not in shown
    assert "GET /api/?[2J \x1b[33m404" in shown
    assert re.search(r"^\d\d:\d\d:\d\d POST /api/register \x1b\[32m201\x1b\[0m \d+ ms$", shown, re.MULTILINE)


class Terminal:
    """What a program has written to a pseudo-terminal."""

    def __init__(self, descriptor):
        self.descriptor, self.read = descriptor, b""

    def text(self):
        while select.select([self.descriptor], [], [], 0)[0]:
            self.read += os.read(self.descriptor, 65_536)
        return self.read.decode().replace("\r\n", "\n")


@pytest.mark.database
def test_readiness_is_down_until_the_database_is_migrated(tmp_path):
    with database(tmp_path, migrated=True) as url:
        with connected(url):
            newest = MigrationRecorder.Migration.objects.filter(app="notifications").latest("name")
            newest.delete()
        server = Server(environment(url), log=tmp_path / "log")
        try:
            until(server.is_up)
            before = httpx.get(server.url + "/readyz")
            assert server.command("migrate", "--fake").returncode == 0
            after = httpx.get(server.url + "/readyz")
        finally:
            server.kill()

    assert (before.status_code, before.json()["status"]) == (503, "down")
    assert (after.status_code, after.json()["status"]) == (200, "ok")


@pytest.mark.database
@pytest.mark.skipif(not os.environ.get("TEST_DATABASE_URL"), reason="SQLite has no server to lose")
def test_a_lost_database_degrades_and_flags_go_on(tmp_path):
    import psycopg

    with serving(tmp_path) as server:
        flags = httpx.get(server.url + "/api/feature-flags/feature-flags").json()
        with server.connected():
            actor = Actor("command", label="test")
            _, made = sessions.opened(UserFactory.create(), actor, timezone.now(), amr=("pwd",))
        own = {"url": server.url + "/api/users/user", "headers": {"Authorization": f"Bearer {made.access}"}}
        assert httpx.get(**own).status_code == 200
        base, _, name = server.env["DATABASE_URL"].rpartition("/")
        with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

            ready = until(lambda: (r := httpx.get(server.url + "/readyz")).json()["status"] != "ok" and r)
            during = httpx.get(server.url + "/api/feature-flags/feature-flags")
            login = httpx.post(server.url + "/api/login", data={"username": "a@b.org", "password": "x"})
            profile = httpx.get(**own)
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
            until(lambda: httpx.get(server.url + "/readyz").json()["status"] == "ok")
            until(lambda: httpx.get(**own).status_code == 200)

    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "unreachable" in ready.json()["checks"]["database"]["reason"]
    assert during.json() == flags
    assert [(answer.status_code, answer.headers["retry-after"]) for answer in (login, profile)] == [(503, "1")] * 2


@contextlib.contextmanager
def stalled(url):
    """Nobody else can write to the database."""
    if url.startswith("sqlite"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield
    else:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE users_ratebucket, users_user IN ACCESS EXCLUSIVE MODE")
            yield


@contextlib.contextmanager
def calls(url, count):
    """Sign-ins sent and not waited for."""
    body = b"username=a@example.org&password=secret-of-a-person"
    head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
    clients = []
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)))
            clients.append(client)
            client.sendall(head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body)
        time.sleep(1)  # they are on the lanes and behind them
        yield clients


@pytest.mark.database
def test_it_stops_while_calls_wait_for_the_database(tmp_path):
    with (
        serving(tmp_path, WEB_CONCURRENCY="2", DRAIN_SECONDS="0", GRACE_SECONDS="1") as server,
        stalled(server.env["DATABASE_URL"]),
        calls(server.url, 20),
    ):
        seconds = server.stop()

    assert server.process.returncode == 0
    assert seconds < 10


def test_a_stop_drains_then_closes_the_port_then_finishes_what_was_begun(tmp_path):
    body = b"username=a@example.org&password=secret-of-a-person"
    with serving(tmp_path, WEB_CONCURRENCY="2", DRAIN_SECONDS="4") as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as slow, httpx.Client() as kept:
            assert "connection" not in kept.get(server.url + "/api/_status").headers
            head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
            slow.sendall(head.encode() + b"Content-Type: application/x-www-form-urlencoded\r\n\r\n" + body[:10])
            server.process.send_signal(signal.SIGTERM)
            draining = until(lambda: (r := kept.get(server.url + "/readyz")).status_code == 503 and r)
            # On a new connection, since the answer before has ended the other.
            during = until(lambda: "connection" in (r := kept.get(server.url + "/api/_status")).headers and r)
            until(lambda: fetch(server.url + "/healthz") is None)
            slow.sendall(body[10:])
            late = slow.recv(65536).decode()
            server.process.wait(30)

    assert draining.json() == {"status": "draining", "checks": {}}
    assert draining.headers["connection"] == "close"
    assert (during.status_code, during.headers["connection"]) == (200, "close")
    assert late.startswith("HTTP/1.1 400 ")
    assert "LOGIN_BAD_CREDENTIALS" in late
    assert server.process.returncode == 0
    assert not any(json.loads(line)["level"] == "error" for line in server.log.read_text().splitlines()[1:])


@pytest.mark.database
@pytest.mark.skipif(not os.environ.get("TEST_DATABASE_URL"), reason="only PostgreSQL tells who waits")
def test_after_a_stall_and_clients_that_hung_up_every_lane_is_used(tmp_path):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with serving(tmp_path) as server, psycopg.connect(server.env["DATABASE_URL"], autocommit=True) as watching:
        with contextlib.ExitStack() as patient:
            with stalled(server.env["DATABASE_URL"]):
                clients = patient.enter_context(calls(server.url, 40))
                for number, client in enumerate(clients):
                    if number % settings.API_LANES:  # all but those of one lane
                        client.close()
                time.sleep(0.5)
            time.sleep(0.5)

        with stalled(server.env["DATABASE_URL"]), calls(server.url, 8):
            until(lambda: watching.execute(waiting).fetchone()[0] >= settings.API_LANES)


@pytest.mark.database
@pytest.mark.skipif(not os.environ.get("TEST_DATABASE_URL"), reason="SQLite is for one host")
def test_hosts_that_start_together_migrate_one_after_the_other(tmp_path):
    with database(tmp_path) as url:
        servers = [Server(environment(url), log=tmp_path / f"log{n}", arguments=("--migrate",)) for n in range(2)]
        try:
            for server in servers:
                until(server.is_up)
        finally:
            for server in servers:
                server.kill()


@pytest.mark.database
def test_from_an_empty_database_to_a_clean_stop(tmp_path):
    """The first admin is printed once, the log is JSON, files are private, and both signals end it cleanly."""
    logs = []
    with database(tmp_path) as url:
        for sent in (signal.SIGINT, signal.SIGTERM):
            server = Server(
                environment(url), log=tmp_path / "log", arguments=("--migrate", "--first-admin"), umask=0o022
            )
            try:
                until(server.is_up)
                written = [path for path in tmp_path.iterdir() if path != server.log]
                assert {stat.S_IMODE(path.stat().st_mode) for path in written} <= {0o600}
                with httpx.Client(base_url=server.url) as open_connection:
                    open_connection.get("/api/nope")
                    form = {"username": "a@b.org", "password": "secret-of-a-person"}
                    open_connection.post("/api/login", data=form)
                    server.stop(sent)
            finally:
                server.kill()
            logs.append(server.log.read_text())
            assert server.process.returncode == 0

    assert "admin@example.com" in logs[0]
    assert "admin@example.com" not in logs[1]
    lines = [line for line in logs[1].splitlines() if not line.startswith("Switchboard")]
    assert {json.loads(line)["path"] for line in lines if "path" in line} >= {"/api/nope", "/api/login"}
    assert not any("secret-of-a-person" in log or "Traceback" in log for log in logs)


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")
def test_a_listed_proxy_is_believed_on_a_socket_for_both_families(tmp_path):
    """There an IPv4 peer is named in its mapped form. Other ways of listing proxies: test_hygiene.py."""
    with serving(tmp_path, TRUSTED_PROXIES="127.0.0.1", HOST="::", WEB_CONCURRENCY="2") as server:
        with server.connected():
            UserFactory.create(email="root@example.org")
        form = {"username": "root@example.org", "password": PASSWORD}
        headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7", "Forwarded": "for=198.51.100.2"}
        assert httpx.post(server.url + "/api/login", data=form, headers=headers).status_code == 200

        with server.connected():
            assert UserSession.objects.get().ip == "203.0.113.7"
