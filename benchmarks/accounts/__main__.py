"""`python -m benchmarks.accounts`: whether accounts are as safe and as quick as promised; writes ACCOUNTS.md.

Exits 0 when every bar holds, 1 otherwise.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import report
from benchmarks.accounts import api, page, queries, races, revocation, secrets, storm, timing
from benchmarks.accounts.scene import Scene, scene

HERE = Path(__file__).resolve().parent.parent
LOGS = HERE / "results" / "accounts"
PARTS = ("api", "timing", "queries", "races", "revocation", "storm", "speed", "secrets")
VENDORS = ("sqlite", "postgresql")
#: Of a whole run. Cases grow with the operations: so many examples of each gave 11,000 with 171 of them.
WHOLE = {"examples": 25, "tries": 200, "rounds": 40, "seconds": 5.0, "repeats": 3}


def play(part: str, on: Scene, options: argparse.Namespace) -> tuple[report.Samples, list[str]]:
    """One part on one database: its figures, and what must be said with them."""
    if part == "api":
        return api.run(on, examples=options.examples), []
    if part == "timing":
        return timing.run(on, tries=options.tries), []
    if part == "queries":
        return queries.run(on), []
    if part == "races":
        return races.run(on, rounds=options.rounds)
    if part == "revocation":
        return revocation.run(on, tries=options.tries), []
    if part == "storm":
        return storm.run(on, seconds=options.seconds, repeats=options.repeats), []
    if part == "speed":
        return storm.speed(on, seconds=options.seconds, repeats=options.repeats), []
    return secrets.run(on)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accounts", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="PART",
        choices=PARTS,
        help=f"{', '.join(PARTS)}; ACCOUNTS.md is left alone",
    )
    parser.add_argument("--database", choices=(*VENDORS, "both"), default="both", help="sqlite, postgresql or both")
    parser.add_argument("--examples", type=int, default=WHOLE["examples"], help="of an operation and phase (25)")
    parser.add_argument("--tries", type=int, default=WHOLE["tries"], help="of each side where times are compared (200)")
    parser.add_argument("--rounds", type=int, default=WHOLE["rounds"], help="of a race (40)")
    parser.add_argument("--seconds", type=float, default=WHOLE["seconds"], help="length of one measurement (5)")
    parser.add_argument("--repeats", type=int, default=WHOLE["repeats"], help="measurements (3)")
    report.add_database(parser)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    report.begin(options)
    parts = [part for part in PARTS if part in options.only] or list(PARTS)
    vendors = [vendor for vendor in VENDORS if options.database in (vendor, "both")]
    LOGS.mkdir(parents=True, exist_ok=True)
    samples: report.Samples = {}
    notes: list[str] = []
    for part in parts:
        for vendor in vendors:
            start = time.monotonic()
            with (
                tempfile.TemporaryDirectory() as folder,
                scene(vendor, part, options.database_url, folder, LOGS) as opened,
            ):
                measured, said = play(part, opened, options)
            samples |= measured
            notes += [f"{page.VENDORS[vendor]}, {line}" for line in said]
            print(f"{part}, {vendor}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    hash_workers = max(1, min(4, (os.cpu_count() or 1) - 1))
    rows = page.rows(samples, hash_workers)
    text = page.markdown(samples, rows, notes, page.facts(options, hash_workers))
    print(text)
    is_whole = not options.only and options.database == "both"
    if is_whole and all(getattr(options, name) == value for name, value in WHOLE.items()):
        (HERE / "ACCOUNTS.md").write_text(text)
    return 0 if all(bar.is_met for row in rows for bar in row.bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
