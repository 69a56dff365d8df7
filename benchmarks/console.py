"""`python -m benchmarks.console`: every page of the admin at a million people; writes CONSOLE.md.

A database of its own, filled by statements of generated rows; then each page is asked in this process, as a superuser.
Exits 0 when every bar holds, 1 when one does not.
"""

import argparse
import html
import os
import re
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import report, servers
from benchmarks.rows import fill

HERE = Path(__file__).resolve().parent
PAGE = HERE / "CONSOLE.md"
CPU_MS, QUERIES, MEDIAN_QUERIES, KILOBYTES = 60.0, 12, 8, 60.0
REPEATS = 5
#: Tables that grow with people; a statement that reads one of them row by row is a fault.
BIG = ("users_user", "users_usersearch", "users_usersession", "users_auditevent", "notifications_message")


# --- Pages ------------------------------------------------------------------------------------------------------------


@dataclass
class Figure:
    path: str
    cpu_ms: float = 0.0
    sql_ms: float = 0.0
    queries: int = 0
    kilobytes: float = 0.0
    page: str = field(default="", repr=False)
    scans: list[str] = field(default_factory=list)

    @property
    def is_met(self) -> bool:
        is_quick = self.cpu_ms + self.sql_ms <= CPU_MS and self.queries <= QUERIES
        return is_quick and not self.scans and self.kilobytes <= KILOBYTES


def addresses() -> Iterator[str]:
    """Every list, the page of a row in the middle of each, its history, and what is usually searched and filtered."""
    from django.contrib import admin
    from django.urls import NoReverseMatch, reverse

    for name in ("index", "activity", "find"):
        try:
            yield reverse(f"admin:{name}")
        except NoReverseMatch:
            continue
        yield from (f"{reverse(f'admin:{name}')}?{query}" for query in QUERIES_OF.get(name, ()))
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        yield reverse(f"{name}_changelist")
        newest = model._default_manager.order_by("-pk").first()
        if newest is not None:
            yield reverse(f"{name}_change", args=[newest.pk])
            yield reverse(f"{name}_history", args=[newest.pk])
        yield from (f"{reverse(f'{name}_changelist')}?{query}" for query in QUERIES_OF.get(model.__name__, ()))


QUERIES_OF = {
    "activity": ("by=all", "area=mail", "kind=mfa.failed", "person=okafor6", "thing=FF_04", "since=2026-01-01"),
    "find": ("q=ilva", "q=okafor6", "q=person77", "q=FF_04", "q=deactivate+okafor6"),
    "User": ("q=ilva", "q=okafor6", "q=okafor6&o=5", "q=example.org", "p=15"),
    "UserSession": ("q=okafor6",),
    "AuditEvent": ("q=okafor6",),
    "Message": ("q=person77", "p=15"),
    "FeatureFlag": ("q=FF_04",),
    "FlagUsage": ("q=FF_04",),
    "InAppNotification": ("q=ada.",),
}
#: Values of one filter that are pressed: the first ones and the last.
PRESSED = 4


def pressable(page: str) -> Iterator[str]:
    """What the list's own links ask of it: every filter, every sort, pages."""
    by_name: dict[str, list[str]] = {}
    for link in dict.fromkeys(re.findall(r'href="(\?[^"]+)"', page)):
        name = html.unescape(link).partition("=")[0]
        by_name.setdefault(name, []).append(html.unescape(link))
    for links in by_name.values():
        yield from dict.fromkeys([*links[: PRESSED - 1], links[-1]])


def measure(client: Any, path: str) -> Figure:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    figure, cpu, sql = Figure(path), [], []
    for number in range(REPEATS + 1):
        with CaptureQueriesContext(connection) as captured:
            began = time.thread_time()
            response = client.get(path, follow=True)
            spent = time.thread_time() - began
        if response.status_code != 200:
            sys.exit(f"{path}: {response.status_code}")
        if number:  # the first warms up
            cpu.append(spent * 1000)
            sql.append(sum(float(query["time"]) for query in captured.captured_queries) * 1000)
    statements = [
        query["sql"] for query in captured.captured_queries if not query["sql"].startswith(("SAVEPOINT", "B"))
    ]
    figure.cpu_ms, figure.sql_ms = statistics.median(cpu), statistics.median(sql)
    figure.queries, figure.kilobytes = len(statements), len(response.content) / 1000
    figure.page = response.content.decode()
    figure.scans = sorted({name for text in statements for name in scanned(text)})
    return figure


