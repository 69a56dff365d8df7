"""schemathesis over the whole OpenAPI document: every operation with right and wrong data, every check."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks import seed, servers
from benchmarks.accounts.scene import Scene
from benchmarks.report import Samples
from benchmarks.servers import Server

DOCUMENT = "/api/openapi.json"
PEOPLE, KEYS, THINGS = 5000, 300, 40
CONFIG = Path(__file__).with_name("schemathesis.toml")


def run(scene: Scene, *, examples: int, only: str = "") -> Samples:
    """At most `examples` generated cases for each operation and phase; `only`: paths that match this expression."""
    scene.people(0, PEOPLE, is_staff=True, is_superuser=True)
    server = scene.serve("api")
    folder = scene.logs / f"{scene.vendor}-api"
    command = _command(server, folder, examples) + (["--include-path-regex", only] if only else [])
    done = subprocess.run(
        command, cwd=servers.ROOT, env=_environment(scene, server), text=True, capture_output=True, check=False
    )
    (folder / "schemathesis.log").write_text(done.stdout + done.stderr)
    found = _counted((folder / "events.ndjson").read_text().splitlines())
    if done.returncode:
        print(done.stdout[-6000:] + done.stderr[-2000:], file=sys.stderr, flush=True)
        # An error of the run itself is no failure of a check, and no success either.
        found["failures"] = max(found["failures"], 1)
    return {(scene.vendor, f"api_{name}"): [value] for name, value in found.items()}


def _command(server: Server, folder: Path, examples: int) -> list[str]:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", server.base + DOCUMENT]
    command += ["--checks", "all", "--max-examples", str(examples), "--generation-database", "none", "--no-color"]
    command += ["--continue-on-failure", "--report", "ndjson"]
    return [*command, "--report-ndjson-path", str(folder / "events.ndjson")]


def _environment(scene: Scene, server: Server) -> dict[str, str]:
    things = scene.ask("staff_things", most=THINGS)
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SCHEMATHESIS_HOOKS": "benchmarks.accounts.hooks",
        "BENCH_BASE": server.base,
        "BENCH_PEOPLE": str(PEOPLE),
        "BENCH_TOKENS": json.dumps(scene.ask("flag_tokens")),
        "BENCH_KEYS": json.dumps([key for _, key in scene.ask("api_keys", first=PEOPLE - KEYS, count=KEYS)]),
        "BENCH_THINGS": json.dumps(things),
        "BENCH_EXISTING": json.dumps(scene.ask("something_to_see", email=seed.email(0))),
    }


def _counted(events: list[str]) -> dict[str, float]:
    """Requests sent, checks failed, answers of each hundred; a request without an answer counts as a 5xx."""
    cases = failures = 0
    answers: Counter[int] = Counter()
    checks: set[str] = set()
    for line in events:
        recorder = json.loads(line).get("ScenarioFinished", {}).get("recorder", {})
        interactions = recorder.get("interactions", {}).values()
        cases += len(interactions)
        answers.update((one["response"] or {"status_code": 599})["status_code"] // 100 for one in interactions)
        made = [check for some in recorder.get("checks", {}).values() for check in some]
        failures += sum(check["status"] == "failure" for check in made)
        checks.update(check["name"] for check in made)
    kinds = {f"answers_{kind}xx": answers[kind] for kind in (2, 3, 4, 5)}
    return {"cases": cases, "failures": failures, "checks": len(checks), **kinds}
