"""Gives up bodies that arrive too slowly, so that idle connections cannot pile up."""

from __future__ import annotations

import asyncio
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from longvid.server.api_errors import ApiError


class SlowBodies:
    """Refuses a body that brings too few bytes in some time.

    Args:
        app: The application behind it.
        least_bytes, seconds: What each stretch of that many seconds must bring, until the body
            is complete.
    """

    def __init__(self, app: ASGIApp, least_bytes: int, seconds: float) -> None:
        self._app = app
        self._least_bytes = least_bytes
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, with its body watched."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        waited = 0.0  # on the client; what the server does with the bytes takes its own time
        received = 0
        complete = False

        async def watched() -> Message:
            nonlocal waited, received, complete
            if complete:  # what is waited for now is that the client leaves
                return await receive()
            while True:
                started = time.monotonic()
                try:
                    message = await asyncio.wait_for(receive(), max(0.0, self._seconds - waited))
                except TimeoutError:
                    message = None
                waited += time.monotonic() - started
                if message is not None:
                    received += len(message.get("body", b""))
                    complete = not message.get("more_body", False)
                if waited >= self._seconds and not complete:
                    if received < self._least_bytes:
                        raise _too_slow(received, self._seconds)
                    waited, received = 0.0, 0
                if message is not None:
                    return message

        await self._app(scope, watched, send)


def _too_slow(received: int, seconds: float) -> ApiError:
    sentence = f"The body brought {received} bytes in {seconds:g} s and was given up."
    return ApiError(408, "body_too_slow", sentence)
