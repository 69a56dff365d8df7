"""A change made anywhere is known everywhere: two workers, commands beside them, a database that goes away."""

import os
import time
from datetime import UTC, datetime

import httpx
import psycopg
import pytest

from feature_flags.models import FlagRevision, FlagUsage
from feature_flags.services import editing, schedules
from lib.actors import Actor
from project.tests.processes import serving, until

pytestmark = pytest.mark.database

FLAG = "FF_ENABLE_REGISTRATION"
SEEN_SECONDS = 5  # the benchmark measures how fast; here it must only arrive


def answers(server, codename=FLAG, connections=12):
    """What new connections are told, which the kernel deals out to both workers."""
    told = []
    for _ in range(connections):
        flags = httpx.get(f"{server.url}/api/feature-flags/feature-flags", verify=False, timeout=30).json()
        told += [flag["is_active"] for flag in flags if flag["codename"] == codename]
    return told


def put(server, state, codename=FLAG):
    assert server.command("set_feature_flag", codename, state).returncode == 0


def count(server, rows):
    with server.connected():
        return rows.count()


def test_a_command_reaches_every_worker(server):
    for state, expected in (("off", False), ("on", True)):
        put(server, state)

        until(lambda expected=expected: answers(server) == [expected] * 12, SEEN_SECONDS)


def test_a_plan_switches_every_worker_and_is_written_once(server):
    assert server.command("create_feature_flag", "FF_PLANNED").returncode == 0
    at = time.time() + 1
    with server.connected():
        plan = {"at": datetime.fromtimestamp(at, UTC), "action": "on"}
        schedules.schedule(editing.get("FF_PLANNED"), **plan, actor=Actor.command("test"))

    until(lambda: answers(server, "FF_PLANNED") == [True] * 12)

    assert time.time() >= at
    switched = FlagRevision.objects.filter(door="schedule")
    until(lambda: count(server, switched) == 1)
    assert answers(server, "FF_PLANNED") == [True] * 12
    assert count(server, switched) == 1


def test_what_workers_counted_is_written(server):
    body = {"email": "used@example.org", "password": "Correct-Horse-7", "first_name": "A", "last_name": "B"}
    assert httpx.post(f"{server.url}/api/register", json=body).status_code == 201

    until(lambda: count(server, FlagUsage.objects.filter(codename=FLAG, yes__gt=0)))


@pytest.mark.skipif(not os.environ.get("TEST_DATABASE_URL"), reason="only PostgreSQL tells, and has connections to cut")
@pytest.mark.parametrize("listen", ["on", "off"])
def test_both_ways_to_hear_of_changes_outlive_their_connections(tmp_path, listen):
    with serving(tmp_path, WEB_CONCURRENCY="2", FLAGS_LISTEN=listen) as server:
        put(server, "off")
        until(lambda: answers(server) == [False] * 12, SEEN_SECONDS)

        with psycopg.connect(server.database_url, autocommit=True) as link:
            link.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        until(lambda: httpx.get(f"{server.url}/readyz", timeout=30).json()["status"] == "ok")
        put(server, "on")

        until(lambda: answers(server) == [True] * 12, SEEN_SECONDS)
