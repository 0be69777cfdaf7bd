"""An application of the server without its processes, asked without a network."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from longvid.server.app import create_app
from longvid.server.settings import Limits, ServerSettings
from longvid.server.state import ServerState

ANSWER = {
    "text": "red",
    "evidence": [],
    "choice": None,
    "choice_scores": [],
    "tracks": [],
    "visual_tokens": 0,
    "prompt_tokens": 1,
    "output_tokens": 1,
    "seconds": {},
    "note": "",
}


class FakeModels:
    """Answers everything at once."""

    is_ready = True
    num_waiting = 0
    problem = note = ""

    async def start(self) -> None:
        return

    async def close(self) -> None:
        return

    async def call(self, kind: str, key: str, **request: Any) -> Any:
        return {"results": [], "note": ""} if kind == "search" else []

    async def stream(self, kind: str, key: str, **request: Any) -> AsyncIterator[dict[str, Any]]:
        yield {"event": "evidence", "evidence": [], "budget": {}}
        yield {"event": "done", "answer": dict(ANSWER), "is_cut": False}


def application(folder: Path, limits: Limits | None = None, **settings: Any) -> FastAPI:
    """Return an application over a store that is not there, its models played."""
    app = create_app(
        ServerSettings(
            stores={"store": str(folder / "store")},
            data_dir=folder / "data",
            limits=limits or Limits(),
            **settings,
        )
    )
    state_of(app).workers["store"] = FakeModels()  # type: ignore[assignment]  # plays one
    return app


def state_of(app: FastAPI) -> ServerState:
    state: ServerState = app.state.longvid
    return state


def ask(
    app: FastAPI,
    path: str,
    body: Any = None,
    method: str = "",
    headers: Sequence[tuple[str, str]] = (),
) -> tuple[int, Any]:
    """Send one request; returns the status and the body, parsed where it is JSON."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    path, _, query = path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method or ("GET" if body is None else "POST"),
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [
            (name.encode(), value.encode()) for name, value in (("host", "localhost"), *headers)
        ],
        "scheme": "http",
        "server": ("localhost", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    inbox = [{"type": "http.request", "body": data, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if inbox:
            return inbox.pop()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]  # plain dictionaries
    content = b"".join(message.get("body", b"") for message in sent[1:])
    try:
        return sent[0]["status"], json.loads(content)
    except ValueError:
        return sent[0]["status"], content
