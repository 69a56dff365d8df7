"""Workers killed without warning: what is lost, what is sent twice, and how long it takes until the rest is sent."""

import random
import time
from collections.abc import Callable
from typing import Any

from benchmarks import report
from benchmarks.notifications.scene import PEER_WORKER, WORKER, Scene, Worker, addresses, names, until
from benchmarks.notifications.types import HOLD, MAIL

#: Seconds a mail takes at the mail server.
QUICK, SLOW = 0.02, 0.3


def _kill(scene: Scene, command: tuple[str, ...], kills: int, queue: Callable[[], Any]) -> tuple[Any, list[Worker]]:
    """Two workers, killed in turn at random moments while there is mail; each is started again at once.

    Returns what `queue` gave, and the workers that are alive at the end.
    """
    workers = [scene.worker(command), scene.worker(command)]
    queued = queue()
    for number in range(kills):
        # The mail must last longer than a slow machine needs to start ten workers.
        scene.order(delay=SLOW)
        victim = workers[number % 2]
        until(victim.has_begun, "a worker begins")
        # Half of the kills find their worker anywhere, half of them nearly always with a mail handed over.
        scene.order(delay=SLOW if number % 4 > 1 else QUICK)
        time.sleep(random.uniform(0.2, 0.8))
        if not scene.ask("count_open"):
            raise SystemExit(f"All mail was sent after {number} kills: queue more.")
        victim.kill()
        workers[number % 2] = scene.worker(command, ready=False)
    scene.order(delay=0)
    return queued, workers


def workers(scene: Scene, *, policy: str, count: int, kills: int) -> report.Samples:
    """Ten kills, and nobody repairs anything."""
    scene.clear()
    order = {"type": MAIL if policy == "retry" else HOLD, "names": names(policy, count)}
    queued, alive = _kill(scene, WORKER, kills, lambda: scene.ask("queue", **order))
    scene.settle()
    for worker in alive:
        worker.stop()
    taken = scene.take()
    unknown = {row["to_address"] for row in scene.ask("rows") if row["state"] == "unknown"}
    lost = set(queued) - set(addresses(taken)) - unknown
    return {
        (scene.vendor, f"{policy}_lost"): [len(lost)],
        (scene.vendor, f"{policy}_doubled"): [len(taken) - len(set(addresses(taken)))],
        (scene.vendor, f"{policy}_foreign"): [sum(queued[address] != uid for uid, address, _, _ in taken)],
        (scene.vendor, f"{policy}_unknown"): [len(unknown)],
    }


def peer(scene: Scene, *, count: int, kills: int) -> report.Samples:
    """The same kills of the peer's workers, until nothing moves any more."""
    _kill(scene, PEER_WORKER, kills, lambda: scene.ask("queue", names=names("peer", count)))
    until(lambda: not scene.ask("states").get("READY"), "the peer has begun every task")
    until(_quiet(scene), "the peer sends nothing any more")
    taken = addresses(scene.take())
    return {
        (scene.vendor, "peer_lost"): [count - len(set(taken))],
        (scene.vendor, "peer_doubled"): [len(taken) - len(set(taken))],
        (scene.vendor, "peer_running"): [scene.ask("states").get("RUNNING", 0)],
    }


def _quiet(scene: Scene) -> Callable[[], bool]:
    return lambda: time.monotonic() - scene.order()["last_at"] > 3


def race(scene: Scene, *, workers: int, count: int) -> report.Samples:
    """Many workers, woken at once, for the same mail."""
    scene.clear()
    racing = [scene.worker() for _ in range(workers)]
    scene.ask("queue", type=MAIL, names=names("race", count))
    scene.settle()
    taken = addresses(scene.take())
    for worker in racing:
        worker.stop()
    return {
        (scene.vendor, "race_lost"): [count - len(set(taken))],
        (scene.vendor, "race_doubled"): [len(taken) - len(set(taken))],
    }


def recovery(scene: Scene, *, repeats: int) -> report.Samples:
    """Seconds from the kill of a worker that holds ten messages until another one has begun the last of them."""
    seconds = []
    pair = [scene.worker(), scene.worker()]
    for number in range(repeats):
        scene.clear()
        scene.order(delay=0.3)
        scene.ask("queue", type=MAIL, names=names(f"crash{number}-", 10))
        until(scene.arrived, "the first mail arrives")
        holder = max(scene.ask("held").items(), key=lambda pair: len(pair[1]))
        victim = _named(holder[0], pair)
        at = victim.kill()
        scene.order(delay=0)
        scene.settle()
        seconds.append(max(began for _, _, began, _ in scene.take()) - at)
        pair = [worker for worker in pair if worker is not victim] + [scene.worker()]
    for worker in pair:
        worker.stop()
    return {(scene.vendor, "recovery"): seconds}


def _named(owner: str, workers: list[Worker]) -> Worker:
    """The process that calls itself so: `host:pid:thread`."""
    for worker in workers:
        if str(worker.pid) in owner.split(":"):
            return worker
    raise SystemExit(f"No worker calls itself {owner}.")
