"""Forwarded headers: believed from TRUSTED_PROXIES alone, and logged when anyone else sends them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from lib.asgi import App, Receive, Scope, Send
from lib.net import with_mapped

logger = logging.getLogger("switchboard.proxies")

#: A line for each address in that many seconds, and for so many addresses.
HOUR = 3600.0
MOST = 20
_FORWARDED = frozenset({b"x-forwarded-for", b"x-forwarded-proto", b"forwarded"})


class TrustedProxies:
    """Takes client and scheme from X-Forwarded-For and -Proto where the peer is in `networks`. From others they are
    ignored, and a warning says so: as a rule that is a proxy which TRUSTED_PROXIES does not name."""

    def __init__(self, app: App, networks: list[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        self.believing: Any = ProxyHeadersMiddleware(app, trusted_hosts=with_mapped(networks))  # type: ignore[arg-type]
        self.app: Any = self.believing if networks else app
        self.clock, self.logged_until = clock, 0.0
        self.logged: set[str] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        for name, _ in scope.get("headers", ()):
            if name in _FORWARDED:
                if (peer := scope.get("client")) and peer[0] not in self.believing.trusted_hosts:
                    self._tell(peer[0], name.decode())
                break
        answer: Awaitable[None] = self.app(scope, receive, send)
        return answer

    def _tell(self, peer: str, header: str) -> None:
        if (now := self.clock()) >= self.logged_until:
            self.logged, self.logged_until = set(), now + HOUR
        if peer not in self.logged and len(self.logged) < MOST:
            self.logged.add(peer)
            text = "a forwarded header is ignored: if a proxy of yours sent it, TRUSTED_PROXIES must name its address"
            logger.warning(text, extra={"peer": peer, "header": header})
