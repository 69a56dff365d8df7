"""What the account endpoints' answers have in common: kept by nobody, and as slow for one address as for another."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from django.http.response import HttpResponseBase

#: Above what queuing a mail takes for anybody on a busy machine, below what a person notices.
MAIL_SECONDS = 0.1


@asynccontextmanager
async def as_if_mailed() -> AsyncIterator[None]:
    """Answer no earlier: what is done for a known address takes longer, and nobody is to see that it was done."""
    ends = time.monotonic() + MAIL_SECONDS
    try:
        yield
    finally:
        await asyncio.sleep(max(0.0, ends - time.monotonic()))


def never_store(response: HttpResponseBase) -> None:
    """No cache keeps it (RFC 9111)."""
    response["Cache-Control"] = "no-store"
