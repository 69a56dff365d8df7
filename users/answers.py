"""What the account endpoints have in common: who asks, a password compared, answers kept by nobody."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asgiref.sync import sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from lib.errors import ProductError
from users.models import User
from users.services import hashing, sign_in

#: Above what queuing a mail takes for anybody on a busy machine, below what a person notices.
MAIL_SECONDS = 0.1


def person(request: HttpRequest) -> User:
    """Whose bearer or cookie it is."""
    return request.auth  # type: ignore[attr-defined, no-any-return]


async def compared(attempt: sign_in.Attempt, password: str) -> hashing.Checked:
    """What the comparison of a counted try came to; a try that the full queue turns away does not count. BUSY (503)."""
    try:
        return await hashing.acheck(password, attempt.encoded)
    except ProductError:
        await sync_to_async(sign_in.give_up)(attempt)
        raise


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
