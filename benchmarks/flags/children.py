"""Processes that answer in JSON, and databases filled by one."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks import servers


def run(*arguments: str, env: dict[str, str]) -> str:
    """The output of `python -m ...`; SystemExit with what it complained about."""
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=servers.ROOT, env=env, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(arguments)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def answer(*arguments: str, env: dict[str, str]) -> Any:
    """The JSON on the last line of its output."""
    return json.loads(run(*arguments, env=env).splitlines()[-1])


def environment(database_url: str, **changes: str) -> dict[str, str]:
    return {**servers.environment("ours", 8000, {"product": database_url}), **changes}


def filled(database_url: str, count: int) -> dict[str, str]:
    """Tables and `count` flags in an empty database; the secrets of a server and of a frontend token."""
    env = environment(database_url)
    run("manage", "migrate", "-v0", env=env)
    return answer("benchmarks.flags.seed", str(count), env=env)


class Child:
    """A process that takes lines and gives lines, one JSON value each."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def tell(self, value: Any) -> None:
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{' '.join(self.process.args[2:])} ended; what it said stands above.")
        return json.loads(line)


@contextmanager
def child(*arguments: str, env: dict[str, str]) -> Iterator[Child]:
    """The process, once it has said that it is ready."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-m", *arguments]
    with subprocess.Popen(command, cwd=servers.ROOT, env=env, text=True, **pipes) as process:
        try:
            started = Child(process)
            started.hear()
            yield started
        finally:
            process.terminate()
