"""The whole database in a file, the way back, and its rehearsal."""

import os
import shutil
from pathlib import Path

import psycopg
import pytest
from django.db import connections, transaction

from feature_flags.models import FeatureFlag
from project.tests.processes import command, connected, database
from users.models import User
from users.tests.factories import UserFactory

SERVER = os.environ.get("TEST_DATABASE_URL")
pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(bool(SERVER) and not shutil.which("pg_dump"), reason="needs the programs of PostgreSQL"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """A database with three people."""
    with database(tmp_path_factory.mktemp("live"), migrated=True) as url:
        with connected(url):
            UserFactory.create_batch(3)
        yield url


@pytest.fixture(scope="module")
def backup(url, tmp_path_factory):
    """Made while somebody has written what is not committed."""
    directory = tmp_path_factory.mktemp("backups")
    with connected(url), transaction.atomic():
        UserFactory.create()
        made = command(url, "backup", str(directory))
        transaction.set_rollback(True)
    assert made.returncode == 0, made.stderr
    (file,) = directory.glob("switchboard-*Z.backup")
    return file


@pytest.fixture
def empty(tmp_path):
    with database(tmp_path) as url:
        yield url


def scratches(url):
    if not SERVER:
        return sorted(path.name for path in Path(url.removeprefix("sqlite:///")).parent.glob("*rehearsal*"))
    with psycopg.connect(url) as connection:
        names = "SELECT datname FROM pg_database WHERE datname LIKE current_database() || '_rehearsal%'"
        return connection.execute(names).fetchall()


def test_a_backup_has_what_was_committed_and_leads_into_an_empty_database(backup, empty):
    result = command(empty, "restore", str(backup))

    assert result.returncode == 0, result.stderr
    assert "Next: `manage.py migrate`" in result.stdout
    with connected(empty):
        assert User.objects.count() == 3
        assert FeatureFlag.objects.filter(codename="FF_ENABLE_REGISTRATION").exists()
        UserFactory.create()  # sequences and triggers came along
    assert command(empty, "migrate", "--check").returncode == 0


def test_nothing_is_restored_over_tables(url, backup):
    result = command(url, "restore", str(backup))

    assert result.returncode == 1
    assert result.stderr.startswith("A restore leads into an empty database")


def test_a_backup_takes_no_files_place_and_is_for_its_owner_alone(url, backup):
    before = backup.read_bytes()

    result = command(url, "backup", str(backup))

    assert (result.returncode, result.stderr) == (1, f"{backup} exists, and is not written over.\n")
    assert backup.read_bytes() == before
    assert backup.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in backup.parent.iterdir()] == [backup.name]


def test_a_backup_that_was_killed_leaves_nothing_that_looks_like_one(url, tmp_path):
    part = tmp_path / "nightly.backup.part"
    part.touch()

    again = command(url, "backup", str(tmp_path / "nightly.backup"))
    rehearsed = command(url, "rehearse_restore", str(tmp_path))

    assert (again.returncode, again.stderr.startswith(f"{part} exists: ")) == (1, True)
    assert (rehearsed.returncode, "There is no file named *.backup" in rehearsed.stderr) == (1, True)


def test_what_is_no_backup_is_refused_and_the_database_stays_empty(backup, empty, tmp_path):
    broken = tmp_path / "broken"
    for kept in (0, 2000, -2000):
        broken.write_bytes(backup.read_bytes()[:kept])

        result = command(empty, "restore", str(broken))

        assert result.returncode == 1
        assert "Traceback" not in result.stderr
        with connected(empty):
            assert connections["default"].introspection.table_names() == []


@pytest.mark.skipif(bool(SERVER), reason="programs of PostgreSQL copy there")
def test_a_copy_that_cannot_be_written_is_refused_in_one_line(backup, tmp_path):
    result = command(f"sqlite:///{tmp_path}/missing/db.sqlite3", "restore", str(backup))

    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert f"cannot be copied to {tmp_path}/missing/db.sqlite3" in result.stderr


@pytest.mark.skipif(not SERVER, reason="SQLite needs no program")
def test_without_the_programs_of_postgresql_nothing_is_left_behind(url, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    result = command(url, "backup", str(tmp_path / "nightly"))

    assert result.returncode == 1
    assert result.stderr.startswith("pg_dump is not installed here.")
    assert not list(tmp_path.iterdir())


def test_a_rehearsal_restores_the_newest_backup_counts_and_leaves_nothing(url, backup):
    older = backup.with_name("older.backup")
    older.touch()
    os.utime(older, (0, 0))
    other = backup.with_name("log")
    other.touch()

    result = command(url, "rehearse_restore", str(backup.parent))

    older.unlink()
    other.unlink()
    assert result.returncode == 0, result.stderr
    assert "users.User 3 3" in " ".join(result.stdout.split())
    assert scratches(url) == []


@pytest.mark.skipif(bool(SERVER), reason="the comparison is the same on both")
def test_a_rehearsal_fails_where_a_backup_lacks_what_there_is_today(url, backup):
    with connected(url):
        late = UserFactory.create_batch(2)

    result = command(url, "rehearse_restore", str(backup))

    with connected(url):
        User.objects.filter(pk__in=[user.pk for user in late]).delete()
    assert (result.returncode, result.stderr.split(":")[0]) == (1, "Of these the backup has less than 90 in a hundred")
    assert scratches(url) == []
