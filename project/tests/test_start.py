"""How the process starts, what it refuses to start with, and how it stops. Real processes."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
import yaml
from django.conf import settings

from project.tests.processes import Server, database, environment, manage, serving, until

ROOT = Path(settings.BASE_DIR)
SQLITE = "sqlite:////tmp/never-opened.sqlite3"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SECRET_KEY": ""}, "SECRET_KEY"),
        ({"SECRET_KEY": "too-short-6b1f"}, "SECRET_KEY"),
        ({"SECRET_KEY": "a" * 40}, "SECRET_KEY"),
        ({"USERS_TOKEN_SECRET": ""}, "USERS_TOKEN_SECRET"),
        ({"USERS_TOKEN_SECRET": "SetMeInEnvVars!"}, "USERS_TOKEN_SECRET"),
        ({"ACCESS_TOKEN_SECRET": "super-secret-token"}, "ACCESS_TOKEN_SECRET"),
        ({"USERS_TOKEN_SECRET_FALLBACKS": "short-6b1f"}, "USERS_TOKEN_SECRET_FALLBACKS"),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
        ({"ENVIRONMENT": "production"}, "USERS_RETURN_VERIFICATION_TOKENS"),
        ({"APP_URL": ""}, "APP_URL"),
        ({"BASE_URL": "ftp://x"}, "BASE_URL"),
        ({"CORS_ORIGINS": "https://a.example/path"}, "CORS_ORIGINS"),
        ({"EMAIL_URL": "pigeon://user:hunter2@loft"}, "EMAIL_URL"),
        ({"EMAIL_URL": "smtp://mail", "DEFAULT_FROM_EMAIL": ""}, "DEFAULT_FROM_EMAIL"),
        ({"PORT": "eighty"}, "PORT"),
        ({"APP_URL": "http://["}, "APP_URL"),
        ({"BASE_URL": "http://x:99999"}, "BASE_URL"),
        ({"TRUSTED_PROXIES": "10.0.0.0/99"}, "TRUSTED_PROXIES"),
        ({"DEFAULT_FROM_EMAIL": "a\nb@example.org"}, "DEFAULT_FROM_EMAIL"),
        ({"DATABASE_URL": "postgres://u:Secr/etPw#1@127.0.0.1:5432/x"}, "DATABASE_URL"),
        ({"DATABASE_URL": "garbage"}, "DATABASE_URL"),
        ({"DATABASE_URL": "postgres://u@127.0.0.1/x?pgbouncer=true"}, "pgbouncer"),
        ({"USERS_REFRESH_ROTATION": "maybe"}, "USERS_REFRESH_ROTATION"),
        ({"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL"),
        ({"NOTIFICATIONS_LEASE": "20"}, "NOTIFICATIONS_LEASE"),
        ({"EMAIL_URL": "postal://k@mail.example.org", "NOTIFICATIONS_WEBHOOK_SECRET": "u:p"}, "No reports of postal"),
        ({"EMAIL_URL": "RESEND://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "whsec_no!key"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
        ({"EMAIL_URL": "sendgrid://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "no-such-key"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
        ({"EMAIL_URL": "resend://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "whsec_no!key"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
        ({"EMAIL_URL": "brevo://k@", "NOTIFICATIONS_WEBHOOK_SECRET": "no-password"}, "NOTIFICATIONS_WEBHOOK_SECRET"),
        ({"USERS_ARGON2_MEMORY": "8", "USERS_ARGON2_PARALLELISM": "2"}, "USERS_ARGON2_MEMORY"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_sentence(changes, words):
    result = manage("check", env=environment(SQLITE, **changes))

    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr
    for value in changes.values():
        assert len(value) < 8 or value not in result.stderr, "the value must not be printed"


def test_debug_starts_with_nothing_set():
    env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ}

    assert manage("check", env={**env, "ENV_FILE": "", "DEBUG": "1"}).returncode == 0


def test_the_seeds_database_settings_are_read():
    seed = {"POSTGRES_URL": "postgresql+asyncpg://u:p%40ss@db.example:5433/product"}
    parts = {
        "POSTGRES_HOST": "db.example",
        "POSTGRES_PORT": "5433",
        "POSTGRES_USER": "u",
        "POSTGRES_PASSWORD": "p@ss",
        "POSTGRES_DATABASE": "product",
    }
    program = (
        "from django.db import connection; d = connection.settings_dict; "
        "print(*(d[k] for k in 'HOST PORT USER PASSWORD NAME'.split()))"
    )

    for given in (seed, parts):
        result = manage("shell", "--no-imports", "-c", program, env=environment("", **given))
        assert result.stdout.strip() == "db.example 5433 u p@ss product", result.stderr


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
        text = re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: values[found[1]], str(text))
        return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: values.get(found[1], found[2]), text)

    env = {key: filled(value) for key, value in compose["services"]["web"]["environment"].items()}
    result = manage(
        "check", "--deploy", "--fail-level", "WARNING", env={"PATH": os.environ["PATH"], "ENV_FILE": "", **env}
    )

    assert result.returncode == 0, result.stderr


def test_every_setting_is_explained_in_the_example():
    source = (ROOT / "project/settings.py").read_text()
    read = set(re.findall(r'"([A-Z][A-Z0-9_]{3,})"', source)) - {
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
    assert explained - read == {"DATABASE_URL"}  # read in lib/env.py
    assert len(read) > 40


@pytest.mark.database
def test_readiness_is_down_until_the_database_is_migrated(tmp_path):
    with database(tmp_path) as url:
        env = environment(url)
        server = Server(env, log=tmp_path / "log", arguments=())
        try:
            until(server.is_up)
            before = httpx.get(server.url + "/readyz")
            assert manage("migrate", env=env).returncode == 0
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
        base, _, name = server.env["DATABASE_URL"].rpartition("/")
        with psycopg.connect(f"{base}/postgres", autocommit=True) as admin:
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))

            ready = until(lambda: (r := httpx.get(server.url + "/readyz")).json()["status"] != "ok" and r)
            during = httpx.get(server.url + "/api/feature-flags/feature-flags")
            login = httpx.post(server.url + "/api/login", data={"username": "a@b.org", "password": "x"})
            admin.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
            until(lambda: httpx.get(server.url + "/readyz").json()["status"] == "ok")

    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "unreachable" in ready.json()["checks"]["database"]["reason"]
    assert during.json() == flags
    assert (login.status_code, login.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_cleanly_with_connections_open(tmp_path, sent):
    with serving(tmp_path) as server, httpx.Client() as client:
        client.get(server.url + "/api/_status")

        server.stop(sent)

    assert server.process.returncode == 0
    assert "Traceback" not in server.log.read_text()


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
@pytest.mark.parametrize("processes", ["1", "2"])
def test_it_stops_while_calls_wait_for_the_database(tmp_path, processes):
    with (
        serving(tmp_path, WEB_CONCURRENCY=processes) as server,
        stalled(server.env["DATABASE_URL"]),
        calls(server.url, 20),
    ):
        seconds = server.stop()

    assert server.process.returncode == 0
    assert seconds < 10


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
        servers = [Server(environment(url), log=tmp_path / f"log{n}") for n in range(2)]
        try:
            for server in servers:
                until(server.is_up)
        finally:
            for server in servers:
                server.kill()


@pytest.mark.database
def test_the_first_admin_is_printed_once(tmp_path):
    with database(tmp_path) as url:
        prints = []
        for _ in range(2):
            server = Server(environment(url), log=tmp_path / "log", arguments=("--migrate", "--first-admin"))
            try:
                until(server.is_up)
            finally:
                server.stop()
            prints.append(server.log.read_text())

    assert "admin@example.com" in prints[0]
    assert "admin@example.com" not in prints[1]


def test_every_line_of_the_log_is_json(tmp_path):
    with serving(tmp_path) as server:
        httpx.get(server.url + "/api/nope")
        httpx.post(server.url + "/api/login", data={"username": "a@b.org", "password": "secret-of-a-person"})
        server.stop()
        lines = [line for line in server.log.read_text().splitlines() if not line.startswith("Switchboard")]

    assert {json.loads(line)["path"] for line in lines if "path" in line} >= {"/api/nope", "/api/login"}
    assert "secret-of-a-person" not in "".join(lines)


def _has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize(
    ("proxies", "seen", "changes"),
    [
        ("", "127.0.0.1", {}),
        ("127.0.0.0/8", "203.0.113.7", {}),
        # A socket for both families names an IPv4 peer in its mapped form.
        pytest.param(
            "127.0.0.1",
            "203.0.113.7",
            {"HOST": "::", "WEB_CONCURRENCY": "2"},
            marks=pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here"),
        ),
    ],
)
def test_forwarded_addresses_are_believed_from_listed_proxies_only(tmp_path, proxies, seen, changes):
    with serving(tmp_path, TRUSTED_PROXIES=proxies, **changes) as server:
        assert manage("createsuperuser", "--noinput", "--email", "root@example.org", env=server.env).returncode == 0
        reset = manage("reset_user_password", "root@example.org", "--stdin", env=server.env, input="Correct-Horse-7\n")
        assert reset.returncode == 0, reset.stderr
        form = {"username": "root@example.org", "password": "Correct-Horse-7"}
        headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.7", "Forwarded": "for=198.51.100.2"}
        assert httpx.post(server.url + "/api/login", data=form, headers=headers).status_code == 200
        program = "from users.models import UserSession; print(UserSession.objects.get().ip)"
        shown = manage("shell", "--no-imports", "-c", program, env=server.env)

    assert shown.stdout.strip() == seen
