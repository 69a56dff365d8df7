"""The peer: Unleash's own server, from npm, with its own PostgreSQL database.

`python -m benchmarks.flags.unleash` installs it (some 400 MB, once) into UNLEASH_HOME, by default
`~/.cache/switchboard-bench/unleash-<version>`. With it comes the Node that it asks for.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import servers
from benchmarks.servers import Server

VERSION, NODE_VERSION = "8.2.0", "22"
HOME = Path(os.environ.get("UNLEASH_HOME") or Path.home() / f".cache/switchboard-bench/unleash-{VERSION}")
SERVER_TOKEN, FRONTEND_TOKEN = (
    "default:development.server-of-the-benchmark",
    "default:development.frontend-of-the-benchmark",
)
_NODE = HOME / "node_modules/.bin/node"
_MAIN = HOME / "node_modules/unleash-server/dist/server.js"
_NO_LIMIT = "1000000000"

#: As for a production server that is to be quick: nothing checked or sent that an answer does not need.
SETTINGS = {
    "NODE_ENV": "production",
    "LOG_LEVEL": "error",
    "ENABLE_OAS": "false",
    "CHECK_VERSION": "false",
    "SEND_TELEMETRY": "false",
    "CLIENT_FEATURE_CACHING_ENABLED": "true",
    "DATABASE_POOL_MAX": "10",
    "DATABASE_SSL": "false",
    "SDK_API_RATE_LIMIT_PER_MINUTE": _NO_LIMIT,
    "TOKEN_AUTHENTICATION_RATE_LIMIT_PER_MINUTE": _NO_LIMIT,
    "AUTHENTICATION_RATE_LIMIT_PER_MINUTE": _NO_LIMIT,
}


def is_installed() -> bool:
    return _NODE.exists() and _MAIN.exists()


def install() -> None:
    if not shutil.which("npm"):
        sys.exit("Unleash's server needs npm.")
    HOME.mkdir(parents=True, exist_ok=True)
    dependencies = {"unleash-server": VERSION, "node": NODE_VERSION}
    (HOME / "package.json").write_text(json.dumps({"private": True, "dependencies": dependencies}))
    subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=HOME, check=True)


def about() -> str:
    node = subprocess.run([_NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    settings = ", ".join(f"{name}={value}" for name, value in SETTINGS.items())
    return f"unleash-server {VERSION} on Node {node}; {settings}"


@contextmanager
def running(features: list[dict[str, Any]], database_url: str, logs: Path) -> Iterator[Server]:
    """Unleash's server in an empty database, with the features of a client document."""
    port = servers.free_port()
    imported = logs / "unleash.json"
    imported.write_text(json.dumps(_export(features)))
    env = {
        **SETTINGS,
        "PATH": os.environ.get("PATH", ""),
        "TZ": "UTC",
        "HTTP_HOST": "127.0.0.1",
        "HTTP_PORT": str(port),
        "DATABASE_URL": database_url,
        "INIT_BACKEND_API_TOKENS": SERVER_TOKEN,
        "INIT_FRONTEND_API_TOKENS": FRONTEND_TOKEN,
        "IMPORT_FILE": str(imported),
        "IMPORT_ENVIRONMENT": "development",
    }
    log = logs / "unleash.log"
    with servers.process([str(_NODE), str(_MAIN)], env=env, log=log) as started:
        server = Server("unleash", f"http://127.0.0.1:{port}", started.pid)
        servers.wait_until_ready(server, started, log, path="/health")
        yield server


def _export(features: list[dict[str, Any]]) -> dict[str, Any]:
    """A client document in the form that Unleash imports."""
    fields = {
        constraint["contextName"]
        for feature in features
        for strategy in feature["strategies"]
        for constraint in strategy["constraints"]
    }
    own = ("name", "type", "description", "project", "stale", "impressionData")
    return {
        "features": [{**{key: feature[key] for key in own}, "archived": False} for feature in features],
        "featureStrategies": [
            {**_strategy(strategy), "featureName": feature["name"]}
            for feature in features
            for strategy in feature["strategies"]
        ],
        "featureEnvironments": [
            {"name": feature["name"], "featureName": feature["name"], "enabled": feature["enabled"]}
            for feature in features
        ],
        "contextFields": [{"name": name} for name in sorted(fields)],
        "featureTags": [],
        "tagTypes": [],
        "segments": [],
    }


def _strategy(strategy: dict[str, Any]) -> dict[str, Any]:
    # Variable ones share alike what the fixed ones leave; one of them there must be.
    kinds = ["fix"] * (len(strategy["variants"]) - 1) + ["variable"]
    variants = [{**variant, "weightType": kind} for variant, kind in zip(strategy["variants"], kinds, strict=False)]
    return {**strategy, "variants": variants}


if __name__ == "__main__":
    install()
