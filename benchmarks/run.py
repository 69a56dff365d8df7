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
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from benchmarks import bolt, report, seed, servers
from benchmarks.servers import FLAGS, LOGIN, STATUS, USER, Server, credentials

HERE = Path(__file__).resolve().parent
LOGS = HERE / "results"


@dataclass(frozen=True)
class Read:
    """A request asked over and over; `servers` are those that answer it, all when empty."""

    path: str
    status: int = 200
    is_signed_in: bool = False
    method: str = "GET"
    body: str = ""
    servers: tuple[str, ...] = ()


_PRODUCT = ("before", "ours")
_FRAMEWORKS = ("fastapi", "bolt", *_PRODUCT)
READS = {
    "status": Read(STATUS),
    "unauthorized": Read(USER, 401, servers=_FRAMEWORKS),
    "not_found": Read("/api/nothing", 404, servers=_FRAMEWORKS),
    "flags": Read(FLAGS),
    "user": Read(USER, is_signed_in=True),
    "rename": Read(USER, is_signed_in=True, method="PATCH", body='{"last_name": "Byron"}', servers=_PRODUCT),
    "inbox": Read("/api/notifications", is_signed_in=True, servers=_PRODUCT),
    "unread": Read("/api/notifications/unread-count", is_signed_in=True, servers=_PRODUCT),
}
CONNECTIONS, LOGIN_CLIENTS = 32, 20
PROBES_PER_SECOND = 200


def load(
    server: Server, path: str, *, seconds: int, connections: int, method: str = "GET", **request: str
) -> "subprocess.Popen[str]":
    """wrk at full speed, in its own process."""
    env = {**os.environ, "BENCH_METHOD": method}
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


def outcome(server: Server, path: str, running: "subprocess.Popen[str]", *, is_refused: bool = False) -> Any:
    """`{"requests", "per_second"}` of a finished load. One answer that is refused, where none is expected, or one that
    is not, where all should be, or one broken off makes the figures worthless."""
    output = running.communicate()[1]
    try:
        figures = json.loads(output)
    except ValueError:
        sys.exit(f"wrk failed on {server.name} {path}: {output}")
    if figures["refused"] != (figures["requests"] if is_refused else 0) or figures["broken"]:
        failed = f"{figures['refused']} of {figures['requests']} answers not 2xx, {figures['broken']} broken off"
        sys.exit(f"{server.name} {path}: {failed}; see {LOGS / server.name}.log")
    return figures


def read(server: Server, endpoint: str, *, seconds: int) -> dict[str, float]:
    """Requests a second of one of READS, and microseconds of CPU that the server takes for each."""
    asked = READS[endpoint]
    request = {"bearer": server.sign_in()} if asked.is_signed_in else {}
    if asked.body:
        request |= {"body": asked.body, "content_type": "application/json"}
    before = server.cpu_seconds()
    running = load(server, asked.path, seconds=seconds, connections=CONNECTIONS, method=asked.method, **request)
    done = outcome(server, asked.path, running, is_refused=asked.status >= 400)
    cpu = (server.cpu_seconds() - before) * 1e6 / max(1, done["requests"])
    return {endpoint: done["per_second"], f"{endpoint}_cpu": cpu}


def probe(server: Server, *, seconds: int) -> float:
    """p95 in milliseconds of `_status`, asked at a steady, low rate."""
    command = [sys.executable, "-m", "benchmarks.probe", server.base + STATUS, str(seconds), str(PROBES_PER_SECOND)]
    done = subprocess.run(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return statistics.quantiles(json.loads(done.stdout), n=20)[-1]


def sign_in_storm(server: Server, *, seconds: int) -> dict[str, float]:
    """Logins a second by clients that never pause, alone and beside `_status`, and what that feels of them.

    They come from known devices, as people do who were signed out; `login_new` is what each from a new place takes,
    with the mail that the product sends about it.
    """
    devices = "\n".join(servers.devices(server))

    def storm(seconds: int, cookies: str = devices) -> "subprocess.Popen[str]":
        form = {"body": credentials("NUMBER"), "people": str(seed.PEOPLE), "cookies": cookies}
        return load(server, LOGIN, seconds=seconds, connections=LOGIN_CLIENTS, method="POST", **form)

    figures = {"status_idle_p95": probe(server, seconds=seconds)}
    for name, cookies in (("login", devices), ("login_new", "")):
        before = server.cpu_seconds()
        done = outcome(server, LOGIN, storm(seconds, cookies))
        figures[name] = done["per_second"]
        figures[f"{name}_cpu"] = (server.cpu_seconds() - before) * 1e6 / max(1, done["requests"])
    # The storm starts before the probe and ends after it.
    beside = storm(seconds + 2)
    time.sleep(1)
    figures["status_storm_p95"] = probe(server, seconds=seconds)
    figures["login_beside"] = outcome(server, LOGIN, beside)["per_second"]
    return figures


def starts(repeats: int) -> report.Samples:
    """Seconds of CPU of a command to its end and of `serve` to its first answer, on a fresh SQLite, once warm."""
    samples: report.Samples = defaultdict(list)
    manage, port = [sys.executable, "manage.py"], servers.free_port()
    with tempfile.TemporaryDirectory() as folder:
        env = servers.environment("ours", port, {"product": f"sqlite:///{folder}/start.sqlite3"}) | {"PORT": str(port)}
        # As everywhere but in this benchmark, modules are compiled once.
        env.pop("PYTHONDONTWRITEBYTECODE")
        subprocess.run([*manage, "migrate", "-v0"], cwd=servers.ROOT, env=env, check=True)
        commands = {
            ("machine", "django_admin"): [sys.executable, "-m", "django", "version"],
            ("ours", "command"): [*manage, "list_feature_flags"],
        }
        for _ in range(repeats + 1):
            for figure, command in commands.items():
                before = os.times()
                subprocess.run(command, cwd=servers.ROOT, env=env, stdout=subprocess.DEVNULL, check=True)
                after = os.times()
                used = after.children_user - before.children_user + after.children_system - before.children_system
                samples[figure].append(used)
            log = LOGS / "serve.log"
            with servers.process([*manage, "serve"], cwd=servers.ROOT, env=env, log=log) as started:
                server = Server("serve", f"http://127.0.0.1:{port}", started.pid)
                servers.wait_until_ready(server, started, log)
                samples["ours", "serve"].append(server.cpu_seconds())
    # The first round compiled.
    return {figure: values[1:] for figure, values in samples.items()}


def verifies() -> tuple[float, float]:
    """Argon2id checks a second with the product's parameters, on a thread for each core of the idle machine, and the
    microseconds of CPU of one: cores share their caches, and each is slower beside the others."""
    hasher, cores, each = PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1), os.cpu_count() or 1, 40
    hashed = hasher.hash(seed.PASSWORD)
    start, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(cores) as threads:
        list(threads.map(lambda _: hasher.verify(hashed, seed.PASSWORD), range(cores * each)))
    taken, used = time.perf_counter() - start, time.process_time() - used
    return cores * each / taken, used * 1e6 / (cores * each)


