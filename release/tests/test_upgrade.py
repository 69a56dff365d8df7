"""The release before and this one, side by side, as an upgrade has them: real processes of both on one database.

The one before runs on the packages of this one.
"""

import contextlib
import importlib.util
import os
import shutil
import sqlite3
import subprocess
import sys

import httpx
import psycopg
import pytest

from project.tests.processes import DEADLINE, ROOT, Server, database, environment, until
from release import history, journey, schema

SERVER = os.environ.get("TEST_DATABASE_URL")
ADMIN = ("admin@example.org", "Correct-Horse-7")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not history.is_cloned_whole(), reason="a shallow clone or an export lacks the release before"),
]
FIRST_STEPS = f"""
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("createsuperuser", interactive=False, email="{ADMIN[0]}", verbosity=0)
"""


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    """The files of the release before."""
    return history.unpack(history.last(), tmp_path_factory.mktemp("before") / "files")


@pytest.fixture(params=["sqlite", "postgresql"])
def databases(request, tmp_path, monkeypatch):
    """The URLs of two empty databases."""
    if request.param == "sqlite":
        monkeypatch.delenv("TEST_DATABASE_URL", raising=False)
    elif not SERVER or not shutil.which("pg_dump"):
        pytest.skip("needs TEST_DATABASE_URL and the programs of PostgreSQL")
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(database(directory(tmp_path / name))) for name in ("live", "restored")]


def directory(path):
    path.mkdir()
    return path


def run(root, url, *arguments):
    """Run Python with the files of a release; what it says when it fails is the failure."""
    env = environment(url, DJANGO_SUPERUSER_PASSWORD=ADMIN[1])
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=env, capture_output=True, text=True, timeout=DEADLINE
    )
    assert done.returncode == 0, done.stderr


@contextlib.contextmanager
def serving(root, url, log):
    server = Server(environment(url, USERS_STAFF_MFA="optional"), log=log, root=root)
    try:
        until(server.is_up)
        yield server
    finally:
        server.kill()


def journey_of(root):
    """Its own; of releases that came without one, this one's."""
    file = root / "release" / "journey.py"
    if not file.exists():
        return journey
    spec = importlib.util.spec_from_file_location("journey_before", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sent(url):
    """How many mails have been handed over."""
    is_file = url.startswith("sqlite:///")
    connected = sqlite3.connect(url.removeprefix("sqlite:///")) if is_file else psycopg.connect(url)
    with contextlib.closing(connected):
        return connected.execute("SELECT count(*) FROM notifications_message WHERE state = 'sent'").fetchone()[0]


def test_an_upgrade_from_a_restored_backup_beside_the_release_before(before, databases, tmp_path):
    live, restored = databases
    run(before, live, "manage.py", "shell", "--command", FIRST_STEPS)
    run(ROOT, live, "manage.py", "backup", str(tmp_path / "backup"))
    run(ROOT, restored, "manage.py", "restore", str(tmp_path / "backup"))
    since = schema.since(history.migrations(history.last()))

    with serving(before, restored, tmp_path / "old.log") as old, serving(ROOT, restored, tmp_path / "new.log") as new:
        if since:
            assert httpx.get(f"{new.url}/readyz", verify=False).status_code == 503
        run(ROOT, restored, "manage.py", "migrate")

        until(lambda: httpx.get(f"{old.url}/readyz", verify=False).json()["status"] == "ok")
        journey_of(before).run(old.url, *ADMIN)
        journey.run(new.url, *ADMIN)
        until(lambda: httpx.get(f"{new.url}/readyz", verify=False).json()["status"] == "ok")
        journey_of(before).run(old.url, *ADMIN)
        until(lambda: sent(restored) >= 9)
