"""Clients that never pause, in a process of their own: `python -m benchmarks.accounts.load BASE KIND CLIENTS SECONDS`.

KIND is `login`, `user` or `refresh`; a line of standard input is what they need: `{"people"}`, or tokens of sessions.
Prints `{"per_second", "refused"}`.
"""

import asyncio
import json
import sys
import time
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import uvloop

from benchmarks import servers

REFRESH = "/api/auth/refresh-tokens"
numbers = count()


class Connection:
    def __init__(self, base: str) -> None:
        address = urlsplit(base)
        self.host, self.port = address.hostname or "", address.port

    async def open(self) -> None:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)

    async def ask(self, head: str, body: bytes = b"") -> tuple[int, bytes]:
        lines = f"{head}\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(lines.encode() + body)
        answered = await self.reader.readuntil(b"\r\n\r\n")
        length = int(answered.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        return int(answered[9:12]), await self.reader.readexactly(length)


class Login:
    def __init__(self, given: Any, client: int, clients: int) -> None:
        self.people = given["people"]

    async def once(self, connection: Connection) -> int:
        body = servers.credentials(next(numbers) % self.people).encode()
        head = f"POST {servers.LOGIN} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded"
        return (await connection.ask(head, body))[0]


class User:
    def __init__(self, given: Any, client: int, clients: int) -> None:
        tokens = given["access"]
        self.head = f"GET {servers.USER} HTTP/1.1\r\nAuthorization: Bearer {tokens[client % len(tokens)]}"

    async def once(self, connection: Connection) -> int:
        return (await connection.ask(self.head))[0]


class Refresh:
    """Each client has sessions of its own and goes round them, so that none comes near its limit."""

    def __init__(self, given: Any, client: int, clients: int) -> None:
        self.tokens = given["refresh"][client::clients]
        self.turn = 0

    async def once(self, connection: Connection) -> int:
        place = self.turn = (self.turn + 1) % len(self.tokens)
        head = f"POST {REFRESH} HTTP/1.1\r\nContent-Type: application/json"
        status, body = await connection.ask(head, json.dumps({"token": self.tokens[place]}).encode())
        if status == 200:
            self.tokens[place] = json.loads(body)["refresh_token"]
        return status


KINDS = {"login": Login, "user": User, "refresh": Refresh}


async def run(base: str, kind: str, clients: int, seconds: float, given: Any) -> dict[str, float]:
    statuses: list[int] = []
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        connection, work = Connection(base), KINDS[kind](given, number, clients)
        await connection.open()
        while time.perf_counter() < end:
            statuses.append(await work.once(connection))
        connection.writer.close()

    start = time.perf_counter()
    await asyncio.gather(*map(client, range(clients)))
    taken = time.perf_counter() - start
    return {"per_second": len(statuses) / taken, "refused": sum(status != 200 for status in statuses)}


if __name__ == "__main__":
    _, base, kind, clients, seconds = sys.argv
    given = json.loads(sys.stdin.readline())
    print(json.dumps(uvloop.run(run(base, kind, int(clients), float(seconds), given))))
