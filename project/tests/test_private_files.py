"""What the product writes is for its own user to read, whichever door makes it first."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from project.tests.processes import DEADLINE, command, database, environment

ROOT = Path(settings.BASE_DIR)
WRITE = "from django.db import connection; c = connection.cursor(); c.execute('CREATE TABLE t (a)')"
MAIL = "from django.core.mail import send_mail; send_mail('s', 'b', 'a@example.org', ['b@example.org'])"
HELD = (
    "import pathlib, stat; "
    "MODES = lambda: [oct(stat.S_IMODE(path.stat().st_mode)) for path in pathlib.Path(HERE).rglob('*')]"
)
DOORS = {
    "any command": ["manage.py", "migrate", "contenttypes", "--verbosity", "0"],
    "ASGI": ["-c", f"import project.asgi; {WRITE}; print(*MODES())"],
    "WSGI, mails in files": ["-c", f"import project.wsgi; {WRITE}; {MAIL}; print(*MODES())"],
}


def modes(folder):
    """The files of a folder and below, with their permissions."""
    return {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("door", DOORS)
def test_files_are_private_by_default(door, tmp_path):
    """Under the usual umask of a shell; with the database open, so that SQLite's other files are there, too."""
    arguments = [*DOORS[door]]
    if arguments[0] == "-c":
        arguments[1] = f"HERE = {str(tmp_path)!r}; {HELD}; {arguments[1]}"
    env = environment(f"sqlite:///{tmp_path / 'db.sqlite3'}", EMAIL_URL=f"filemail:///{tmp_path / 'mail'}")

    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, umask=0o022, capture_output=True, text=True, timeout=DEADLINE
    )

    found = modes(tmp_path)
    assert found, done.stderr
    assert set(found.values()) == {"0o600"}
    assert set(done.stdout.split()) <= {"0o600", "0o700"} or arguments[0] != "-c"


def test_an_older_database_that_others_can_read_is_named(tmp_path):
    with database(tmp_path, migrated=True) as url:
        file = Path(url.removeprefix("sqlite:///"))
        file.chmod(0o600)
        assert "Other users" not in command(url, "check_accounts").stdout
        file.chmod(0o644)

        assert f"Other users of this machine can read {file.name}" in command(url, "check_accounts").stdout
