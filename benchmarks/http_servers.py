"""The product behind other HTTP servers and parsers: `python -m benchmarks.http_servers`.

After `pip install granian zttp`, which the product does without.

Prints, for each of them and each endpoint, requests a second and microseconds of CPU for one request: of the server,
all its processes.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from contextlib import ExitStack

from benchmarks import report, run, servers
from benchmarks.servers import Server

_GRANIAN = ["-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--http", "1", "--no-ws", "--workers", "1"]
ENDPOINTS = ("status", "flags", "user", "unread")


def commands(port: int) -> dict[str, list[str]]:
    app = servers.APPLICATIONS["ours"]
    uvicorn = ["-c", servers.SERVE, app, str(port)]
    return {
        "uvicorn, httptools": [*uvicorn, "httptools"],
        "uvicorn, lib.protocol": [*uvicorn, "lib.protocol:BoundedProtocol"],
        "uvicorn, zttp": [*uvicorn, "zttp"],
        "granian": [*_GRANIAN, "--port", str(port), app],
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_servers", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    report.add_database(parser)
    options = parser.parse_args()
    report.begin(options)
    figures: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    with ExitStack() as stack:
        urls = stack.enter_context(servers.databases(options.database_url, ["product"]))
        servers.seed_database("product", urls)
        under_test = {}
        for name in commands(0):
            port, log = servers.free_port(), run.LOGS / f"{name.split()[-1]}.log"
            env = servers.environment("ours", port, urls)
            started = stack.enter_context(servers.process([sys.executable, *commands(port)[name]], env=env, log=log))
            server = Server("ours", f"http://127.0.0.1:{port}", started.pid)
            servers.wait_until_ready(server, started, log)
            under_test[name] = server
        for _ in range(options.repeats):
            for endpoint in ENDPOINTS:
                for name, server in under_test.items():
                    done = run.read(server, endpoint, seconds=options.seconds)
                    figures[name, endpoint].append((done[endpoint], done[f"{endpoint}_cpu"]))
    print(f"| | {' | '.join(run.READS[endpoint].path for endpoint in ENDPOINTS)} |")
    print(f"| --- |{' ---: |' * len(ENDPOINTS)}")
    for name in under_test:
        cells = []
        for endpoint in ENDPOINTS:
            rates, costs = zip(*figures[name, endpoint], strict=True)
            cells.append(f"{statistics.median(rates):,.0f}/s · {statistics.median(costs):,.0f} µs")
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
