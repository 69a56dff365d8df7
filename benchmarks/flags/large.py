"""Ten thousand flags: `python -m benchmarks.flags.large` is one fresh process; prints its milliseconds as JSON."""

import json
import os
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import django

from benchmarks import report, servers
from benchmarks.flags import children, flagset, propagation, seed, wire

FLAGS, SWITCHES = 10_000, 100


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def main() -> None:
    from django.utils import timezone

    from feature_flags import evaluation as flags
    from feature_flags.runtime import snapshot, store
    from feature_flags.services import editing

    # The first query opens the connection, which is no part of a build.
    flag, was_on = editing.get(flagset.PLAIN), True
    figures = {"first_build": milliseconds(lambda: store.put(snapshot.build(None, timezone.now())))}
    known = store.snapshot
    person = flagset.context(1)
    one_user = [milliseconds(lambda: [flags.is_enabled(name, person) for name in known.flags]) for _ in range(5)]
    figures["one_user"] = min(one_user)
    # Written behind this process's back, so that the next build is ours to time.
    store.put(None)
    editing.switch(flag, on=not was_on, **seed.WHO)
    figures["one_change"] = milliseconds(lambda: snapshot.build(known, timezone.now()))
    editing.switch(flag, on=was_on, **seed.WHO)
    print(json.dumps(figures))


def measure(url: str, logs: Path, *, repeats: int) -> report.Samples:
    """`samples["large", figure]`, in milliseconds; `memory` in MiB, of a served worker."""
    samples: report.Samples = defaultdict(list)
    tokens = children.filled(url, FLAGS)
    for _ in range(repeats):
        figures = children.answer("benchmarks.flags.large", env=children.environment(url))
        for name, value in figures.items():
            samples["large", name].append(value)
    samples["large", "delay"] = propagation.to_process(url, SWITCHES)
    with servers.running("large", {"product": url}, logs, application="project.asgi:application") as server:
        asked = wire.requests(server, tokens["server"], tokens["frontend"])
        for name in ("features", "frontend", "bulk", "single"):
            wire.load(server, asked[name], seconds=2)
        samples["large", "memory"].append(server.memory())
    return samples


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    main()