def scanned(sql: str) -> Iterator[str]:
    """The big tables that this statement reads from one end to the other, and all of it."""
    from django.db import connection

    if not sql.startswith(("SELECT", "WITH")):
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
            pending = [cursor.fetchone()[0][0]["Plan"]]
            while pending:
                node = pending.pop()
                pending += node.get("Plans", ())
                read = node.get("Actual Rows", 0) + node.get("Rows Removed by Filter", 0)
                if node["Node Type"] == "Seq Scan" and node["Relation Name"] in BIG and read > 150_000:
                    yield node["Relation Name"]
        else:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}")
            for row in cursor.fetchall():
                found = re.match(r"SCAN (\w+)(?! USING)$", row[3])
                if found and found[1] in BIG:
                    yield found[1]


def run(url: str, people: int, flags: int) -> list[Figure]:
    env = servers.environment("ours", 80, {"product": url})
    env |= {"LOG_LEVEL": "error", "USERS_STAFF_MFA": "optional", "NOTIFICATIONS_ENGINE": "worker"}
    os.environ |= env | {"DJANGO_SETTINGS_MODULE": "project.settings"}
    import django

    django.setup()
    from django.core.management import call_command
    from django.test import Client

    from feature_flags.runtime import store
    from users.models import User

    call_command("migrate", verbosity=0)
    began = time.monotonic()
    fill(people, flags)
    print(f"filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
    store.current()
    client = Client(headers={"host": "127.0.0.1"})
    client.force_login(User.objects.create_superuser("root@example.org"))
    figures: list[Figure] = []
    waiting = deque(addresses())
    while waiting:
        path = waiting.popleft()
        found = measure(client, path)
        figures.append(found)
        if "?" not in path and 'id="changelist"' in found.page:
            known = {each.path for each in figures} | set(waiting)
            waiting.extendleft(reversed([f"{path}{q}" for q in pressable(found.page) if f"{path}{q}" not in known]))
        print(
            f"{found.cpu_ms:7.1f} ms {found.sql_ms:7.1f} ms {found.queries:4} {found.kilobytes:6.1f} kB"
            f" {' ' if found.is_met else '!'} {path} {' '.join(found.scans)}",
            file=sys.stderr,
            flush=True,
        )
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.console", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--flags", type=int, default=5_000)
    parser.add_argument("--sqlite", action="store_true", help="on SQLite, in a file that goes afterwards")
    report.add_database(parser)
    options = parser.parse_args()
    report.begin(options)
    if options.sqlite:
        with tempfile.TemporaryDirectory() as folder:
            figures = run(f"sqlite:///{folder}/console.sqlite3", options.people, options.flags)
    else:
        with servers.databases(options.database_url, ["console"]) as urls:
            figures = run(urls["console"], options.people, options.flags)
            from django.db import connections

            connections.close_all()
    missed = [figure for figure in figures if not figure.is_met]
    median = statistics.median(figure.queries for figure in figures)
    text = page(options, figures, median)
    (HERE / "results" / "console.md").parent.mkdir(exist_ok=True)
    target = HERE / "results" / "console.md" if options.sqlite or options.people < 1_000_000 else PAGE
    target.write_text(text)
    print(f"{len(figures)} pages, {len(missed)} over a bar; queries of the median page: {median}; {target}")
    return 1 if missed or median > MEDIAN_QUERIES else 0


def page(options: argparse.Namespace, figures: list[Figure], median: float) -> str:
    database = "SQLite" if options.sqlite else "PostgreSQL"
    lines = [
        "# Benchmark results: the admin at a million people",
        "",
        f"{options.people:,} people, as many messages and audit events, {options.flags:,} flags with a week of use by",
        f"the hour; {database}, one process, median of {REPEATS}. CPU is that of this process, SQL the time spent",
        f"waiting for statements; both together have {CPU_MS:.0f} ms, statements {QUERIES} (the median page",
        f"{MEDIAN_QUERIES}: {median:.0f}), the page {KILOBYTES:.0f} kB before compression. No statement may read one",
        f"of the big tables from end to end. Load of the machine when it began: {options.load:.1f}.",
        "",
        "| page | CPU | SQL | statements | kB | ok? |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for found in figures:
        path = re.sub(r"/([0-9a-f-]{36}|[0-9]+)/", "/…/", found.path)
        ok = "yes" if found.is_met else " ".join(["**no**", *found.scans])
        cells = (f"`{path}`", f"{found.cpu_ms:.0f} ms", f"{found.sql_ms:.0f} ms", found.queries)
        lines.append(f"| {' | '.join(map(str, cells))} | {found.kilobytes:.0f} | {ok} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
