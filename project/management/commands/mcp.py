"""Serve MCP over stdin and stdout, for a program on this machine that starts it; the API key is in SWITCHBOARD_KEY."""

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.management.base import CommandError

from lib.commands import Command as Base
from users.services import api_keys

KEY = "SWITCHBOARD_KEY"


class Command(Base):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.MCP:
            raise CommandError("MCP is off: set MCP=1.")
        # Not for what this process starts.
        secret = os.environ.pop(KEY, "")
        if not api_keys.is_key(secret):
            raise CommandError(f"Set {KEY} to an API key; one is never an argument, which all on the machine can read.")
        asyncio.run(_serve(secret))


async def _serve(secret: str) -> None:
    # Loaded by who serves: the whole API, and the package.
    from mcp.server.stdio import stdio_server

    from project import asgi
    from project.agents import tools
    from project.agents.door import Caller

    headers = {"host": urlsplit(settings.BASE_URL).netloc, "user-agent": "switchboard-mcp"}
    caller = Caller(secret, "127.0.0.1", headers)
    server = tools.server(asgi.doors, lambda context: caller)
    try:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
    finally:
        asgi.api_lanes.close()
