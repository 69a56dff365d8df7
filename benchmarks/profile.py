"""Where one kind of request spends its time: a flame graph (SVG) of the product under load, drawn by py-spy."""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import report, servers
from benchmarks.run import CONNECTIONS, load


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("path", nargs="?", default=servers.STATUS)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--bearer", action="store_true", help="sign in first")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/profile.svg"))
    report.add_database(parser)
    options = parser.parse_args()
    beside = Path(sys.executable).with_name("py-spy")
    spy = shutil.which(beside) or shutil.which("py-spy") or sys.exit("py-spy is missing: pip install py-spy")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with servers.databases(options.database_url, ["product"]) as urls:
        servers.seed_database("product", urls)
        with servers.running("ours", urls, options.output.parent) as server:
            asked = {"bearer": server.sign_in()} if options.bearer else {}
            # Loads modules, patterns and statements.
            load(server, options.path, seconds=2, connections=CONNECTIONS, **asked).communicate()
            loading = load(server, options.path, seconds=options.seconds + 2, connections=CONNECTIONS, **asked)
            command = [spy, "record", "--pid", str(server.pid), "--duration", str(options.seconds), "--rate", "100"]
            subprocess.run([*command, "--output", str(options.output)], check=True)
            loading.communicate()
    print(options.output)


if __name__ == "__main__":
    main()
