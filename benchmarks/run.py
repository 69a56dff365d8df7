"""`make bench`: starts the servers, measures them in turns, prints and writes the comparison.

Exits 0 when every bar holds, 1 when one does not or a server gives a wrong answer.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from argon2 import PasswordHasher

from benchmarks import report, seed, servers
from benchmarks.servers import FLAGS, LOGIN, STATUS, USER, Server, credentials

HERE = Path(__file__).resolve().parent
LOGS = HERE / "results"
READS = {"status": STATUS, "flags": FLAGS, "user": USER}
CONNECTIONS, LOGIN_CLIENTS = 32, 20
PROBES_PER_SECOND = 50


def load(server: Server, path: str, *, seconds: int, connections: int, **request: str) -> "subprocess.Popen[str]":
    """wrk at full speed, in its own process."""
    env = {**os.environ, "BENCH_METHOD": "POST" if "body" in request else "GET"}
    env.update({f"BENCH_{name.upper()}": value for name, value in request.items()})
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        "wrk.lua",
        server.base + path,
    ]
    return subprocess.Popen(command, cwd=HERE, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def per_second(server: Server, path: str, running: "subprocess.Popen[str]") -> float:
    """Requests a second of a finished load; a single refused or broken request makes the figure worthless."""
    output = running.communicate()[1]
    try:
        figures = json.loads(output)
    except ValueError:
        sys.exit(f"wrk failed on {server.name} {path}: {output}")
    if figures["refused"] or figures["broken"]:
        failed = f"{figures['refused']} answers not 2xx, {figures['broken']} broken off"
        sys.exit(f"{server.name} {path}: {failed}; see {LOGS / server.name}.log")
    return figures["per_second"]


def read(server: Server, endpoint: str, *, seconds: int) -> float:
    """Requests a second of one of READS."""
    bearer = {"bearer": server.sign_in()} if endpoint == "user" else {}
    running = load(server, READS[endpoint], seconds=seconds, connections=CONNECTIONS, **bearer)
    return per_second(server, READS[endpoint], running)


def probe(server: Server, *, seconds: int) -> float:
    """p95 in milliseconds of `_status`, asked at a steady, low rate."""
    command = [sys.executable, "-m", "benchmarks.probe", server.base + STATUS, str(seconds), str(PROBES_PER_SECOND)]
    done = subprocess.run(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return statistics.quantiles(json.loads(done.stdout), n=20)[-1]


def sign_in_storm(server: Server, *, seconds: int) -> dict[str, float]:
    """Logins a second by clients that never pause, and what `_status` feels of them."""
    figures = {"status_idle_p95": probe(server, seconds=seconds)}
    form = {"body": credentials("NUMBER"), "people": str(seed.PEOPLE)}
    # The storm starts before the probe and ends after it.
    storm = load(server, LOGIN, seconds=seconds + 2, connections=LOGIN_CLIENTS, **form)
    time.sleep(1)
    figures["status_storm_p95"] = probe(server, seconds=seconds)
    figures["login"] = per_second(server, LOGIN, storm)
    return figures


def seconds_per_verify() -> float:
    """One Argon2id check with the product's parameters, on one thread of the idle machine."""
    hasher = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1)
    hashed = hasher.hash(seed.PASSWORD)
    taken = []
    for _ in range(20):
        start = time.perf_counter()
        hasher.verify(hashed, seed.PASSWORD)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(under_test: list[Server], endpoints: list[str], *, seconds: int, repeats: int) -> report.Samples:
    """`samples[server, figure]`: one value per round. Rounds take turns, so that a slow minute meets every server."""
    samples: report.Samples = defaultdict(list)
    for server in under_test:
        server.check()
        for endpoint in READS:
            read(server, endpoint, seconds=1)
    for number in range(1, repeats + 1):
        print(f"Round {number} of {repeats}", file=sys.stderr, flush=True)
        samples["machine", "verifies_per_second"].append(1 / seconds_per_verify())
        for endpoint in endpoints:
            for server in under_test:
                if endpoint in READS:
                    samples[server.name, endpoint].append(read(server, endpoint, seconds=seconds))
                elif server.name != "bare":
                    for figure, value in sign_in_storm(server, seconds=seconds).items():
                        samples[server.name, figure].append(value)
    for server in under_test:
        samples[server.name, "memory"].append(server.memory())
    return samples


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4, help="length of one measurement (4)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument(
        "--only",
        nargs="+",
        default=[],
        metavar="NAME",
        choices=[*servers.APPLICATIONS, *READS, "login"],
        help=f"servers ({', '.join(servers.APPLICATIONS)}) or endpoints ({', '.join([*READS, 'login'])}); "
        "the result files are then left alone",
    )
    report.add_database(parser)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if not shutil.which("wrk"):
        sys.exit("The benchmark needs the load generator wrk: apt-get install wrk")
    report.begin(options)
    names = [name for name in servers.APPLICATIONS if name in options.only] or list(servers.APPLICATIONS)
    endpoints = [name for name in [*READS, "login"] if name in options.only] or [*READS, "login"]
    owners = {"fastapi": "fastapi", "stock": "product", "ours": "product"}
    with ExitStack() as stack:
        needed = sorted({owners[name] for name in names if name in owners})
        urls = stack.enter_context(servers.databases(options.database_url, needed))
        LOGS.mkdir(exist_ok=True)
        for owner in needed:
            servers.seed_database(owner, urls)
        under_test = [stack.enter_context(servers.running(name, urls, LOGS)) for name in names]
        samples = measure(under_test, endpoints, seconds=options.seconds, repeats=options.repeats)
        facts = report.facts(options)
    bars = report.bars(samples)
    text = report.markdown(samples, bars, facts)
    print(text)
    if not options.only:
        (HERE / "RESULTS.md").write_text(text)
        report.plot(samples, HERE / "results.png")
    return 0 if all(bar.is_met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
