"""What else may go wrong, one run each: what must happen, and what was seen."""

import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg

from benchmarks import report
from benchmarks.notifications.scene import TIMEOUT, Scene, addresses, names, until
from benchmarks.notifications.types import HOLD, MAIL

AWAY = 10.0


@dataclass(frozen=True)
class Seen:
    """One line of the table of faults."""

    fault: str
    expected: str
    seen: str
    is_met: bool


def outage(scene: Scene, *, count: int) -> report.Samples:
    """The mail server refuses connections for ten seconds while mail waits."""
    scene.clear()
    worker = scene.worker()
    scene.order(listen=False)
    scene.ask("queue", type=MAIL, names=names("outage", count))
    time.sleep(AWAY)
    scene.order(listen=True)
    back = time.monotonic()
    scene.settle()
    taken = scene.take()
    rows = scene.ask("rows")
    worker.stop()
    return {
        (scene.vendor, "outage_lost"): [count - len(set(addresses(taken)))],
        (scene.vendor, "outage_doubled"): [len(taken) - len(set(addresses(taken)))],
        (scene.vendor, "outage_burnt"): [sum(row["attempts"] for row in rows) - count],
        (scene.vendor, "outage_seconds"): [max(done for *_, done in taken) - back],
        (scene.vendor, "outage_attempts_noted"): [scene.ask("outcomes").get("transport_down", 0)],
    }


def misbehaviour(scene: Scene, *, others: int) -> list[Seen]:
    """Answers of every kind in one queue, one worker."""
    scene.clear()
    scripts = {
        "busy": {"at": "dot", "replies": ["451 later", "451 later"]},
        "gone": {"at": "rcpt", "replies": ["550 5.1.1 no such user"] * 9},
        "cut": {"at": "dot", "replies": ["cut"]},
        "cut-hold": {"at": "dot", "replies": ["cut"]},
        "hang": {"at": "dot", "replies": ["hang"]},
        "hang-hold": {"at": "dot", "replies": ["hang"]},
    }
    scene.order(scripts={f"{name}@example.org": script for name, script in scripts.items()})
    ids = scene.ask("queue", type=MAIL, names=["poisoned"], poisoned=True)
    for name in scripts:
        ids |= scene.ask("queue", type=HOLD if name.endswith("hold") else MAIL, names=[name])
    ids |= scene.ask("queue", type=MAIL, names=names("other", others))
    start = time.monotonic()
    worker = scene.worker()
    scene.settle()
    worker.stop()
    taken = scene.take()
    copies = Counter(addresses(taken))
    rows = {row["to_address"].partition("@")[0]: row for row in scene.ask("rows")}
    same = all(ids[address] == uid for uid, address, _, _ in taken)

    def seen(fault: str, name: str, expected: str) -> Seen:
        row = rows[name]
        copied = copies[f"{name}@example.org"]
        found = f"{row['state']}, attempts {row['attempts']}, at the mail server {copied}"
        return Seen(fault, expected, found, found == expected and same)

    last = max(done for _, address, _, done in taken if address.startswith("other"))
    late = last - start
    sent = sum(copies[f"other{number}@example.org"] == 1 for number in range(others))
    return [
        seen("cannot be rendered, first in line", "poisoned", "failed, attempts 1, at the mail server 0"),
        seen("451 twice", "busy", "sent, attempts 3, at the mail server 1"),
        seen("550 at RCPT", "gone", "failed, attempts 1, at the mail server 0"),
        seen("cut after DATA, `retry`", "cut", "sent, attempts 2, at the mail server 2"),
        seen("cut after DATA, `hold`", "cut-hold", "unknown, attempts 1, at the mail server 1"),
        seen("silence after DATA, `retry`", "hang", "sent, attempts 2, at the mail server 2"),
        seen("silence after DATA, `hold`", "hang-hold", "unknown, attempts 1, at the mail server 1"),
        Seen(
            f"the {others} behind these, one worker",
            f"sent once each, within 2 timeouts of {TIMEOUT} s and 5 s",
            f"{sent} sent once, within {late:.1f} s",
            sent == others and late <= 2 * TIMEOUT + 5,
        ),
    ]


def sigterm(scene: Scene, *, count: int) -> list[Seen]:
    """A worker told to stop in the middle of its work, then another one for the rest."""
    scene.clear()
    scene.order(delay=1)
    scene.ask("queue", type=MAIL, names=names("stop", count))
    timeout = 3
    worker = scene.worker(NOTIFICATIONS_TIMEOUT=str(timeout), NOTIFICATIONS_LEASE=str(2 * timeout + 10))
    until(lambda: scene.arrived() > 1, "mail arrives")
    code, seconds = worker.stop()
    states = Counter((row["state"], row["attempts"]) for row in scene.ask("rows"))
    is_clean = set(states) <= {("sent", 1), ("queued", 0)}
    scene.order(delay=0)
    other = scene.worker()
    scene.settle()
    other.stop()
    taken, attempts = addresses(scene.take()), sum(row["attempts"] for row in scene.ask("rows"))
    found = f"exit {code} within {seconds:.1f} s, {'rest given back' if is_clean else dict(states)}"
    return [
        Seen(
            "SIGTERM while sending",
            f"exit 0 within one timeout of {timeout} s, rest given back; then {count} sent, attempts {count}",
            f"{found}; then {len(set(taken))} sent, attempts {attempts}",
            code == 0
            and seconds <= timeout
            and is_clean
            and sorted(taken) == sorted(set(taken))
            and len(taken) == attempts == count,
        )
    ]


def database_away(scene: Scene, admin_url: str, *, count: int, seconds: float = 3.0) -> list[Seen]:
    """PostgreSQL: every connection cut, new ones refused. SQLite: another process holds the write lock."""
    scene.clear()
    scene.order(delay=0.02)
    scene.ask("queue", type=MAIL, names=names("away", count))
    # With SQLite's usual 20 s nobody would notice.
    short = f"{scene.env['DATABASE_URL']}?timeout=1"
    worker = scene.worker(**({"DATABASE_URL": short} if scene.vendor == "sqlite" else {}))
    until(lambda: scene.arrived() > 10, "mail arrives")
    path = urlsplit(scene.env["DATABASE_URL"]).path
    if scene.vendor == "sqlite":
        _lock(path, seconds)
    else:
        _cut(admin_url, path.strip("/"), seconds)
    scene.settle()
    alive = worker.process.poll() is None
    worker.stop()
    taken = addresses(scene.take())
    lost, doubled = count - len(set(taken)), len(taken) - len(set(taken))
    what = {
        "sqlite": f"another process holds SQLite's write lock for {seconds:.0f} s, busy timeout 1 s",
        "postgresql": f"every connection to PostgreSQL cut, new ones refused for {seconds:.0f} s",
    }
    return [
        Seen(
            what[scene.vendor],
            "the same process goes on; 0 lost, 0 doubled",
            f"{'the same process goes on' if alive else 'the worker ended'}; {lost} lost, {doubled} doubled",
            alive and lost == doubled == 0,
        )
    ]


def _cut(admin_url: str, name: str, seconds: float) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        try:
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            time.sleep(seconds)
        finally:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def _lock(path: str, seconds: float) -> None:
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