def is_answered(server: Server, endpoint: str) -> bool:
    if endpoint not in READS:
        return server.name != "bare"
    return server.name in (READS[endpoint].servers or servers.APPLICATIONS)


def measured(server: Server, endpoint: str, *, seconds: int) -> dict[str, float]:
    if endpoint in READS:
        return read(server, endpoint, seconds=seconds)
    return sign_in_storm(server, seconds=seconds)


def measure(under_test: list[Server], endpoints: list[str], *, seconds: int, repeats: int) -> report.Samples:
    """`samples[server, figure]`: one value per round. Rounds take turns, so that a slow minute meets every server."""
    samples: report.Samples = defaultdict(list)
    for server in under_test:
        server.check()
        for endpoint in endpoints:
            if is_answered(server, endpoint):
                measured(server, endpoint, seconds=1)
    for number in range(1, repeats + 1):
        print(f"Round {number} of {repeats}", file=sys.stderr, flush=True)
        for figure, value in zip(("verifies_per_second", "verify_cpu"), verifies(), strict=True):
            samples["machine", figure].append(value)
        for endpoint in endpoints:
            for server in under_test:
                if is_answered(server, endpoint):
                    for figure, value in measured(server, endpoint, seconds=seconds).items():
                        samples[server.name, figure].append(value)
    # What was still being hashed when the load ended is not kept.
    time.sleep(2)
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
        choices=[*servers.APPLICATIONS, *READS, "login", "start"],
        help=f"servers ({', '.join(servers.APPLICATIONS)}) or endpoints ({', '.join([*READS, 'login'])}) or start; "
        "the result files are then left alone",
    )
    parser.add_argument(
        "--before", metavar="CHECKOUT", help="another checkout of the product, measured beside this one"
    )
    report.add_database(parser)
    return parser.parse_args()


def main() -> int:
    options = arguments()
    if not shutil.which("wrk"):
        sys.exit("The benchmark needs the load generator wrk: apt-get install wrk")
    report.begin(options)
    names = [name for name in servers.APPLICATIONS if name in options.only] or list(servers.APPLICATIONS)
    endpoints = [name for name in [*READS, "login"] if name in options.only]
    if options.only == ["start"]:
        names = []
    elif not endpoints:
        endpoints = [*READS, "login"]
    if "bolt" in names and not bolt.is_installed():
        print("Without django-bolt, which `python -m benchmarks.bolt` installs.", file=sys.stderr)
        names.remove("bolt")
    if options.before:
        servers.CHECKOUTS["before"] = Path(options.before).resolve()
    else:
        names = [name for name in names if name != "before"]
    owners = {"fastapi": "fastapi", "bolt": "fastapi", "before": "before", "stock": "product", "ours": "product"}
    with ExitStack() as stack:
        needed = sorted({owners[name] for name in names if name in owners})
        urls = stack.enter_context(servers.databases(options.database_url, needed))
        LOGS.mkdir(exist_ok=True)
        for owner in needed:
            servers.seed_database(owner, urls)
        under_test = [stack.enter_context(servers.running(name, urls, LOGS)) for name in names]
        samples = measure(under_test, endpoints, seconds=options.seconds, repeats=options.repeats)
        if not options.only or "start" in options.only:
            samples |= starts(options.repeats)
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
