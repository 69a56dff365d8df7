"""The whole database in one file, the way back into an empty database, and the rehearsal of that way.

SQLite is copied by its own backup API, PostgreSQL by `pg_dump` and `pg_restore` of this machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from django.apps import apps
from django.core.management import call_command
from django.db import Error as DatabaseFailure
from django.db import connection
from django.utils import timezone

from lib.db import libpq_parameters
from lib.errors import ProductError

#: What a rehearsal counts.
MAIN_MODELS = (
    "users.User",
    "users.UserSession",
    "users.AuditEvent",
    "feature_flags.FeatureFlag",
    "feature_flags.FlagRevision",
    "notifications.Message",
    "notifications.InAppNotification",
)

#: What a rehearsal takes for backups in a directory: ours, and what `pg_dump` is asked to write.
SUFFIXES = (".backup", ".dump")
_RESTORING = ("--exit-on-error", "--single-transaction", "--no-owner", "--no-privileges")


class Count(NamedTuple):
    model: str
    restored: int
    live: int


def make(path: Path) -> Path:
    """Write a copy as of this moment, while others go on writing, and return its file: in a directory one named after
    the time. It appears when it is whole, is for its owner to read, and takes no other file's place.

    Raises: DATABASE_EMPTY, FILE_EXISTS, FILE_UNUSABLE, PROGRAM_MISSING, PROGRAM_FAILED.
    """
    if path.is_dir():
        path /= f"switchboard-{timezone.now():%Y-%m-%dT%H%M%S}Z.backup"
    if _is_empty():
        raise ProductError("DATABASE_EMPTY", "There is nothing to copy: the database has no tables.")
    if path.exists():
        raise ProductError("FILE_EXISTS", f"{path} exists, and is not written over.", status=409)
    part = path.with_name(f"{path.name}.part")
    try:
        part.touch(0o600, exist_ok=False)
    except FileExistsError:
        message = f"{part} exists: another backup is at work, or one was ended, and it can be removed."
        raise ProductError("FILE_EXISTS", message, status=409) from None
    except OSError as error:
        raise ProductError("FILE_UNUSABLE", f"{path} cannot be written: {error.strerror}.") from None
    try:
        if _is_sqlite():
            _copy(Path(_name()), part)
            _check(part)
        else:
            _run("pg_dump", "--format=custom", f"--file={part}")
        with part.open("rb") as written:
            os.fsync(written.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def restore(path: Path) -> None:
    """Fill the empty database with what the file holds, all of it or nothing. Migrations are the next step.

    Raises: FILE_UNUSABLE, DATABASE_NOT_EMPTY, PROGRAM_MISSING, PROGRAM_FAILED.
    """
    if not path.is_file():
        raise ProductError("FILE_UNUSABLE", f"There is no file {path}.")
    if not _is_empty():
        raise ProductError(
            "DATABASE_NOT_EMPTY",
            "A restore leads into an empty database, and this one has tables: make a new one, point DATABASE_URL at it,"
            " and try again. The old one stays as it is.",
            status=409,
        )
    connection.close()
    if _is_sqlite():
        _check(path)
        _copy(path, Path(_name()))
    else:
        _run("pg_restore", *_RESTORING, f"--dbname={_name()}", str(path))
    if _is_empty():
        raise ProductError("FILE_UNUSABLE", f"{path} holds no tables.")


def rehearse(path: Path) -> tuple[Path, list[Count]]:
    """Restore the file, of a directory the newest one, into a database of its own, migrate that, count its rows and
    today's, and drop it. Returns the file and the counts.

    Raises: what `restore` raises, and SCRATCH_REFUSED.
    """
    if path.is_dir():
        files = [each for each in path.iterdir() if each.suffix in SUFFIXES]
        if not files:
            raise ProductError("FILE_UNUSABLE", f"There is no file named *.backup or *.dump in {path}.")
        path = max(files, key=lambda file: file.stat().st_mtime)
    live = _counts()
    with _scratch():
        restore(path)
        call_command("migrate", verbosity=0, interactive=False)
        restored = _counts()
    return path, [Count(model, restored[model], live[model]) for model in MAIN_MODELS]


def _counts() -> dict[str, int]:
    return {model: apps.get_model(model)._default_manager.count() for model in MAIN_MODELS}


def _is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def _name() -> str:
    return str(connection.settings_dict["NAME"])


def _is_empty() -> bool:
    if _is_sqlite() and not Path(_name()).exists():
        return True
    return not connection.introspection.table_names()


def _copy(source: Path, target: Path) -> None:
    """The one into the other, as of one moment. Raises: FILE_UNUSABLE, as on a full disk."""
    try:
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as written:
            read.backup(written)
            # One file: without a log beside it.
            written.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        raise ProductError("FILE_UNUSABLE", f"{source} cannot be copied to {target}: {error}.") from None


def _check(file: Path) -> None:
    """SQLite's own search for damage. Raises: FILE_UNUSABLE."""
    try:
        with closing(sqlite3.connect(file)) as connected:
            (found,) = connected.execute("PRAGMA integrity_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise ProductError("FILE_UNUSABLE", f"{file} is damaged: {found}.")


def _run(program: str, *arguments: str) -> None:
    """Run a program of PostgreSQL on our database. Raises: PROGRAM_MISSING, PROGRAM_FAILED."""
    if not shutil.which(program):
        raise ProductError(
            "PROGRAM_MISSING",
            f"{program} is not installed here. Run it where PostgreSQL is: docs/upgrading.md names the command.",
        )
    done = subprocess.run([program, *arguments], env=_environment(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    if done.returncode:
        message = done.stderr.decode(errors="replace").strip()
        raise ProductError("PROGRAM_FAILED", message or f"{program} ended with {done.returncode}.")


def _environment() -> dict[str, str]:
    """How Django connects, as libpq reads it; not in arguments, which everybody on this machine can see."""
    given = libpq_parameters()
    names = {option.keyword.decode(): option.envvar for option in psycopg.pq.Conninfo.get_defaults()}
    return dict(os.environ) | {
        name.decode(): str(given[keyword]) for keyword, name in names.items() if name and given.get(keyword) is not None
    }


@contextmanager
def _scratch() -> Iterator[None]:
    """In this block the connection leads to a new, empty database, which is dropped at the end.

    Raises: SCRATCH_REFUSED.
    """
    before = _name()
    if _is_sqlite():
        beside = tempfile.TemporaryDirectory(dir=Path(before).parent, prefix="rehearsal-")
        with beside as directory, _connected(str(Path(directory, "restored.sqlite3"))):
            yield
        return
    name = f"{before[:40]}_rehearsal_{secrets.token_hex(4)}"
    quoted = connection.ops.quote_name(name)
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {quoted} TEMPLATE template0")
    except DatabaseFailure as error:
        raise ProductError("SCRATCH_REFUSED", f"No database to rehearse in can be made: {error}") from None
    try:
        with _connected(name):
            yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {quoted} WITH (FORCE)")


@contextmanager
def _connected(name: str) -> Iterator[None]:
    before = _name()
    connection.close()
    connection.settings_dict["NAME"] = name
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["NAME"] = before
