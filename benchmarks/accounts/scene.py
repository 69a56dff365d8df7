"""One database of one kind and the servers in front of it, all of which end with the block."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import seed, servers
from benchmarks.flags import children
from benchmarks.flags.children import Child
from benchmarks.servers import Server

#: Everything comes from one address here, so the limits per address would be all that is measured. Those per account
#: stay.
SETTINGS = {"USERS_IP_LIMITS": "0", "NOTIFICATIONS_ENGINE": "off"}
INSIDE = "benchmarks.accounts.inside:application"


@dataclass
class Scene:
    vendor: str
    env: dict[str, str]
    logs: Path
    stack: ExitStack
    box: Child

    def ask(self, verb: str, **arguments: Any) -> Any:
        """What the database answers, or was told."""
        self.box.tell([verb, arguments])
        return self.box.hear()

    def people(self, first: int, count: int, **fields: Any) -> list[str]:
        """Addresses of new, verified people whose password is `seed.PASSWORD`; `fields` as the model has them."""
        self.ask("people", first=first, count=count, fields=fields)
        return [seed.email(number) for number in range(first, first + count)]

    def serve(self, name: str, *, workers: int = 1, application: str = "", **changes: str) -> Server:
        """The product as it is deployed, with `workers` processes; `changes` are settings."""
        logs = self.logs / f"{self.vendor}-{name}"
        logs.mkdir(parents=True, exist_ok=True)
        # uvicorn reads the number of its workers there.
        env = {**self.env, "WEB_CONCURRENCY": str(workers), **changes}
        database = {"product": env["DATABASE_URL"]}
        return self.stack.enter_context(servers.running("ours", database, logs, application=application, **env))


def processes(server: Server) -> list[int]:
    """The server's process, or with several workers theirs as well."""
    children_of = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children_of.setdefault(parent, []).append(int(entry.name))
    return [server.pid, *children_of.get(server.pid, [])]


def memory(server: Server) -> float:
    """Resident MiB of all its processes."""
    return sum(Server(server.name, server.base, pid).memory() for pid in processes(server))


@contextmanager
def scene(vendor: str, name: str, admin_url: str, folder: str, logs: Path) -> Iterator[Scene]:
    """Tables in a fresh database, and a box that reads and fills them."""
    with ExitStack() as stack:
        if vendor == "sqlite":
            url = f"sqlite:///{folder}/{name}.sqlite3"
            for leftover in Path(folder).glob(f"{name}.sqlite3*"):
                leftover.unlink()
        else:
            url = stack.enter_context(servers.databases(admin_url, [f"accounts_{name}"]))[f"accounts_{name}"]
        whole = children.environment(url, DJANGO_SETTINGS_MODULE="project.settings", **SETTINGS)
        # Each server knows its own.
        env = {name: value for name, value in whole.items() if name != "BASE_URL"}
        children.run("manage", "migrate", "-v0", env=whole)
        box = stack.enter_context(children.child("benchmarks.accounts.box", env={**whole, "LOG_LEVEL": "warning"}))
        yield Scene(vendor, env, logs, stack, box)
