"""The evaluator against Unleash's own engine: the differential fuzz of the tests, with the count that is promised."""

import re
import subprocess
import sys

from benchmarks import servers
from benchmarks.flags import children

COUNT = 100_000
SEED = 20_260


def measure() -> dict[tuple[str, str], list[float]]:
    """`samples["oracle", "differences"]` among COUNT answers."""
    command = [sys.executable, "-m", "feature_flags.tests.engine.fuzz", "--count", str(COUNT), "--seed", str(SEED)]
    env = children.environment("sqlite://:memory:")
    done = subprocess.run(command, cwd=servers.ROOT, env=env, text=True, capture_output=True)
    found = re.search(rf"{COUNT} compared .*?(\d+) differences", done.stdout)
    if not found:
        sys.exit(f"The fuzz failed:\n{done.stdout}{done.stderr}")
    return {("oracle", "differences"): [int(found[1])]}
