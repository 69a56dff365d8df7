"""What forty people who sign in at once do to everybody else: other answers, the event loop, memory."""

import json
import statistics
import subprocess
import sys
import threading
import time
from typing import Any

from benchmarks import servers
from benchmarks.accounts.client import Client
from benchmarks.accounts.scene import INSIDE, Scene, memory
from benchmarks.notifications.web import p95
from benchmarks.report import Samples
from benchmarks.servers import FLAGS, STATUS, Server

PEOPLE = 400
STORM, SOME = 40, 12
PROBES_PER_SECOND = 50


class Load:
    """Clients without pause in a process of their own, for as long as a measurement takes."""

    def __init__(self, server: Server, kind: str, clients: int, seconds: float, given: Any) -> None:
        command = [sys.executable, "-m", "benchmarks.accounts.load", server.base, kind, str(clients), str(seconds)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=servers.ROOT, text=True, **pipes)
        self.process.stdin.write(json.dumps(given) + "\n")
        self.process.stdin.flush()
        self.kind = kind

    def per_second(self) -> float:
        """A single refusal makes the figure worthless."""
        figures = json.loads(self.process.communicate()[0])
        if figures["refused"]:
            raise SystemExit(f"{self.kind}: {figures['refused']} answers were not 200.")
        return float(figures["per_second"])


def probe(server: Server, path: str, seconds: float) -> list[float]:
    command = [sys.executable, "-m", "benchmarks.probe", server.base + path, str(seconds), str(PROBES_PER_SECOND)]
    done = subprocess.run(command, cwd=servers.ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return list(json.loads(done.stdout))


class Highest(threading.Thread):
    """The most memory that was seen until `end`."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server, self.over, self.most = server, threading.Event(), 0.0

    def run(self) -> None:
        while not self.over.wait(0.05):
            self.most = max(self.most, memory(self.server))

    def end(self) -> float:
        self.over.set()
        self.join()
        return self.most


def run(scene: Scene, *, seconds: float, repeats: int) -> Samples:
    people = scene.people(0, PEOPLE)
    server = scene.serve("storm", application=INSIDE)
    client = Client(server.base)
    client.login(people[0]).expect(200, "login")
    samples: Samples = {}

    def add(figure: str, value: float) -> None:
        samples.setdefault((scene.vendor, f"storm_{figure}"), []).append(value)

    for path in (FLAGS, STATUS):
        probe(server, path, 1)
    idle = memory(server)
    for _ in range(repeats):
        add("flags_idle", p95(probe(server, FLAGS, seconds)))
        highest = Highest(server)
        highest.start()
        storm = Load(server, "login", STORM, seconds + 2, {"people": PEOPLE})
        time.sleep(1)
        client.ask("GET", "/bench/lag")
        add("flags", p95(probe(server, FLAGS, seconds)))
        lags = client.ask("GET", "/bench/lag").json
        storm.per_second()
        add("memory", highest.end() - idle)
        add("lag_p95", p95(lags))
        add("lag_max", max(lags))
        some = Load(server, "login", SOME, seconds + 2, {"people": PEOPLE})
        time.sleep(1)
        add("status", statistics.median(probe(server, STATUS, seconds)))
        some.per_second()
    return samples


def speed(scene: Scene, *, seconds: float, repeats: int) -> Samples:
    """Answers a second of one worker, each kind alone."""
    people = scene.people(0, PEOPLE)
    server = scene.serve("speed")
    client = Client(server.base)
    sessions = [client.login(email).expect(200, "login").json for email in people[:128]]
    given = {
        "user": {"access": [session["access_token"] for session in sessions]},
        "login": {"people": PEOPLE},
    }
    samples: Samples = {}
    for _ in range(repeats):
        # New ones each round: what a refresh spends is spent.
        sessions = [client.login(email).expect(200, "login").json for email in people[128:384]]
        given["refresh"] = {"refresh": [session["refresh_token"] for session in sessions]}
        for kind, clients in (("user", 16), ("refresh", 16), ("login", 20)):
            rate = Load(server, kind, clients, seconds, given[kind]).per_second()
            samples.setdefault((scene.vendor, f"speed_{kind}"), []).append(rate)
    return samples
