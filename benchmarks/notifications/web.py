"""What the web process does: answers that must not wait for a provider, promises that must survive its death."""

import http.client
import json
import os
import random
import signal
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack
from urllib.parse import urlsplit

from benchmarks import report, servers
from benchmarks.notifications.scene import Scene, addresses, until
from benchmarks.servers import Server

VERIFY, CODE = "/api/auth/verify", "/api/auth/request-verification-token"
#: A second and server; an answer that holds up the next counts from the moment that was due.
RATE = 25
Person = tuple[str, str, str]


def serving(scene: Scene, stack: ExitStack, name: str, **changes: str) -> Server:
    """The product as it is deployed, sending by itself."""
    env = {**scene.env, "NOTIFICATIONS_ENGINE": "embedded", **changes}
    logs = scene.logs / f"{scene.vendor}-{name}"
    logs.mkdir(exist_ok=True)
    return stack.enter_context(servers.running("ours", {"product": env["DATABASE_URL"]}, logs, **env))


def _bodies(people: list[Person]) -> list[bytes]:
    return [json.dumps({"token": token, "registration_code": code}).encode() for _, token, code in people]


class Caller(threading.Thread):
    """One connection to one server, which verifies people and so queues a welcome for each."""

    def __init__(self, server: Server, people: list[Person]) -> None:
        super().__init__(daemon=True)
        address = urlsplit(server.base)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
        self.bodies = _bodies(people)
        #: Milliseconds of each answer, and what was no answer.
        self.taken: list[float] = []
        self.refused = ""

    def run(self) -> None:
        start = time.perf_counter()
        for number, body in enumerate(self.bodies):
            due = start + number / RATE
            if (wait := due - time.perf_counter()) > 0:
                time.sleep(wait)
                due = time.perf_counter()
            self.connection.request("POST", VERIFY, body, {"Content-Type": "application/json"})
            response = self.connection.getresponse()
            answer = response.read()
            if response.status != 200:
                self.refused = f"{VERIFY} answered {response.status}: {answer[:300]!r}"
                return
            self.taken.append((time.perf_counter() - due) * 1000)


def side_by_side(callers: dict[str, Caller]) -> dict[str, list[float]]:
    """Milliseconds of each request; asked at the same time, so that a busy moment meets all servers."""
    for caller in callers.values():
        caller.start()
    for caller in callers.values():
        caller.join()
        if caller.refused or not caller.taken:
            raise SystemExit(caller.refused or f"{VERIFY} was not answered.")
    return {figure: caller.taken for figure, caller in callers.items()}


def p95(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.95) - 1]


def requests(sending: Scene, silent: Scene, *, repeats: int, seconds: float, provider: float = 0.3) -> report.Samples:
    """Of each round the 95th percentile, with a provider that takes 300 ms and with mail off."""
    count = int(RATE * seconds)
    sides = {"request_off": silent, "request_sending": sending}
    crowds = {figure: scene.ask("people", first=0, count=count * (repeats + 1)) for figure, scene in sides.items()}
    samples: report.Samples = {(sending.vendor, figure): [] for figure in sides}
    sending.order(delay=provider)
    with ExitStack() as stack:
        engines = {"request_off": "off", "request_sending": "embedded"}
        serves = {
            figure: serving(scene, stack, figure, NOTIFICATIONS_ENGINE=engines[figure])
            for figure, scene in sides.items()
        }
        # The first round warms both up, and gives the provider something to do.
        for number in range(repeats + 1):
            part = slice(number * count, (number + 1) * count)
            taken = side_by_side({figure: Caller(serves[figure], crowds[figure][part]) for figure in sides})
            for figure, milliseconds in taken.items():
                if number:
                    samples[sending.vendor, figure].append(p95(milliseconds))
    return samples


class Client(threading.Thread):
    """Asks for one mail after the other, whoever serves at the moment, and remembers what was answered."""

    def __init__(self, work: list[tuple[str, str, bytes]], address: list[str], end: threading.Event) -> None:
        super().__init__(daemon=True)
        self.work, self.address, self.end = work, address, end
        self.answered: list[str] = []
        self.unanswered = 0

    def run(self) -> None:
        for recipient, path, body in self.work:
            while (answer := self.ask(path, body)) is None:
                if self.end.is_set():
                    return
                time.sleep(0.05)
            if answer:
                self.answered.append(recipient)
            else:
                self.unanswered += 1
            if self.end.wait(0.02):
                return

    def ask(self, path: str, body: bytes) -> bool | None:
        """Whether it was answered with 200; None when nobody was there to ask."""
        request = urllib.request.Request(self.address[0] + path, body, {"Content-Type": "application/json"})
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return True
        except urllib.error.HTTPError:
            return False
        except urllib.error.URLError as error:
            return None if isinstance(error.reason, ConnectionRefusedError) else False
        except (OSError, http.client.HTTPException):
            return False


def killed(scene: Scene, *, kills: int, people: int) -> report.Samples:
    """The web process killed again and again while four clients ask it for mail: codes, and welcomes."""
    scene.clear()
    crowd = scene.ask("people", first=10_000, count=people)
    scene.order(delay=0.03)
    half = people // 2
    welcomes = [(person[0], VERIFY, body) for person, body in zip(crowd[:half], _bodies(crowd[:half]), strict=True)]
    codes = [(email, CODE, json.dumps({"email": email}).encode()) for email, _, _ in crowd[half:]]
    work = [pair for both in zip(welcomes, codes, strict=False) for pair in both]
    address, end = [""], threading.Event()
    clients = [Client(work[number::4], address, end) for number in range(4)]
    for number in range(kills + 1):
        with ExitStack() as stack:
            server = serving(scene, stack, "killed")
            address[0] = server.base
            if number == 0:
                for client in clients:
                    client.start()
            if number < kills:
                before = scene.arrived()
                until(lambda before=before: scene.arrived() > before, "mail arrives")
                time.sleep(random.uniform(0.1, 1.0))
                os.kill(server.pid, signal.SIGKILL)
            else:
                time.sleep(1)
                end.set()
                for client in clients:
                    client.join()
                scene.settle()
    arrived = addresses(scene.take())
    answered = [recipient for client in clients for recipient in client.answered]
    unanswered = sum(client.unanswered for client in clients)
    return {
        (scene.vendor, "web_answered"): [len(answered)],
        (scene.vendor, "web_unanswered"): [unanswered],
        (scene.vendor, "web_lost"): [len(set(answered) - set(arrived))],
        (scene.vendor, "web_doubled"): [len(arrived) - len(set(arrived))],
    }
