"""How a server process stops: on SIGTERM it says *draining* for DRAIN_SECONDS while it goes on serving, so that load
balancers turn away; then the server closes its port and finishes what it has begun (GRACE_SECONDS). SIGINT, which comes
from a terminal, waits for no request."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

from django.conf import settings

#: Read by the event loop and by any thread.
is_draining = False
_before_closing: list[Callable[[], None]] = []


def before_closing(call: Callable[[], None]) -> None:
    """Have `call` run on the event loop, just before the port closes: for what would never end by itself."""
    _before_closing.append(call)


def handle_signals() -> None:
    """Put ours before the handlers of the server whose event loop this is. One in another thread than the main one is
    stopped by other means."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        former = signal.getsignal(number)
        if callable(former):
            with suppress(ValueError):
                signal.signal(number, _Handler(loop, former))


class _Handler:
    def __init__(self, loop: asyncio.AbstractEventLoop, former: Callable[..., Any]) -> None:
        self.loop, self.former = loop, former
        self.closes = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        global is_draining
        is_draining = True
        if number == signal.SIGINT:
            self.loop.call_soon_threadsafe(self._close, number)
        elif not self.closes:
            # A second SIGTERM shortens nothing.
            self.closes = True
            self.loop.call_soon_threadsafe(self.loop.call_later, settings.DRAIN_SECONDS, self._close, number)

    def _close(self, number: int) -> None:
        for call in _before_closing:
            call()
        self.former(number, None)
