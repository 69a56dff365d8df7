"""What the product writes is for its own user to read, whichever door makes it first."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from project.tests.processes import Server, command, environment, until

ROOT = Path(settings.BASE_DIR)
WRITE = "from django.db import connection; c = connection.cursor(); c.execute('CREATE TABLE t (a)')"
MAIL = "from django.core.mail import send_mail; send_mail('s', 'b', 'a@example.org', ['b@example.org'])"
HELD = (
    "import pathlib, stat; "
    "MODES = lambda: [oct(stat.S_IMODE(path.stat().st_mode)) for path in pathlib.Path(HERE).rglob('*')]"
)
DOORS = {
    "migrate": ["manage.py", "migrate", "--verbosity", "0"],
    "any command": ["manage.py", "list_feature_flags"],
    "runserver": ["manage.py", "runserver", "--noreload", "192.0.2.1:8000"],
    "ASGI": ["-c", f"import project.asgi; {WRITE}; print(*MODES())"],
    "WSGI, mails in files": ["-c", f"import project.wsgi; {WRITE}; {MAIL}; print(*MODES())"],
    "previews": ["manage.py", "notifications_preview", "users.welcome", "--out", "previews"],
}


def modes(folder):
    """The files of a folder and below, with their permissions."""
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("door", DOORS)
def test_files_are_private_by_default(door, tmp_path):
    """Under the usual umask of a shell; with the database open, so that SQLite's other files are there, too."""
    arguments = [text.replace("previews", str(tmp_path / "previews")) for text in DOORS[door]]
    if arguments[0] == "-c":
        arguments[1] = f"HERE = {str(tmp_path)!r}; {HELD}; {arguments[1]}"
    env = environment(f"sqlite:///{tmp_path / 'db.sqlite3'}", EMAIL_URL=f"filemail:///{tmp_path / 'mail'}")

    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, umask=0o022, capture_output=True, text=True, timeout=60
    )

    found = modes(tmp_path)
    assert found, done.stderr
    assert set(found.values()) == {"0o600"}
    assert set(done.stdout.split()) <= {"0o600", "0o700"} or arguments[0] != "-c"


def test_files_of_a_server_are_private(tmp_path):
    (tmp_path / "db").mkdir()
    env = environment(f"sqlite:///{tmp_path / 'db' / 'x.sqlite3'}")
    before = os.umask(0o022)
    try:
        server = Server(env, log=tmp_path / "server.log", arguments=("--migrate",))
    finally:
        os.umask(before)
    try:
        until(lambda: server.is_up("/readyz"))
        assert set(modes(tmp_path / "db").values()) == {"0o600"}
    finally:
        server.kill()


def test_an_older_database_that_others_can_read_is_named(tmp_path):
    url = f"sqlite:///{tmp_path / 'db.sqlite3'}"
    command(url, "migrate")
    assert "open-database" not in command(url, "check_accounts").stdout
    (tmp_path / "db.sqlite3").chmod(0o644)

    assert "Other users of this machine can read db.sqlite3" in command(url, "check_accounts").stdout
