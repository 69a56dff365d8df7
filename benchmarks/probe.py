"""A steady trickle of requests on one connection: `python -m benchmarks.probe URL SECONDS PER_SECOND`.

Prints the latencies in milliseconds as a JSON list. A process of its own, so that nothing else of the benchmark
delays its clock.
"""

import http.client
import json
import sys
import time
from urllib.parse import urlsplit


def latencies(url: str, *, seconds: float, per_second: float) -> list[float]:
    """Milliseconds from the moment each request was due, or sent, to the end of its answer."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    connection.connect()
    taken = []
    start = time.perf_counter()
    for number in range(int(seconds * per_second)):
        due = start + number / per_second
        if (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
            # Waking late is this process's fault, not the server's.
            due = time.perf_counter()
        # Otherwise an earlier answer was slow, and this request has waited since it was due: that counts.
        connection.request("GET", address.path)
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            sys.exit(f"{url} answered {response.status}.")
        taken.append((time.perf_counter() - due) * 1000)
    return taken


if __name__ == "__main__":
    _, url, seconds, per_second = sys.argv
    print(json.dumps(latencies(url, seconds=float(seconds), per_second=float(per_second))))
