"""`python -m benchmarks.notifications`: mail under faults and beside its peer; writes NOTIFICATIONS.md.

Exits 0 when every bar holds and every fault ends as promised, 1 otherwise.
"""

import argparse
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import report, servers
from benchmarks.notifications import faults, kills, page, speed, web, webhooks
from benchmarks.notifications.faults import Seen
from benchmarks.notifications.scene import Scene, scene

HERE = Path(__file__).resolve().parent.parent
LOGS = HERE / "results" / "notifications"
PARTS = (
    "kills",
    "webhooks",
    "race",
    "recovery",
    "web",
    "faults",
    "outage",
    "request",
    "speed",
    "calls",
    "wake",
    "claim",
)
VENDORS = ("sqlite", "postgresql")
PEER = {"settings": "benchmarks.notifications.peer_settings", "box": "benchmarks.notifications.peer_box"}


class Stage:
    """Opens scenes on fresh databases of one vendor, as parts ask for them."""

    def __init__(self, vendor: str, admin_url: str, stack: ExitStack) -> None:
        self.vendor, self.admin_url, self.stack = vendor, admin_url, stack
        self.folder = stack.enter_context(tempfile.TemporaryDirectory())

    def url(self, name: str) -> str:
        if self.vendor == "sqlite":
            return f"sqlite:///{self.folder}/{name}.sqlite3"
        return self.stack.enter_context(servers.databases(self.admin_url, [f"mail_{name}"]))[f"mail_{name}"]

    def open(self, name: str, **changes: str) -> Scene:
        return self.stack.enter_context(scene(self.vendor, self.url(name), LOGS, **changes))


def play(part: str, vendor: str, options: argparse.Namespace) -> tuple[report.Samples, list[Seen]]:
    """One part on one kind of database."""
    with ExitStack() as stack:
        stage = Stage(vendor, options.database_url, stack)
        main = stage.open("main")
        count, repeats = options.mails, options.repeats
        if part == "kills":
            found = kills.workers(main, policy="retry", count=count, kills=options.kills)
            found |= kills.workers(main, policy="hold", count=count, kills=options.kills)
            return found | kills.peer(stage.open("peer", **PEER), count=count, kills=options.kills), []
        if part == "webhooks":
            return webhooks.killed(stage.open("hooks", **webhooks.SETTINGS), count=count, kills=options.kills), []
        if part == "race":
            return kills.race(main, workers=4, count=count), []
        if part == "recovery":
            return kills.recovery(main, repeats=repeats), []
        if part == "web":
            return web.killed(main, kills=max(1, options.kills // 2), people=count), []
        if part == "outage":
            return faults.outage(main, count=min(count, 200)), []
        if part == "faults":
            seen = faults.misbehaviour(main, others=30) + faults.sigterm(main, count=20)
            return {}, seen + faults.database_away(main, options.database_url, count=min(count, 300))
        if part == "request":
            return web.requests(main, stage.open("silent"), repeats=2 * repeats, seconds=options.seconds), []
        if part == "speed":
            return speed.throughput(main, stage.open("peer", **PEER), count=count, repeats=repeats), []
        if part == "calls":
            return speed.calls(main, stage.open("peer", **PEER), count=2 * count, repeats=repeats), []
        if part == "wake":
            return speed.wake(stage.open("woken", NOTIFICATIONS_ENGINE="embedded"), count=min(count, 60)), []
        scenes = {"few": main, "kept": stage.open("kept"), "tomorrow": stage.open("tomorrow")}
        rows = {"kept": options.rows, "tomorrow": options.rows // 11}
        return speed.claims(scenes, **rows, count=min(count, 200), repeats=repeats), []


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.notifications", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=(*PARTS, *VENDORS),
        help=f"{', '.join((*PARTS, *VENDORS))}; NOTIFICATIONS.md is left alone",
    )
    parser.add_argument("--mails", type=int, default=1000, help="mails of one run (1000)")
    parser.add_argument("--kills", type=int, default=10, help="kills of workers; half of it for the web process (10)")
    parser.add_argument("--rows", type=int, default=1_100_000, help="rows kept where claims are timed (1100000)")
    parser.add_argument("--seconds", type=float, default=5, help="length of one measurement over HTTP (5)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    report.add_database(parser)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    report.begin(options)
    parts = [part for part in PARTS if part in options.only] or list(PARTS)
    vendors = [vendor for vendor in VENDORS if vendor in options.only] or list(VENDORS)
    LOGS.mkdir(parents=True, exist_ok=True)
    samples: report.Samples = {}
    seen: dict[str, list[Seen]] = {}
    for part in parts:
        for vendor in vendors:
            start = time.monotonic()
            measured, happened = play(part, vendor, options)
            samples |= measured
            if happened:
                seen[vendor] = happened
            print(f"{part}, {vendor}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    rows = page.rows(samples)
    text = page.markdown(samples, rows, seen, page.facts(options))
    print(text)
    is_whole = not options.only and (options.mails, options.kills, options.rows) == (1000, 10, 1_100_000)
    if is_whole:
        (HERE / "NOTIFICATIONS.md").write_text(text)
    met = [bar.is_met for row in rows for bar in row.bars.values()]
    return 0 if all(met) and all(one.is_met for lines in seen.values() for one in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
