"""Server-sent events: comments while a stream is silent, an end when the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_COMMENT = ": keep-alive\n\n"


class EventStream(StreamingResponse):
    """A response of server-sent events.

    Args:
        lines: Whole events, or comments, each ended by an empty line.
        on_end: Called when the stream is over, however it ends.
    """

    def __init__(self, lines: AsyncIterator[str], on_end: Callable[[], None] | None = None) -> None:
        self._on_end = on_end
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(lines, media_type="text/event-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._on_end is not None:
                self._on_end()


async def keep_alive(
    items: AsyncIterator[str], seconds: float, *, raw: bool = False
) -> AsyncIterator[str]:
    """Turn items into `data:` events, with a comment after each silence of some seconds.

    When the client leaves, the items' iterator is closed, which cancels what it waits for.

    Args:
        items: The data of each event.
        seconds: Silence that a comment ends.
        raw: The items are whole events already.
    """
    iterator = aiter(items)
    upcoming: asyncio.Task[str] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(anext(iterator))
            done, _ = await asyncio.wait({upcoming}, timeout=seconds)
            if not done:
                yield _COMMENT
                continue
            try:
                item = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield item if raw else f"data: {item}\n\n"
    finally:
        if upcoming is not None:
            upcoming.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration):
                await upcoming
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()
