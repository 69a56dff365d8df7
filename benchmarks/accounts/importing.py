"""`python -m benchmarks.accounts.importing [ROWS]`: what bringing people in from the seed takes, in time and memory."""

import json
import resource
import subprocess
import sys
import time
import uuid

import psycopg
from psycopg import sql

from benchmarks.servers import environment
from users.tests.seed_database import SERVER, hashed, seed_database

ROWS = 100_000
#: Seconds on PostgreSQL for 100,000; MiB by which a run of all may exceed one of a tenth.
BAR_SECONDS, BAR_MIB = 60, 30


def fill(seed, rows):
    seed.execute(
        """
        INSERT INTO users (id, email, hashed_password, first_name, last_name, is_active, is_superuser, is_verified,
                           login_failed_count, verified_on, last_login, created_on)
        SELECT md5(n::text), 'person' || n || '@example.org', %s, 'First' || n, 'Last' || n, n %% 50 > 0, false,
               n %% 9 > 0, n %% 7, now(), now(), now() FROM generate_series(1, %s) AS n
        """,
        [hashed("Old-Password-7"), rows],
    )


def measure(rows):
    """Seconds, those of them on a core of ours, MiB at the peak, and how many accounts were made."""
    target = f"bench_import_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(SERVER, autocommit=True) as server, seed_database() as seed:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(target)))
        try:
            fill(seed, rows)
            url = SERVER.rsplit("/", 1)[0] + f"/{target}"
            env = {**environment("ours", 8000, {"product": url}), "SEED_URL": seed.dsn}
            manage = [sys.executable, "manage.py"]
            subprocess.run([*manage, "migrate", "-v0"], env=env, check=True)
            began, used = time.monotonic(), _cpu()
            command = [*manage, "import_compose_stack", "--dsn-env", "SEED_URL", "--only", "users", "--json"]
            done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
            seconds, cpu = time.monotonic() - began, _cpu() - used
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(target)))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return seconds, cpu, peak, json.loads(done.stdout)["users"]["created"]


def _cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(rows=ROWS):
    """Print the figures; return whether both bars hold."""
    # The smaller one first: the peak of children only grows.
    _, _, small, _ = measure(rows // 10)
    seconds, cpu, large, created = measure(rows)
    print(f"{created:,} accounts in {seconds:.1f} s, {cpu:.1f} of them on a core; ", end="")
    print(f"{large:.0f} MiB at the peak, {small:.0f} with a tenth of them")
    return seconds <= BAR_SECONDS * rows / ROWS and large - small <= BAR_MIB


if __name__ == "__main__":
    sys.exit(not main(int(sys.argv[1]) if sys.argv[1:] else ROWS))
