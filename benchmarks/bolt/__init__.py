"""The peer nearest in kind: django-bolt, whose Rust server routes and checks tokens before Python is asked.

Tables, rows, query, hash and answers are those of the FastAPI peer. It needs Python 3.12 or newer and packages of its
own: `python -m benchmarks.bolt` installs them, once, into BOLT_HOME, by default below `~/.cache/switchboard-bench`.
"""

import os
from pathlib import Path

VERSION = "0.13.0"
HOME = Path(os.environ.get("BOLT_HOME") or Path.home() / f".cache/switchboard-bench/bolt-{VERSION}")
PYTHON = HOME / "bin/python"


def is_installed() -> bool:
    return PYTHON.exists()


def command(port: int) -> list[str]:
    """One process, as the other servers have one worker."""
    manage = [str(PYTHON), "-m", "django", "runbolt", "--settings", "benchmarks.bolt.settings"]
    return [*manage, "--host", "127.0.0.1", "--port", str(port), "--processes", "1", "--no-admin"]
