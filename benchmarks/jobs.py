"""`python -m benchmarks.jobs`: every periodic job, command and verb of staff beside a million rows; writes JOBS.md.

A database of its own, filled by `rows.py`, in which a twentieth of each kind of row is over. Each job runs in this
process, first at a tenth of the size, then at the whole one. Exits 0 when every bar holds, 1 when one does not.
"""

import argparse
import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import report, servers
from benchmarks.rows import age, fill, is_postgresql, key, statement

HERE = Path(__file__).resolve().parent
PAGE = HERE / "JOBS.md"
TRANSACTION_SECONDS, GROWTH, BIG = 1.0, 2.0, 0.5
#: Accounts of the bar on deletions, and the CPU they may take.
ACCOUNTS, ACCOUNT_SECONDS = 50_000, 60.0


#: Commands that are there to read all of a table.
READS_ALL = ("check_accounts", "rotate_token_keys")


@dataclass
class Figure:
    """CPU and longest transaction in seconds. `scans` are big tables of which more than half was read in order."""

    name: str
    items: int = 0
    cpu: float = 0.0
    database: float = 0.0
    statements: int = 0
    transaction: float = 0.0
    scans: list[str] = field(default_factory=list)
    #: CPU for an item here, over what it was at a tenth of the size.
    growth: float | None = None

    @property
    def each(self) -> float:
        return (self.cpu + self.database) / max(self.items, 1)

    @property
    def is_met(self) -> bool:
        is_quick = self.transaction <= TRANSACTION_SECONDS and (not self.scans or self.name in READS_ALL)
        return is_quick and (self.growth is None or self.growth <= GROWTH)


# --- The jobs ---------------------------------------------------------------------------------------------------------


