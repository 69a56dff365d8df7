"""Requests of a benchmark: one connection each, and many of them at the same moment."""

import http.client
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from benchmarks import seed
from benchmarks.servers import LOGIN

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
#: Path, and a form or what becomes JSON.
Post = tuple[str, Any]


def login_form(email: str, password: str = seed.PASSWORD) -> Post:
    return LOGIN, urlencode({"username": email, "password": password}).encode()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return {}

    def expect(self, status: int, what: str) -> "Answer":
        if self.status != status:
            raise SystemExit(f"{what} answered {self.status}: {self.body[:300]!r}")
        return self


class Client:
    """One connection, kept as long as the server keeps it."""

    def __init__(self, base: str) -> None:
        self.base, address = base, urlsplit(base)
        self.connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)

    def open(self) -> "Client":
        self.connection.connect()
        return self

    def ask(self, method: str, path: str, body: Any = None, *, bearer: str = "", **headers: str) -> Answer:
        """`body`: a form when it is bytes, JSON otherwise."""
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if body is not None:
            headers.setdefault("Content-Type", FORM if isinstance(body, bytes) else JSON)
        sent = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        start = time.perf_counter()
        try:
            self.connection.request(method, path, sent, headers)
            response = self.connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # The server gave up an idle connection.
            self.connection.close()
            self.connection.request(method, path, sent, headers)
            response = self.connection.getresponse()
        given = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, given, response.read(), time.perf_counter() - start)

    def post(self, path: str, **body: Any) -> Answer:
        return self.ask("POST", path, body)

    def login(self, email: str, password: str = seed.PASSWORD) -> Answer:
        return self.ask("POST", *login_form(email, password))

    def close(self) -> None:
        self.connection.close()


def at_once(base: str, posts: Sequence[Post]) -> list[Answer]:
    """The answers to these; each has a connection of its own, and all start together."""
    barrier = threading.Barrier(len(posts))
    answers: dict[int, Answer] = {}

    def run(number: int) -> None:
        client = Client(base).open()
        barrier.wait()
        answers[number] = client.ask("POST", *posts[number])
        client.close()

    threads = [threading.Thread(target=run, args=(number,), daemon=True) for number in range(len(posts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answers) < len(posts):
        raise SystemExit("A call got no answer.")
    return [answers[number] for number in range(len(posts))]
