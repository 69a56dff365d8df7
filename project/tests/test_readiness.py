"""`/readyz` where the database answers and takes no writes. What a lost one does: test_start.py."""

import pytest
from django.db import connection

from project import health, write_check
from users.tests.factories import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _unasked():
    write_check.forget()
    health._told = {}
    yield
    write_check.forget()
    health._told = {}


@pytest.fixture
def read_only():
    """As after a failover to a standby, or with SQLite's file on a disk that became read-only."""
    is_postgresql = connection.vendor == "postgresql"
    with connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY" if is_postgresql else "PRAGMA query_only = 1")
    yield "ReadOnlySqlTransaction" if is_postgresql else "SQLITE_READONLY"
    if not is_postgresql:
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA query_only = 0")


def test_a_database_that_takes_writes_is_ok(client):
    assert client.get("/readyz").json()["checks"]["database"] == {"status": "ok"}


def test_a_database_that_takes_no_writes_degrades_and_says_so_once(client, read_only, caplog):
    answers = [client.get("/readyz") for _ in range(3)]

    for answer in answers:
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert answer.json()["checks"]["database"]["reason"] == f"the database takes no writes ({read_only})"
    lines = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [line.message for line in lines] == ["readiness changed"]


def test_probes_share_one_write(client):
    client.get("/readyz")

    with connection.execute_wrapper(lambda execute, sql, *rest: (seen.append(sql), execute(sql, *rest))[1]):
        seen = []
        client.get("/readyz")

    assert not any("write_check" in sql or "user_version" in sql for sql in seen)


def test_a_write_that_is_not_taken_is_503_with_one_line(client, read_only, caplog):
    answer = client.post("/api/login", {"username": "ada@example.org", "password": PASSWORD})

    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [(line.message, line.exc_info) for line in errors] == [("database failed", None)]
