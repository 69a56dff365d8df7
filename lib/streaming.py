"""Long answers in pieces: as much memory as one piece takes, under ASGI and WSGI alike."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from asgiref.sync import sync_to_async
from django.http import StreamingHttpResponse


class PiecesResponse(StreamingHttpResponse):
    """Streams a plain iterator; under ASGI each piece is made in the request's lane, and others get in between.

    Django's own class would gather all of a plain iterator before it sends the first byte there.
    """

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._pieces()

    async def _pieces(self) -> AsyncIterator[bytes]:
        pieces: Any = self.streaming_content
        step: Any = sync_to_async(next)
        while (piece := await step(pieces, None)) is not None:
            yield piece
