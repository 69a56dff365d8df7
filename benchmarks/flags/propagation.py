"""From the commit in one process to the new answer in another, and to the event that a web client hears.

`python -m benchmarks.flags.propagation write|read FLAG` are the two processes; their clock is one (CLOCK_MONOTONIC).
"""

import http.client
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import django

from benchmarks import report, servers
from benchmarks.flags import children, flagset, seed, wire
from benchmarks.flags.children import Child
from benchmarks.servers import Server

SWITCHES, STREAMS = 200, 100


def _say(value: object) -> None:
    print(json.dumps(value), flush=True)


def write(codename: str) -> None:
    """Each line is the wanted state; the answer is when its COMMIT was sent."""
    from django.db import transaction

    from feature_flags.services import editing

    flag = editing.get(codename)
    _say("ready")
    for line in sys.stdin:
        with transaction.atomic():
            editing.switch(flag, on=json.loads(line), **seed.WHO)
            at = time.monotonic()
        _say(at)


def read(codename: str) -> None:
    """Says when the answer of the Python API has become another one, and which."""
    from feature_flags import evaluation as flags
    from feature_flags.runtime import store

    told = store.current() and flags.is_enabled(codename)

    def swapped(snapshot: object) -> None:
        nonlocal told
        answer = flags.is_enabled(codename)
        if answer != told:
            told = answer
            _say([answer, time.monotonic()])

    store.listen(swapped)
    _say("ready")
    sys.stdin.read()


@contextmanager
def writer(database_url: str) -> Iterator[Child]:
    env = children.environment(database_url)
    with children.child("benchmarks.flags.propagation", "write", flagset.PLAIN, env=env) as started:
        yield started


def _delays(wrote: Child, heard: Callable[[bool], float], count: int) -> list[float]:
    """Milliseconds from each of `count` commits to the moment it was heard of. The flag is on before and after."""
    taken = []
    for number in range(2 * ((count + 1) // 2)):
        # At no fixed distance from the last one: pollers and timers would fall into step.
        time.sleep(random.uniform(0.02, 0.12))
        wanted = number % 2 == 1
        wrote.tell(wanted)
        at = heard(wanted)
        taken.append((at - wrote.hear()) * 1000)
    return taken


def to_process(database_url: str, count: int) -> list[float]:
    """Until `is_enabled` answers anew in another process."""
    env = children.environment(database_url)
    with ExitStack() as stack:
        reads = stack.enter_context(children.child("benchmarks.flags.propagation", "read", flagset.PLAIN, env=env))
        wrote = stack.enter_context(writer(database_url))

        def heard(wanted: bool) -> float:
            answer, at = reads.hear()
            if answer != wanted:
                sys.exit(f"The reader answers {answer}, expected {wanted}.")
            return at

        return _delays(wrote, heard, count)


class Events:
    """A web client on the stream that the product names in its bulk answer."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
        self.connection.request("GET", f"{address.path}?{address.query}", headers={"Accept": "text/event-stream"})
        self.response = self.connection.getresponse()
        if self.response.status != 200:
            sys.exit(f"The stream answered {self.response.status}.")
        # Where it stands; from here on it hears everything.
        self._until(b"id:")

    def hear(self) -> float:
        """When the next event was complete."""
        self._until(b"data:")
        return time.monotonic()

    def _until(self, start: bytes) -> None:
        while not (line := self.response.readline()).startswith(start):
            if not line:
                sys.exit("The stream has ended.")


def stream_url(server: Server, token: str) -> str:
    request = wire.Request(wire.BULK, token, json.dumps({"context": {}}))
    return json.loads(wire.ask(server, request).body)["eventStreams"][0]["url"]


def to_event(server: Server, token: str, database_url: str, count: int) -> list[float]:
    """Until a web client of the running server has the event in hand."""
    events = Events(stream_url(server, token))
    with writer(database_url) as wrote:
        return _delays(wrote, lambda wanted: events.hear(), count)


def goodbye(server: Server, token: str, streams: int) -> float:
    """Seconds from SIGTERM to the end of a server with open streams."""
    url = stream_url(server, token)
    held = [Events(url) for _ in range(streams)]
    start = time.monotonic()
    os.kill(server.pid, 15)
    # Left for its owner to collect.
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)
    taken = time.monotonic() - start
    for events in held:
        events.connection.close()
    return taken


def measure(url: str, sqlite: str, logs: Path) -> report.Samples:
    """`samples[where, "delay"]` in milliseconds, and `samples["goodbye", "seconds"]`."""
    samples: report.Samples = {}
    tokens = children.filled(url, wire.FLAGS)
    samples["postgresql", "delay"] = to_process(url, SWITCHES)
    children.filled(sqlite, wire.FLAGS)
    samples["sqlite", "delay"] = to_process(sqlite, SWITCHES)
    with servers.running("ours", {"product": url}, logs) as server:
        samples["client", "delay"] = to_event(server, tokens["server"], url, SWITCHES)
        samples["goodbye", "seconds"] = [goodbye(server, tokens["server"], STREAMS)]
    return samples


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2])