def jobs(people: int, over: int) -> Iterator[tuple[str, Callable[[], int]]]:
    """A name, and what does it and returns how many items it did."""
    from django.utils import timezone

    from feature_flags.models import FeatureFlag
    from feature_flags.services import editing
    from lib.actors import Actor, RequestInfo
    from notifications.models import Announcement, Message, WebhookEndpoint
    from notifications.services import announcements, endpoints, recipients, staff_actions
    from notifications.services import periodic_jobs as own
    from users.models import User, UserSession
    from users.services import deletion, sessions, staff

    actor, now = Actor.command("benchmark"), timezone.now()

    def person(part: float) -> Any:
        """Somebody in the middle of the table."""
        return User.objects.extra(where=[f"id = {key(str(int(people * part)))}"]).get()

    # What purge_accounts and the job users.purge do, a kind at a time.
    everything = dict(deletion.KINDS)
    for name in everything:

        def purge(name: str = name) -> int:
            deletion.KINDS = {name: everything[name]}
            try:
                return sum(count for _kind, count in deletion.purge_slices(now))
            finally:
                deletion.KINDS = everything

        if name == "deletions":
            # So few that they may not depend on how many there are.
            few = f"SELECT id FROM users_user WHERE delete_after_at IS NOT NULL ORDER BY id OFFSET {over // 10}"
            later, back = (f"delete_after_at + interval '{days} days'" for days in (900, -900))
            if is_postgresql():
                statement(f"UPDATE users_user SET delete_after_at = {later} WHERE id IN ({few})")
                yield f"users.purge: {name}, {over // 10:,}", purge
                which = "delete_after_at > now() + interval '800 days'"
                statement(f"UPDATE users_user SET delete_after_at = {back} WHERE {which}")
        yield f"users.purge: {name}", purge
    yield "users.purge: nothing over", lambda: sum(count for _kind, count in deletion.purge_slices(now)) or 1

    yield "notifications.housekeeping", lambda: sum(count for _what, count in own.purge())
    yield "notifications.housekeeping: nothing over", lambda: sum(count for _what, count in own.purge(now)) or 1

    def job(name: str) -> int:
        """As the workers run it."""
        work = own._jobs[name][0]
        return sum(count for _what, count in work(None)) or 1

    def left() -> int:
        return sum(count for _what, count in endpoints.work()) or 1

    for name in ("admin.statistics", "feature_flags.usage", "admin.sessions"):
        yield name, lambda name=name: job(name)
    yield "prune_flag_usage --days 2", lambda: command("prune_flag_usage", "--days", "2")
    for line in (
        "purge_accounts --dry-run",
        "notifications_purge --dry-run",
        "check_accounts",
        "check_feature_flags",
        "list_sessions",
        "list_sessions --since 1d",
        "audit_log",
        "audit_log --event login --outcome failed",
        "audit_log --door command",
        "notifications_status",
        "notifications_check",
        "webhooks_list",
        "export_feature_flags",
        "rotate_token_keys",
        "notifications_retry --type users.welcome --dry-run",
        "notifications_retry --type users.welcome",
        "notifications_cancel --type users.welcome --dry-run",
        "notifications_cancel --all-queued",
    ):
        yield line, lambda line=line: command(*line.split())

    def suppress() -> int:
        return recipients.suppress("x@example.org", scope="all", reason="staff", source="benchmark")

    def ask_for_deletion() -> int:
        user = person(0.7)
        session = sessions.new_session(user, RequestInfo(), UserSession.Kind.API, timezone.now())
        own_actor = Actor("api", user, request=RequestInfo(session_id=session.pk))
        return bool(deletion.request(user, actor=own_actor))

    sent = Message.objects.filter(state="sent", type="users.welcome")
    # What staff do, by whatever door.
    yield "verb: deactivate", lambda: staff.deactivate(person(0.5), actor=actor, reason="x")
    yield "verb: activate", lambda: staff.activate(person(0.5), actor=actor)
    yield "verb: sign out", lambda: staff.sign_out(person(0.5), actor=actor)
    yield "verb: unlock", lambda: staff.unlock(person(0.5), actor=actor) or 1
    yield "verb: export a person", lambda: len("".join(staff.export_of(person(0.5), actor=actor, reason="x"))) and 1
    yield "verb: send a reset", lambda: staff.send_reset(person(0.6), actor=actor) or 1
    yield "verb: remove factors", lambda: staff.remove_factors(person(0.6), actor=actor, reason="x") or 1
    yield "verb: ask for deletion", ask_for_deletion
    yield "verb: suppress an address", suppress
    yield "verb: lift a suppression", lambda: recipients.lift("x@example.org", scope="all") or 1
    yield "verb: resend a message", lambda: bool(staff_actions.resend(sent.latest("pk"), actor=actor))
    yield "verb: sign out everybody", lambda: staff.sign_out_all(actor=actor)

    draft = Announcement()

    def save() -> int:
        nonlocal draft
        words = {"en": {"title": "News", "body": "New."}}
        draft = announcements.save(draft, words=words, channels=["email", "in_app"], audience="everybody", actor=actor)
        return 1

    def slices(most: int | None) -> int:
        return sum(count for _what, count in islice(announcements.work(), most))

    def send() -> int:
        row = announcements.Announcement.objects.get(pk=draft.pk)
        row.counted_at, row.counts = now, {"people": 1}
        row.save()
        return announcements.send(row, actor=actor)

    yield "verb: save an announcement to everybody", save
    yield "announcement: 50 slices counted", lambda: slices(50)
    yield "verb: send an announcement", send
    yield "announcement: 20 slices sent", lambda: slices(20)
    yield "verb: pause an announcement", lambda: announcements.pause(draft)
    yield "announcement: paused", lambda: slices(None)
    yield "verb: cancel an announcement", lambda: announcements.cancel(draft)
    yield "announcement: cancelled", lambda: slices(None)

    flag = FeatureFlag.objects.get(codename="FF_00007")
    yield "verb: switch a flag", lambda: editing.switch(flag, on=True, actor=actor)
    yield "verb: rename a flag", lambda: editing.rename(flag, "FF_RENAMED", actor=actor)
    yield "verb: archive a flag", lambda: editing.archive(flag, actor=actor)
    yield "verb: delete a flag", lambda: editing.delete(flag, actor=actor) or 1

    endpoint = WebhookEndpoint.objects.get()
    yield "verb: pause an endpoint", lambda: endpoints.pause(endpoint, actor=actor, reason="x")
    yield "verb: resume an endpoint", lambda: endpoints.resume(endpoint, actor=actor)
    yield "endpoint resumed: made due", left
    yield "verb: delete an endpoint", lambda: endpoints.delete(endpoint, actor=actor) or 1
    yield "endpoint deleted: its deliveries", left


