"""`GET /metrics` of a process that serves nothing else: on HOST and METRICS_PORT, with METRICS_TOKEN as bearer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.crypto import constant_time_compare

from lib import metrics


class _Handler(BaseHTTPRequestHandler):
    #: Seconds until a request is there: one at a time is answered, and a byte now and then would hold up the others.
    timeout = 5.0

    def __init__(self, asked: Callable[[], Iterable[metrics.Asked]], *about: Any) -> None:
        self.asked = asked
        super().__init__(*about)

    def setup(self) -> None:
        super().setup()
        self.deadline = threading.Timer(self.timeout, self._hang_up)
        self.deadline.daemon = True
        self.deadline.start()

    def finish(self) -> None:
        self.deadline.cancel()
        super().finish()

    def _hang_up(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        self.deadline.cancel()
        given = self.headers.get("Authorization", "")
        if self.path != "/metrics" or not constant_time_compare(given, f"Bearer {settings.METRICS_TOKEN}"):
            self.send_error(404)
            return
        try:
            body = metrics.text(self.asked()).encode()
        finally:
            connections.close_all()
        self.send_response(200)
        self.send_header("Content-Type", metrics.CONTENT_TYPE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *about: Any) -> None:
        pass


class _Server(HTTPServer):
    def __init__(self, address: tuple[str, int], handler: Any) -> None:
        # Theirs knows IPv4 alone.
        self.address_family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        super().__init__(address, handler)


def start(asked: Callable[[], Iterable[metrics.Asked]]) -> HTTPServer:
    """Answer in a thread of its own until the process ends. Raises: ImproperlyConfigured where the port is taken."""
    try:
        server = _Server((settings.HOST, settings.METRICS_PORT), partial(_Handler, asked))
    except OSError as error:
        raise ImproperlyConfigured(
            f"Cannot listen on {settings.HOST}:{settings.METRICS_PORT}: {error.strerror}."
        ) from None
    threading.Thread(target=server.serve_forever, name="metrics-server", daemon=True).start()
    return server
