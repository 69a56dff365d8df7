"""One database, one mail server and the processes between them, all of which end with the block."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.flags import children
from benchmarks.flags.children import Child

#: The shortest lease that E001 allows: 2 × timeout + 10.
TIMEOUT, LEASE = 1, 12
SETTINGS = {
    "NOTIFICATIONS_ENGINE": "worker",
    "NOTIFICATIONS_TIMEOUT": str(TIMEOUT),
    "NOTIFICATIONS_LEASE": str(LEASE),
    "NOTIFICATIONS_BACKOFF_SCALE": "0.2",
}
WORKER = ("manage", "notifications_worker")
PEER_WORKER = ("django", "db_worker", "--no-startup-delay", "--interval", "0.2")
#: What each says when it has begun.
BEGUN = {WORKER: b"Delivering", PEER_WORKER: b"Starting worker"}

#: Seconds after which a run is given up; ten times what a quiet machine needs.
PATIENCE = 300

Taken = list[tuple[str, str, float, float]]


def until(fact: Callable[[], Any], what: str) -> Any:
    end = time.monotonic() + PATIENCE
    while not (value := fact()):
        if time.monotonic() > end:
            sys.exit(f"Within {PATIENCE} s this did not happen: {what}. See benchmarks/results/notifications.")
        time.sleep(0.05)
    return value


class Worker:
    """A process that sends; `kill` and `stop` end it early."""

    def __init__(self, process: Any, log: Path, begun: bytes) -> None:
        self.process, self.log, self.begun = process, log, begun

    @property
    def pid(self) -> int:
        return self.process.pid

    def has_begun(self) -> bool:
        if self.process.poll() is not None:
            sys.exit(f"A worker ended:\n{self.log.read_text(errors='replace')[-3000:]}")
        return self.begun in self.log.read_bytes()

    def kill(self) -> float:
        """kill -9; when that was."""
        at = time.monotonic()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        return at

    def stop(self) -> tuple[int, float]:
        """SIGTERM; exit code and seconds."""
        at = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - at

    def cpu_seconds(self) -> float:
        return servers.Server("worker", "", self.pid).cpu_seconds()


@dataclass
class Scene:
    vendor: str
    env: dict[str, str]
    logs: Path
    stack: ExitStack
    port: int
    sink: Child
    box: Child
    workers: int = field(default=0)

    def ask(self, verb: str, **arguments: Any) -> Any:
        """What the outbox answers."""
        self.box.tell([verb, arguments])
        return self.box.hear()

    def order(self, **orders: Any) -> Any:
        """Tell the mail server how to behave."""
        self.sink.tell(orders)
        return self.sink.hear()

    def take(self) -> Taken:
        """All mail since the last time; the mail server is itself again."""
        return self.order(take=True, delay=0)

    def arrived(self) -> int:
        return int(self.order()["count"])

    def worker(self, command: tuple[str, ...] = WORKER, *, ready: bool = True, **changes: str) -> Worker:
        self.workers += 1
        log = self.logs / f"{self.vendor}-worker-{self.workers}.log"
        process = self.stack.enter_context(
            servers.process([sys.executable, "-m", *command], env={**self.env, **changes}, log=log)
        )
        started = Worker(process, log, BEGUN[command])
        if ready:
            until(started.has_begun, "a worker begins")
        return started

    def settle(self) -> None:
        """Wait until every message has come to its end. One that never does is counted with the lost ones."""
        end = time.monotonic() + PATIENCE
        while (left := self.ask("count_open")) and time.monotonic() < end:
            time.sleep(0.2)
        if left:
            print(f"{self.vendor}: after {PATIENCE} s {left} messages are still open.", file=sys.stderr, flush=True)

    def clear(self) -> None:
        self.ask("clear")
        self.take()


@contextmanager
def scene(
    vendor: str,
    url: str,
    logs: Path,
    *,
    settings: str = "benchmarks.notifications.settings",
    box: str = "benchmarks.notifications.box",
    **changes: str,
) -> Iterator[Scene]:
    """Tables, a mail server, and a box that wakes nobody unless it is told which engine to run."""
    port = servers.free_port()
    env = children.environment(
        url,
        EMAIL_URL=f"smtp://127.0.0.1:{port}",
        SINK_PORT=str(port),
        DJANGO_SETTINGS_MODULE=settings,
        **SETTINGS,
    )
    env |= changes
    children.run("django", "migrate", "-v0", env=env)
    with ExitStack() as stack:
        sink = stack.enter_context(children.child("benchmarks.notifications.sink", str(port), env=env))
        quiet = {**env, "NOTIFICATIONS_ENGINE": changes.get("NOTIFICATIONS_ENGINE", "off"), "LOG_LEVEL": "warning"}
        asked = stack.enter_context(children.child(box, env=quiet))
        try:
            yield Scene(vendor, env, logs, stack, port, sink, asked)
        finally:
            # A box or sink in the middle of an answer must not hold up the end.
            for child in (asked, sink):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.process.pid, signal.SIGTERM)


def addresses(taken: Taken) -> list[str]:
    return [address for _, address, _, _ in taken]


def names(stem: str, count: int) -> list[str]:
    return [f"{stem}{number}" for number in range(count)]
