"""`/mcp`: the MCP server over streamable HTTP (MCP 2025-06-18 and later), with an API key as bearer.

No sessions: each POST stands for itself, so that any worker answers it and a revoked key is felt by the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from lib.asgi import App
from lib.errors import ProductError
from lib.net import client_ip
from lib.private import PlainResponse
from project import errors
from project.agents import tools
from project.agents.door import Caller
from project.api import api
from users.api.auth import ApiKey, bearer_token, is_from_here

_CALLER = "switchboard.caller"
_managers: list[StreamableHTTPSessionManager] = []
#: What goes on to the call of the API.
_KEPT = ("host", "user-agent")


@asynccontextmanager
async def running(app: App) -> AsyncIterator[None]:
    """In this block the endpoint answers; its tools call `app`."""
    server = tools.server(app, lambda context: context.request.scope[_CALLER])  # type: ignore[union-attr]
    manager = StreamableHTTPSessionManager(server, stateless=True, json_response=True)
    async with manager.run():
        _managers[:] = [manager]
        try:
            yield
        finally:
            _managers.clear()


@csrf_exempt
async def endpoint(request: Any) -> HttpResponse:
    if request.method != "POST":
        # No stream of its own, and no session to end.
        refused = errors.answer(request, 405)
        refused["Allow"] = "POST"
        return refused
    if "Origin" in request.headers and not is_from_here(request):
        return errors.answer(request, 403, code="csrf_origin")
    try:
        # What its tools call counts beside it: some call nothing.
        user = await ApiKey(counts=True)(request)
    except (ProductError, DatabaseError) as error:
        return api.on_exception(request, error)
    if user is None:
        return errors.answer(request, 401)
    if not _managers:
        return errors.answer(request, 503)
    headers = {name: request.headers[name] for name in _KEPT if name in request.headers}
    caller = Caller(bearer_token(request), client_ip(request), {**headers, "x-request-id": request.id})
    request.auth = user
    return await _answer(request, {**request.scope, _CALLER: caller})


async def _answer(request: HttpRequest, scope: dict[str, Any]) -> HttpResponse:
    waiting: list[dict[str, Any]] = [{"type": "http.request", "body": request.body, "more_body": False}]
    start: dict[str, Any] = {}
    pieces: list[bytes] = []

    async def receive() -> dict[str, Any]:
        if waiting:
            return waiting.pop()
        return await asyncio.Future()  # the client stays

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            start.update(message)
        else:
            pieces.append(message.get("body", b""))

    await _managers[0].handle_request(scope, receive, send)
    response = PlainResponse(b"".join(pieces), start["status"])
    for name, value in start["headers"]:
        if name.lower() != b"content-length":
            response[name.decode("latin-1").title()] = value.decode("latin-1")
    return response
