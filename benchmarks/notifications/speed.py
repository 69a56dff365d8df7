"""How fast one worker sends, and what a mail costs it, beside a worker of django-tasks-db with the same mail."""

import statistics
from typing import Any

from benchmarks import report
from benchmarks.notifications.scene import PEER_WORKER, WORKER, Scene, names, until
from benchmarks.notifications.types import MAIL


def _batch(scene: Scene, command: tuple[str, ...], count: int, **queue: Any) -> tuple[float, float]:
    """Mails a second and milliseconds of CPU for each, of one worker with an instant provider."""
    scene.clear()
    worker = scene.worker(command)
    # The first ones load templates, modules and statements.
    for part, size in (("warm", 20), ("mail", count)):
        cpu = worker.cpu_seconds()
        scene.ask("queue", names=names(part, size), **queue)
        until(lambda size=size: scene.arrived() >= size, "all mail arrives")
        # Noting the last one is part of the work.
        until(lambda: not scene.ask("count_open"), "all mail is noted")
        used = worker.cpu_seconds() - cpu
        taken = scene.take()
    worker.stop()
    moments = sorted(done for *_, done in taken)
    return (count - 1) / (moments[-1] - moments[0]), used / count * 1000


def throughput(scene: Scene, other: Scene, *, count: int, repeats: int) -> report.Samples:
    """Rounds of the product and of its peer in turn."""
    samples: report.Samples = {}
    for _ in range(repeats):
        for name, where, command, queue in (
            ("ours", scene, WORKER, {"type": MAIL}),
            ("peer", other, PEER_WORKER, {}),
        ):
            rate, cost = _batch(where, command, count, **queue)
            samples.setdefault((scene.vendor, f"{name}_rate"), []).append(rate)
            samples.setdefault((scene.vendor, f"{name}_cpu"), []).append(cost)
    return samples


def calls(scene: Scene, other: Scene, *, count: int, repeats: int) -> report.Samples:
    """Single calls inside a process: queuing beside the peer's, rendering."""
    samples: report.Samples = {}
    for _ in range(repeats):
        scene.clear()
        other.clear()
        found = {
            "enqueue": statistics.median(scene.ask("enqueue", count=count)),
            "peer_enqueue": statistics.median(other.ask("enqueue", count=count)),
            **scene.ask("render", count=count),
        }
        for figure, value in found.items():
            samples.setdefault((scene.vendor, figure), []).append(value)
    scene.clear()
    other.clear()
    return samples


def wake(scene: Scene, *, count: int) -> report.Samples:
    """Milliseconds from COMMIT in an embedded process at rest until the mail server hears MAIL FROM."""
    scene.clear()
    committed = dict(scene.ask("wake", count=count))
    began = {address: at for _, address, at, _ in scene.take()}
    return {(scene.vendor, "wake"): [(began[address] - at) * 1000 for address, at in committed.items()]}


def claims(scenes: dict[str, Scene], *, kept: int, tomorrow: int, count: int, repeats: int) -> report.Samples:
    """A claim of ten with few rows, with very many kept, and with very many due tomorrow."""
    vendor = next(iter(scenes.values())).vendor
    rows = {"few": (2_000, 0), "kept": (kept, 0), "tomorrow": (2_000, tomorrow)}
    for name, scene in scenes.items():
        scene.ask("fill", kept=rows[name][0], tomorrow=rows[name][1])
        scene.ask("claim", count=20)
    samples: report.Samples = {}
    # Short turns: a busy moment meets all of them.
    for _ in range(repeats * 10):
        for name, scene in scenes.items():
            found = statistics.median(scene.ask("claim", count=max(3, count // 10)))
            samples.setdefault((vendor, f"claim_{name}"), []).append(found)
    plans = {name: scene.ask("plans") for name, scene in scenes.items() if name != "few"}
    samples[vendor, "claim_scans"] = [sum(not _by_index(plan) for found in plans.values() for plan in found)]
    return samples


def _by_index(plan: str) -> bool:
    """Whether no part of a plan walks the whole table."""
    lines = [line for line in plan.splitlines() if "notifications_message" in line]
    return not any(line.lstrip(" ->").startswith(("SCAN", "Seq Scan")) and "INDEX" not in line for line in lines)
