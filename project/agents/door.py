"""How a tool calls the API: the ASGI application itself, within the process. A call by MCP meets all that one by HTTP
meets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from lib.asgi import App

#: What a model can take in; in bytes of JSON.
MOST_BYTES = 200_000


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key it is that calls, and from where: `headers` are the client's own, by their names in lower case."""

    secret: str = field(repr=False)
    ip: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """`value` is what the body holds: JSON, or a text."""

    status: int
    headers: Mapping[str, str]
    value: Any
    is_cut: bool = False


async def ask(
    app: App, caller: Caller, method: str, path: str, *, query: str = "", body: Any = None, if_match: str = ""
) -> Answer:
    """What the application answers to this request."""
    sent = b"" if body is None else json.dumps(body).encode()
    headers = {**caller.headers, "authorization": f"Bearer {caller.secret}"}
    if body is not None:
        headers |= {"content-type": "application/json", "content-length": str(len(sent))}
    if if_match:
        headers["if-match"] = if_match
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
        "client": (caller.ip, 0),
        "server": None,
    }
    waiting = [{"type": "http.request", "body": sent, "more_body": False}]
    started: dict[str, Any] = {}
    pieces, is_cut = bytearray(), False

    async def receive() -> Mapping[str, Any]:
        if waiting:
            return waiting.pop()
        return await asyncio.Future()  # the client stays

    async def send(message: Mapping[str, Any]) -> None:
        nonlocal is_cut
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            pieces.extend(message.get("body", b""))
            if is_cut := is_cut or len(pieces) > MOST_BYTES:
                del pieces[MOST_BYTES:]

    await app(scope, receive, send)
    found = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in started["headers"]}
    text = pieces.decode(errors="replace")
    is_json = found.get("content-type", "").startswith("application/json") and text and not is_cut
    return Answer(started["status"], found, json.loads(text) if is_json else text, is_cut)
