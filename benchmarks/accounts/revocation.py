"""How long a revoked API key is still accepted by another process."""

import threading
import time
from dataclasses import dataclass

from benchmarks.accounts.client import Client
from benchmarks.accounts.scene import Scene
from benchmarks.report import Samples
from benchmarks.servers import USER, Server

#: Between two calls with the key.
PAUSE = 0.002


@dataclass
class Caller:
    """Calls with a key, on and on: when the last accepted call began, and when the first refusal was read."""

    server: Server
    key: str
    accepted: int = 0
    accepted_at: float = 0.0
    refused_at: float = 0.0

    def call(self) -> None:
        client = Client(self.server.base).open()
        while not self.refused_at:
            began_at = time.monotonic()
            answer = client.ask("GET", USER, bearer=self.key)
            if answer.status == 401:
                self.refused_at = time.monotonic()
            else:
                answer.expect(200, "A call with a live key")
                self.accepted, self.accepted_at = self.accepted + 1, began_at
                time.sleep(PAUSE)


def run(scene: Scene, *, tries: int) -> Samples:
    """Milliseconds from the answer to the revocation, by one process, to the first refusal of another; and how many
    calls that began after that answer were accepted."""
    scene.people(0, tries + 1, is_staff=True, is_superuser=True)
    (_, staff), *keys = scene.ask("api_keys", first=0, count=tries + 1)
    one, other = scene.serve("revoking"), scene.serve("called")
    revoking, seconds, late = Client(one.base).open(), [], 0
    for number, (identity, key) in enumerate(keys):
        caller = Caller(other, key)
        thread = threading.Thread(target=caller.call, daemon=True)
        thread.start()
        while caller.accepted < 3:
            time.sleep(PAUSE)
        # At no fixed distance from the calls.
        time.sleep(number % 7 * PAUSE / 7)
        revoking.ask("POST", f"/api/staff/api-keys/{identity}/revoke", bearer=staff).expect(200, "A revocation")
        at = time.monotonic()
        thread.join(60)
        seconds.append(max(0.0, caller.refused_at - at))
        late += caller.accepted_at > at
    found = {"ms": [each * 1000 for each in seconds], "late": [late]}
    return {(scene.vendor, f"revoked_{name}"): values for name, values in found.items()}
