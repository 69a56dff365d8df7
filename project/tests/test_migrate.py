"""`migrate` beside processes that go on serving."""

import os
import threading
from io import StringIO

import psycopg
import pytest
from django.apps import apps
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.state import ProjectState
from django.db.models import Index

from lib.migrations import AddIndexConcurrently, RemoveIndexConcurrently
from project.management.commands import migrate
from project.tests.processes import connected, database, until

pytestmark = pytest.mark.database
on_postgresql = pytest.mark.skipif(not os.environ.get("TEST_DATABASE_URL"), reason="SQLite has one lock")
BUSY = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s"


@pytest.fixture
def url(tmp_path):
    with database(tmp_path, migrated=True) as url:
        yield url


@pytest.fixture
def reading(url):
    """Somebody's transaction that has read a session."""
    with psycopg.connect(url, application_name="a long report") as other:
        other.execute("SELECT * FROM django_session")
        yield other


def drop_sessions(url):
    told = StringIO()
    with connected(url):
        call_command("migrate", "sessions", "zero", lock_timeout=50, verbosity=0, stderr=told)
    return told.getvalue()


@on_postgresql
def test_a_migration_tries_again_while_a_table_is_locked(url, reading, monkeypatch):
    monkeypatch.setattr(migrate, "pause", lambda seconds: reading.rollback())

    told = drop_sessions(url)

    assert "trying again in 1 s" in told
    assert "(a long report, idle in transaction, " in told
    assert not reading.execute("SELECT to_regclass('django_session')").fetchone()[0]


@on_postgresql
def test_a_migration_gives_up_in_the_end_and_says_who_was_in_the_way(url, reading, monkeypatch):
    monkeypatch.setattr(migrate, "_PAUSES", ())

    with pytest.raises(CommandError, match=r"stayed locked.*a long report"):
        drop_sessions(url)


@on_postgresql
def test_a_host_that_waits_to_migrate_is_not_in_the_way_of_an_index_of_the_one_that_does(url):
    def wait():
        with connected(url):
            call_command("migrate", "sessions", verbosity=0)

    with psycopg.connect(url, autocommit=True) as first:
        first.execute("SELECT pg_advisory_lock(%s)", [migrate._MIGRATING])
        second = threading.Thread(target=wait)
        second.start()
        until(lambda: first.execute(BUSY, ["SELECT pg_%advisory_lock%"]).fetchone()[0])
        first.execute("CREATE INDEX CONCURRENTLY wanted ON users_user (last_login)")
        first.execute("SELECT pg_advisory_unlock(%s)", [migrate._MIGRATING])
        second.join()


def indexes():
    with connection.cursor() as cursor:
        return connection.introspection.get_constraints(cursor, "users_user")


@pytest.mark.django_db(transaction=True)
def test_an_index_that_an_interruption_left_is_made_anew_and_the_way_back_removes_it():
    before = ProjectState.from_apps(apps)
    add = AddIndexConcurrently("user", Index(fields=["first_name", "last_name"], name="by_whole_name"))
    remove = RemoveIndexConcurrently("user", "by_whole_name")
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX by_whole_name ON users_user (first_name)")
    after = before.clone()
    add.state_forwards("users", after)

    with connection.schema_editor(atomic=False) as editor:
        add.database_forwards("users", editor, before, after)
        assert indexes()["by_whole_name"]["columns"] == ["first_name", "last_name"]
        remove.database_forwards("users", editor, after, before)
        assert "by_whole_name" not in indexes()
        remove.database_backwards("users", editor, before, after)
        assert "by_whole_name" in indexes()
        add.database_backwards("users", editor, after, before)
        assert "by_whole_name" not in indexes()
