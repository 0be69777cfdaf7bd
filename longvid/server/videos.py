"""From the videos that a request names to videos of a store; what is new is indexed first."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from longvid.server.api_errors import ApiError
from longvid.server.auth import Key
from longvid.server.files import StoredFile
from longvid.server.jobs import Job
from longvid.server.openai_wire import VideoPart
from longvid.server.state import ServerState, StoreView

__all__ = ["allowed_path", "index_file", "resolve_videos"]

_POLL_SECONDS = 0.1
_SUFFIX_OF_TYPE = {
    "video/mp4": ".mp4",
    "video/webm": ".webm",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/x-msvideo": ".avi",
    "video/mp2t": ".ts",
    "video/mpeg": ".mpg",
}


async def resolve_videos(
    state: ServerState, view: StoreView, key: Key, parts: Sequence[VideoPart]
) -> tuple[str, ...]:
    """Return the ids of the named videos.

    Args:
        state: Of the server.
        view: The store that is asked.
        key: Who asks.
        parts: As the request names them.

    Raises:
        ApiError: A video is not there, may not be read, or is not indexed yet (409 with its job).
    """
    ids = []
    for part in parts:
        if part.kind == "stored":
            ids.append((await view.video(part.value)).video.video_id)
            continue
        job = await _indexed(state, view, key, part)
        ids.append(job.video_id)
    return tuple(dict.fromkeys(ids))


async def _indexed(state: ServerState, view: StoreView, key: Key, part: VideoPart) -> Job:
    if part.kind == "file":
        file = state.files.get(part.value, key.name)
        target, label = str(state.files.path(file)), file.filename
    elif part.kind == "data":
        suffix = _SUFFIX_OF_TYPE.get(part.media_type)
        if suffix is None:
            raise ApiError(415, "container_not_allowed", f"{part.media_type} is not read.")
        name = hashlib.blake2b(part.data, digest_size=16).hexdigest() + suffix
        file = await _kept(state, key, name, part.data)
        target, label = str(state.files.path(file)), file.filename
    else:
        target = str(allowed_path(state, part.value))
        label = os.path.basename(target)
    stored = {path: one for one in (await view.videos()).values() for path in one.paths}
    if target in stored:
        video_id = stored[target].video.video_id
        return Job("", key.name, view.name, "index", target, label, "done", video_id=video_id)
    job = index_file(state, view, key, target, label)
    waited = 0.0
    while not job.is_over and waited < state.settings.limits.inline_index_seconds:
        await asyncio.sleep(_POLL_SECONDS)
        waited += _POLL_SECONDS
        job = state.jobs.table.get(job.id) or job
    if job.state == "failed":
        raise ApiError(422, job.error_kind or "corrupt", job.error, None)
    if job.state != "done":
        raise ApiError(
            409,
            "video_not_ready",
            f"{label} is still being indexed; ask again when job {job.id} is done.",
            retry_after=5,
            job_id=job.id,
        )
    return job


async def _kept(state: ServerState, key: Key, name: str, data: bytes) -> StoredFile:
    """Store the bytes of a data URL once, whoever sends them again."""
    for file in state.files.of_key(key.name):
        if file.filename == name:
            return file

    async def whole() -> AsyncIterator[bytes]:
        yield data

    return await state.files.write(key.name, name, "user_data", whole())


def index_file(state: ServerState, view: StoreView, key: Key, target: str, label: str) -> Job:
    """Queue a file for indexing.

    Raises:
        ApiError: The key has too many jobs.
    """
    mine = [job for job in state.jobs.table.rows() if job.key == key.name and not job.is_over]
    if len(mine) >= state.settings.limits.num_jobs_per_key:
        raise ApiError(429, "queue_full", "Too many jobs are waiting; try again later.", None, 30)
    return state.jobs.submit(key.name, view.name, "index", target, label)


def allowed_path(state: ServerState, url: str) -> Path:
    """Return the local file that a file:// URL or a path means, if it lies in an allowed folder.

    Raises:
        ApiError: 403 for everything outside, whether it is there or not.
    """
    refused = ApiError(403, "path_not_allowed", "Files of this place are not served here.")
    parts = urlsplit(url)
    if parts.scheme in ("http", "https"):
        raise ApiError(403, "url_not_allowed", "Videos are not fetched from the network here.")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise refused
        text = unquote(parts.path)
    else:
        text = url
    if "\0" in text or not text.startswith("/"):
        raise refused
    try:
        path = Path(text).resolve(strict=True)
    except (OSError, RuntimeError):
        raise refused from None
    roots = [root.resolve() for root in state.settings.roots]
    if not any(path.is_relative_to(root) for root in roots) or not path.is_file():
        raise refused
    return path
