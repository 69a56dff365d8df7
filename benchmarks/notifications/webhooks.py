"""Webhooks while their worker and their receiver are killed in turn: what is lost, and what comes with another id."""

import random
import sys
import time
from collections import defaultdict
from pathlib import Path

from benchmarks import report, servers
from benchmarks.notifications.scene import Scene, Worker, until

#: Of an answer, so that a kill finds some under way; and of the subjects whose order is kept.
SECONDS, SUBJECTS = 0.05, 50
#: What was under way in a killed worker is due again after 31 seconds, as after the shortest timeout.
SETTINGS = {"WEBHOOKS_TIMEOUT": "1", "WEBHOOKS_ALLOWED_NETWORKS": "127.0.0.0/8"}


def killed(scene: Scene, *, count: int, kills: int) -> report.Samples:
    """Nobody repairs anything: who was killed is started again, and nothing else happens."""
    port, file = servers.free_port(), scene.logs / f"{scene.vendor}-webhooks.txt"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.notifications.receiver", str(port), str(file), str(SECONDS)]

    def receive() -> Worker:
        log = scene.logs / f"{scene.vendor}-receiver.log"
        started = scene.stack.enter_context(servers.process(command, env=scene.env, log=log))
        receiver = Worker(started, log, b"Receiving")
        until(receiver.has_begun, "the receiver begins")
        return receiver

    receiver, worker = receive(), scene.worker()
    queued = scene.ask("publish", url=f"http://127.0.0.1:{port}/", count=count, subjects=SUBJECTS)
    for number in range(kills):
        for who in ("worker", "receiver"):
            before = len(_taken(file))
            until(lambda: len(_taken(file)) > before + count // (4 * kills), "webhooks arrive")  # noqa: B023
            time.sleep(random.uniform(0, 0.3))
            if not scene.ask("count_open_deliveries"):
                sys.exit(f"All was delivered after {number} kills: publish more.")
            if who == "worker":
                worker.kill()
                worker = scene.worker()
            else:
                receiver.kill()
                receiver = receive()
    until(lambda: not scene.ask("count_open_deliveries"), "every webhook is delivered")
    worker.stop()
    return {(scene.vendor, f"webhooks_{name}"): [value] for name, value in _found(queued, _taken(file)).items()}


def _taken(file: Path) -> list[list[str]]:
    """`[webhook-id, subject and number]` of each that came, in the order they came; a line that was cut is none."""
    text = file.read_text() if file.exists() else ""
    return [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]


def _found(queued: dict[str, str], taken: list[list[str]]) -> dict[str, float]:
    """`queued` has the `webhook-id` of each address."""
    ids = defaultdict(set)
    for webhook_id, address in taken:
        ids[address].add(webhook_id)
    turns = defaultdict(list)
    for address in dict.fromkeys(address for _, address in taken):
        subject, _, number = address.partition("@")[0].partition("-")
        turns[subject].append(int(number))
    return {
        "lost": len(queued.keys() - ids.keys()),
        "foreign": sum(seen != {queued[address]} for address, seen in ids.items()),
        "again": len(taken) - len(ids),
        "disordered": sum(turn != sorted(turn) for turn in turns.values()),
    }
