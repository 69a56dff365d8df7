"""A mail server that notes what it takes and misbehaves as told: `python -m benchmarks.notifications.sink PORT`.

Each line of its input is a JSON object of what to do, each line of its output the answer. Times are CLOCK_MONOTONIC,
which all processes of a machine share.
"""

import asyncio
import json
import re
import sys
import time
from typing import Any

_MESSAGE_ID = re.compile(rb"^message-id:\s*(<[^>]+>)", re.IGNORECASE | re.MULTILINE)
_ADDRESS = re.compile(rb"<([^>]*)>")
END = b"\r\n.\r\n"


class Sink:
    """What was taken, and how to answer whom."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server: asyncio.Server | None = None
        self.sessions: set[Session] = set()
        self.delay = 0.0
        #: address -> {"at": "rcpt" or "dot", "replies": [...]}; "cut" and "hang" are replies too; used up one by one.
        self.scripts: dict[str, dict[str, Any]] = {}
        #: [Message-ID, recipient, when its MAIL came, when it was complete]
        self.taken: list[tuple[str, str, float, float]] = []
        self.last_at = 0.0

    def scripted(self, address: str, at: str) -> str | None:
        script = self.scripts.get(address)
        return script["replies"].pop(0) if script and script["at"] == at and script["replies"] else None

    async def listen(self) -> None:
        self.server = await asyncio.get_running_loop().create_server(
            lambda: Session(self), "127.0.0.1", self.port, reuse_address=True
        )

    async def refuse(self) -> None:
        """Be away: nobody listens, and open connections break."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for session in list(self.sessions):
            session.transport.abort()

    async def obey(self, order: dict[str, Any]) -> object:
        if "listen" in order:
            await (self.listen() if order["listen"] else self.refuse())
        self.delay = order.get("delay", self.delay)
        self.scripts |= order.get("scripts", {})
        if order.get("take"):
            taken, self.taken, self.scripts = self.taken, [], {}
            return taken
        return {"count": len(self.taken), "last_at": self.last_at}


class Session(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.buffer = b""
        self.is_data = False
        self.recipient, self.began = "", 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.sink.sessions.add(self)
        self.say("220 sink ready")

    def connection_lost(self, exc: Exception | None) -> None:
        self.sink.sessions.discard(self)

    def say(self, line: str) -> None:
        self.transport.write(f"{line}\r\n".encode())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while True:
            end = END if self.is_data else b"\r\n"
            part, found, rest = self.buffer.partition(end)
            if not found:
                return
            self.buffer = rest
            if self.is_data:
                self.is_data = False
                self.finish(part)
            else:
                self.command(part)

    def command(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"EHLO":
            self.transport.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
        elif verb == b"MAIL":
            self.began = time.monotonic()
            self.say("250 OK")
        elif verb == b"RCPT":
            found = _ADDRESS.search(line)
            self.recipient = found[1].decode() if found else ""
            self.answer(self.sink.scripted(self.recipient, "rcpt") or "250 OK")
        elif verb == b"DATA":
            self.is_data = True
            self.say("354 go on")
        elif verb == b"QUIT":
            self.say("221 bye")
            self.transport.close()
        elif verb in (b"HELO", b"RSET", b"NOOP"):
            self.say("250 OK")
        else:
            self.say("502 unknown")

    def finish(self, mail: bytes) -> None:
        reply = self.sink.scripted(self.recipient, "dot") or "250 OK"
        if reply[:1] not in "45":
            found = _MESSAGE_ID.search(mail)
            now = time.monotonic()
            self.sink.taken.append((found[1].decode() if found else "", self.recipient, self.began, now))
            self.sink.last_at = now
        if self.sink.delay:
            asyncio.get_running_loop().call_later(self.sink.delay, self.answer, reply)
        else:
            self.answer(reply)

    def answer(self, reply: str) -> None:
        if reply == "cut":
            self.transport.abort()
        elif reply != "hang" and not self.transport.is_closing():
            self.say(reply)


async def serve(port: int) -> None:
    sink = Sink(port)
    await sink.listen()
    orders = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    print(json.dumps("ready"), flush=True)
    while line := await orders.readline():
        print(json.dumps(await sink.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
