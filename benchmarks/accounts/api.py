"""schemathesis over the whole OpenAPI document: every operation with right and wrong data, every check."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.accounts.scene import Scene
from benchmarks.report import Samples
from benchmarks.servers import Server

DOCUMENT = "/api/openapi.json"
PEOPLE = 5000
CONFIG = Path(__file__).with_name("schemathesis.toml")


def run(scene: Scene, *, examples: int, phases: str = "", only: str = "") -> Samples:
    """At most `examples` generated cases for each operation and phase; `only`: paths that match this expression."""
    scene.people(0, PEOPLE, is_staff=True, is_superuser=True)
    scene.ask("something_to_see", email="ada0@example.org")
    server = scene.serve("api")
    report = scene.logs / f"{scene.vendor}-api"
    done = subprocess.run(
        [*_command(server, report, examples), *_narrowed(phases, only)],
        cwd=servers.ROOT,
        env=_environment(scene, server),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    (report / "schemathesis.log").write_text(done.stdout)
    events = [json.loads(line) for line in (report / "events.ndjson").read_text().splitlines()]
    found = {(scene.vendor, f"api_{name}"): [value] for name, value in _counted(events).items()}
    if done.returncode not in (0, 1) or found[scene.vendor, "api_failures"][0] or done.returncode == 1:
        print(done.stdout[-6000:], file=sys.stderr)
    if done.returncode and not found[scene.vendor, "api_failures"][0]:
        # Errors of the run itself are no failure of a check, and no success either.
        found[scene.vendor, "api_failures"] = [1]
    return found


def _command(server: Server, report: Path, examples: int) -> list[str]:
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(CONFIG), "run", server.base + DOCUMENT]
    command += ["--checks", "all", "--max-examples", str(examples), "--generation-database", "none", "--no-color"]
    return [*command, "--continue-on-failure", "--report", "ndjson", "--report-ndjson-path", str(report / "events.ndjson")]


def _narrowed(phases: str, only: str) -> list[str]:
    return [*(["--phases", phases] if phases else []), *(["--include-path-regex", only] if only else [])]


def _environment(scene: Scene, server: Server) -> dict[str, str]:
    tokens = scene.ask("flag_tokens")
    return {
        "PATH": os.environ.get("PATH", ""),
        "HOME": os.environ.get("HOME", ""),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SCHEMATHESIS_HOOKS": "benchmarks.accounts.hooks",
        "BENCH_BASE": server.base,
        "BENCH_PEOPLE": str(PEOPLE),
        "BENCH_SERVER_TOKEN": tokens["server"],
        "BENCH_FRONTEND_TOKEN": tokens["frontend"],
    }


def _counted(events: list[dict[str, Any]]) -> dict[str, float]:
    Counter(events)
    return {}
