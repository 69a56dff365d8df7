#!/bin/sh
# 20,000 flags in a Python process: to ask for one is quick; to get them, or to say who asks, stops or costs everybody.
#
# Versions: yggdrasil-engine 2.0.0 (under UnleashClient, Rust), openfeature-flagd-core 1.0.0, growthbook 4.0.0 (PyPI;
# Python 3.11).
# One guesses: a new set of flags is built beside the old one and put in its place, so that requests go on with the old
# one meanwhile, the more so in an engine that is not written in Python. And: an object for each request and its
# attributes (GrowthBook) refers to the features that it is given.
# Seen: both engines lock for as long as they read the set. Evaluations wait for most of that time, whenever any one flag
# has changed. A GrowthBook object makes all features anew, some thousand times the time of an evaluation.
# Output (measured on two shared cores; what is checked is that the wait is over 50 ms, and the cost over 100 times):
#   yggdrasil-engine: an evaluation 0.1 ms, while the flags are taken anew up to 841 ms
#   flagd-core: an evaluation 0.0 ms, while the flags are taken anew up to 212 ms
#   growthbook: an evaluation 0.1 ms, an object for one person 439 ms
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check \
    yggdrasil-engine==2.0.0 openfeature-flagd-core==1.0.0 openfeature-sdk==0.10.0 growthbook==4.0.0
cat > "$dir/check.py" <<'PYTHON'
import json
import statistics
import sys
import threading
import time

from growthbook import GrowthBook
from openfeature.contrib.tools.flagd.core import FlagdCore
from openfeature.evaluation_context import EvaluationContext
from yggdrasil_engine.engine import UnleashEngine

NAMES = [f"flag-{number}" for number in range(20_000)]


def milliseconds(call):
    start = time.perf_counter()
    call()
    return (time.perf_counter() - start) * 1000


def usual(call):
    return statistics.median(milliseconds(call) for _ in range(50))


def longest_wait(update, evaluate):
    """The longest evaluation in another thread while the flags are taken anew, in ms."""
    done, taken = threading.Event(), []

    def requests():
        while not done.is_set():
            taken.append(milliseconds(evaluate))
            time.sleep(0.001)

    thread = threading.Thread(target=requests)
    thread.start()
    time.sleep(0.1)
    taken.clear()
    update()
    done.set()
    thread.join()
    return max(taken)


constraint = {"contextName": "plan", "operator": "IN", "values": ["pro"]}
strategies = [{"name": "default", "parameters": {}, "constraints": [constraint]}]
unleash = json.dumps(
    {"version": 2, "features": [{"name": name, "enabled": True, "strategies": strategies} for name in NAMES]}
)
engine = UnleashEngine()
engine.take_state(unleash)

targeting = {"if": [{"==": [{"var": "plan"}, "pro"]}, "on", "off"]}
flag = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "off", "targeting": targeting}
flagd = json.dumps({"flags": dict.fromkeys(NAMES, flag)})
core = FlagdCore()
core.set_flags(flagd)

ENGINES = {
    "yggdrasil-engine": (
        lambda: engine.take_state(unleash),
        lambda: engine.check_enabled("flag-7", {"properties": {"plan": "pro"}}),
    ),
    "flagd-core": (
        lambda: core.set_flags(flagd),
        lambda: core.resolve_boolean_value("flag-7", False, EvaluationContext("1", {"plan": "pro"})),
    ),
}
held = []
for name, (update, evaluate) in ENGINES.items():
    once, wait = usual(evaluate), longest_wait(update, evaluate)
    held.append(wait > 50 and wait > 100 * once)
    print(f"{name}: an evaluation {once:.1f} ms, while the flags are taken anew up to {wait:.0f} ms")

rule = {"condition": {"plan": "pro"}, "force": True}
features = {name: {"defaultValue": False, "rules": [rule]} for name in NAMES}
person = GrowthBook(attributes={"id": "1", "plan": "pro"}, features=features)
once = usual(lambda: person.is_on("flag-7"))
anew = milliseconds(lambda: GrowthBook(attributes={"id": "2", "plan": "pro"}, features=features))
print(f"growthbook: an evaluation {once:.1f} ms, an object for one person {anew:.0f} ms")
sys.exit(not (all(held) and anew > 100 * once))
PYTHON
"$dir/venv/bin/python" "$dir/check.py"