def command(*arguments: str) -> int:
    """A command; one item, since it says in words how many."""
    from django.core.management import CommandError, call_command

    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(CommandError):
        call_command(*arguments)
    return 1


# --- What they take ---------------------------------------------------------------------------------------------------


class Watch:
    """Counts statements and times transactions of the connection, while it is the context."""

    def __init__(self) -> None:
        from django.db import connection

        self.connection = connection
        self.statements, self.longest, self.began = 0, 0.0, 0.0

    def __enter__(self) -> "Watch":
        self.wrapped = self.connection.execute_wrapper(self.execute)
        self.wrapped.__enter__()
        self.original = self.connection.set_autocommit
        self.connection.set_autocommit = self.set_autocommit
        self.cpu, self.backend, self.read = time.process_time(), backend_cpu(), tuples()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu = time.process_time() - self.cpu
        self.wrapped.__exit__(*error)
        self.backend = backend_cpu() - self.backend
        del self.connection.set_autocommit
        self.scans = []
        for table, (read, rows) in tuples().items():
            if rows > 50_000 and read - self.read.get(table, (0, 0))[0] > BIG * rows:
                self.scans.append(f"{table} {(read - self.read[table][0]) / rows:.0f} ×")

    def execute(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.statements += 1
        began = time.monotonic()
        try:
            return execute(sql, params, many, context)
        finally:
            if not self.connection.in_atomic_block:
                self.longest = max(self.longest, time.monotonic() - began)

    def set_autocommit(self, autocommit: bool, *arguments: Any, **more: Any) -> None:
        if autocommit:
            self.longest = max(self.longest, time.monotonic() - self.began)
        else:
            self.began = time.monotonic()
        self.original(autocommit, *arguments, **more)


def backend_cpu() -> float:
    """Seconds of CPU that the server's process of this connection has used; 0 where it is not to be seen."""
    if not is_postgresql():
        return 0.0
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        stat = Path(f"/proc/{cursor.fetchone()[0]}/stat")
    if not stat.exists():
        return 0.0
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def tuples() -> dict[str, tuple[int, int]]:
    """Rows read in order from each table so far, and how many it has."""
    if not is_postgresql():
        return {}
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_force_next_flush()")
        cursor.execute("SELECT relname, seq_tup_read, n_live_tup FROM pg_stat_user_tables")
        return {table: (read, rows) for table, read, rows in cursor.fetchall()}


def measure(url: str, people: int, flags: int, only: str) -> list[Figure]:
    env = servers.environment("ours", 80, {"product": url})
    env |= {"LOG_LEVEL": "error", "USERS_STAFF_MFA": "optional", "NOTIFICATIONS_ENGINE": "worker"}
    os.environ |= env | {"DJANGO_SETTINGS_MODULE": "project.settings"}
    import django

    django.setup()
    from django.core.management import call_command

    from feature_flags.runtime import store
    from users.models import User

    call_command("migrate", verbosity=0)
    began = time.monotonic()
    fill(people, flags)
    over = age(people)
    User.objects.create_superuser("root@example.org")
    print(f"{people:,} people: filled in {time.monotonic() - began:.0f} s", file=sys.stderr)
    store.current()
    if is_postgresql():
        # What helpers of the server do is not seen above; neither is it by those who wait for other things.
        statement("SET max_parallel_workers_per_gather = 0")
    figures = []
    for name, run in jobs(people, over):
        if only not in name:
            continue
        with Watch() as watch:
            items = int(run())
        spent = (round(watch.cpu, 3), round(watch.backend, 2))
        figure = Figure(name, items, *spent, watch.statements, round(watch.longest, 3), watch.scans)
        figures.append(figure)
        each, scans = figure.each * 1e6, ", ".join(figure.scans)
        print(
            f"{items:9,} {figure.cpu:7.2f} s {figure.database:7.2f} s {each:9,.0f} µs {figure.statements:7,}"
            f" {figure.transaction:6.2f} s {' ' if figure.is_met else '!'} {name} {scans}",
            file=sys.stderr,
            flush=True,
        )
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--people", type=int, default=1_000_000)
    parser.add_argument("--flags", type=int, default=5_000)
    parser.add_argument("--only", default="", metavar="TEXT", help="jobs with this in their names")
    parser.add_argument("--sqlite", action="store_true", help="on SQLite, in a file that goes afterwards")
    report.add_database(parser)
    parser.add_argument("--measure", metavar="URL", help="in this database, and print the figures as JSON")
    options = parser.parse_args()
    if options.measure:
        figures = measure(options.measure, options.people, options.flags, options.only)
        print(json.dumps([asdict(figure) for figure in figures]))
        return 0
    report.begin(options)
    at_a_tenth = {found.name: found for found in apart(options, options.people // 10)}
    figures = apart(options, options.people)
    for figure in figures:
        before = at_a_tenth.get(figure.name)
        # Of less CPU than that the clock says nothing.
        is_told = figure.items > 1 and before is not None and before.cpu + before.database > 0.05
        if is_told and figure.cpu + figure.database > 0.5:
            figure.growth = figure.each / before.each
    deletions = [figure for figure in figures if "deletions" in figure.name]
    spent = sum(figure.cpu + figure.database for figure in deletions)
    is_met = all(figure.is_met for figure in figures) and spent <= ACCOUNT_SECONDS
    text = page(options, figures, sum(figure.items for figure in deletions), spent)
    (HERE / "results" / "jobs.md").parent.mkdir(exist_ok=True)
    target = PAGE if options.people >= 1_000_000 and not (options.sqlite or options.only) else HERE / "results/jobs.md"
    target.write_text(text)
    print(f"{len(figures)} jobs, {sum(not figure.is_met for figure in figures)} over a bar; {target}")
    return 0 if is_met else 1


def apart(options: argparse.Namespace, people: int) -> list[Figure]:
    """The figures of one size, in a process of their own with a database of its own."""
    with contextlib.ExitStack() as stack:
        if options.sqlite:
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/jobs.sqlite3"
        else:
            url = stack.enter_context(servers.databases(options.database_url, ["jobs"]))["jobs"]
        command = [sys.executable, "-m", "benchmarks.jobs", "--measure", url]
        sizes = ["--people", str(people), "--flags", str(options.flags), "--only", options.only]
        run = subprocess.run([*command, *sizes], stdout=subprocess.PIPE, text=True, check=True)
    return [Figure(**found) for found in json.loads(run.stdout)]


def page(options: argparse.Namespace, figures: list[Figure], accounts: int, spent: float) -> str:
    database = "SQLite" if options.sqlite else "PostgreSQL"
    lines = [
        "# Benchmark results: jobs, commands and verbs beside big tables",
        "",
        f"{options.people:,} people, as many rows in each table that grows with them, a twentieth of them over;",
        f"{database}. CPU of this process and of the database's for it; *each* is both for one item, in microseconds,",
        "and *growth* that over the same at a tenth of the size, where there is enough to measure: at most",
        f"{GROWTH:g}. No transaction may last over {TRANSACTION_SECONDS:g} s, and none may read over half of a big",
        "table in order, but for commands that are there to read all of it. Load of the machine when it began:",
        f"{options.load:.1f}.",
        "",
        f"{accounts:,} accounts deleted: {spent:.1f} s of CPU (at most {ACCOUNT_SECONDS:.0f} for {ACCOUNTS:,}).",
        "",
        "| job | items | CPU | database | each | growth | statements | longest transaction | ok? |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in figures:
        growth = f"{each.growth:.1f} ×" if each.growth else ""
        ok = "yes" if each.is_met else " ".join(["**no**", *each.scans])
        lines.append(
            f"| {each.name} | {each.items:,} | {each.cpu:.2f} s | {each.database:.2f} s | {each.each * 1e6:,.0f} µs |"
            f" {growth} | {each.statements:,} | {each.transaction:.2f} s | {ok} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    sys.exit(main())
