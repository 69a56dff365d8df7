"""`python -m benchmarks.flags`: feature flags beside their peers; writes FLAGS.md.

Exits 0 when every bar holds, 1 when one does not or a server gives a wrong answer.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import report, servers
from benchmarks.flags import inside, large, oracle, page, propagation, unleash, wire

HERE = Path(__file__).resolve().parent.parent
LOGS = HERE / "results" / "flags"
PARTS = ("oracle", "inside", "wire", "propagation", "large")
#: Databases of the parts, in PostgreSQL.
DATABASES = {"wire": ["flags", "unleash"], "propagation": ["flags_switched"], "large": ["flags_large"]}


def measure(parts: list[str], urls: dict[str, str], options: argparse.Namespace) -> report.Samples:
    samples: report.Samples = {}
    for part in parts:
        print(f"{part} ...", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            sqlite = f"sqlite:///{folder}/flags.sqlite3"
            if part == "oracle":
                samples |= oracle.measure()
            elif part == "inside":
                samples |= inside.measure(sqlite, repeats=options.repeats)
            elif part == "wire":
                samples |= wire.measure(urls, LOGS, seconds=options.seconds, repeats=options.repeats)
            elif part == "propagation":
                samples |= propagation.measure(urls["flags_switched"], sqlite, LOGS)
            else:
                samples |= large.measure(urls["flags_large"], LOGS, repeats=options.repeats)
    return samples


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.flags", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement over HTTP (4)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=PARTS,
        help=f"{', '.join(PARTS)}; FLAGS.md is left alone",
    )
    report.add_database(parser)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if not shutil.which("wrk"):
        sys.exit("The benchmark needs the load generator wrk: apt-get install wrk")
    if not unleash.is_installed():
        print(
            "Unleash's server is missing (python -m benchmarks.flags.unleash); the rest is measured.", file=sys.stderr
        )
    report.begin(options)
    parts = [part for part in PARTS if part in options.only] or list(PARTS)
    LOGS.mkdir(parents=True, exist_ok=True)
    needed = [name for part in parts for name in DATABASES.get(part, [])]
    with servers.databases(options.database_url, needed) as urls:
        samples = measure(parts, urls, options)
        facts = page.facts(options)
    bars = page.bars(samples)
    text = page.markdown(samples, bars, facts)
    print(text)
    if not options.only:
        (HERE / "FLAGS.md").write_text(text)
    return 0 if all(bar.is_met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
