"""Fetch a video or a picture from the network into a file, in a process of its own.

Nothing is fetched unless the server was told from where. A name must be on the list of domains, or
any public address must be allowed; in both cases every connection, also after a redirect, is made
to a public address only (`longvid.fetch_guard`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from longvid.server.api_errors import ApiError
from longvid.server.model_worker import worker_environment

if TYPE_CHECKING:
    from longvid.server.state import ServerState

_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched.

    Args:
        path: Where it is, until the block of `fetched` ends.
        num_bytes: Its size.
        media_type: What the server said that it is, "" where it said nothing.
    """

    path: Path
    num_bytes: int
    media_type: str


@asynccontextmanager
async def fetched(state: ServerState, url: str, most_bytes: int) -> AsyncIterator[Fetched]:
    """Give the file behind a URL until the block ends; leaving early ends the transfer.

    Args:
        state: Of the server.
        url: http:// or https://.
        most_bytes: Larger files are refused while they arrive.

    Raises:
        ApiError: The URL may not be fetched, cannot be, or is too large.
    """
    limits, settings = state.settings.limits, state.settings
    if not (settings.allowed_domains or settings.any_public_url):
        raise ApiError(403, "url_not_allowed", "Nothing is fetched from the network here.")
    state.files.require_room(1)
    request = {
        "url": url,
        "domains": None if settings.any_public_url else list(settings.allowed_domains),
        "most_bytes": min(most_bytes, state.files.room()),
        "most_redirects": limits.fetch_redirects,
        "connect_seconds": limits.fetch_connect_seconds,
        "idle_seconds": limits.fetch_idle_seconds,
        "total_seconds": limits.fetch_seconds,
    }
    path = state.files.new_path()
    try:
        found = await run_fetch(request, path, limits.fetch_seconds + _GRACE_SECONDS)
        if "code" in found:
            raise ApiError(found["status"], found["code"], found["message"])
        yield Fetched(path, found["num_bytes"], found["media_type"])
    finally:
        path.unlink(missing_ok=True)


async def run_fetch(request: dict[str, Any], target: Path, seconds: float) -> dict[str, Any]:
    """Run the process that fetches; returns what it prints.

    Args:
        request: As `longvid.server.fetch_process.fetch_as_data` takes it.
        target: The file that is written.
        seconds: After which the process is ended.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "longvid.server.fetch_process", str(target)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=worker_environment(),
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request).encode() + b"\n")
        found: dict[str, Any] = json.loads(
            await asyncio.wait_for(process.stdout.readline(), timeout=seconds)
        )
    except (TimeoutError, ValueError):
        return {"status": 502, "code": "fetch_failed", "message": "The URL could not be fetched."}
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    return found
