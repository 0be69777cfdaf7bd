"""From the videos that a request names to videos of a store; what is new is indexed first."""

from __future__ import annotations

import asyncio
import hashlib
import math
from collections.abc import AsyncIterator, Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from longvid.decode.clips import join_images
from longvid.errors import VideoError
from longvid.inputs import VIDEO_SUFFIXES
from longvid.server.api_errors import ApiError
from longvid.server.auth import Key
from longvid.server.fetching import fetched
from longvid.server.files import StoredFile
from longvid.server.jobs import Job
from longvid.server.openai_parts import VideoPart
from longvid.server.state import ServerState, StoreView

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
    fetches = Fetches(state, key)
    for part in parts:
        if part.kind == "stored":
            ids.append((await view.video(part.value)).video.video_id)
        else:
            target, label = await _file(state, key, part, fetches)
            ids.append(await indexed_id(state, view, key, target, label))
    return tuple(dict.fromkeys(ids))


async def _file(state: ServerState, key: Key, part: VideoPart, fetches: Fetches) -> tuple[str, str]:
    """Return the path of a part's bytes, and the name that people see."""
    if part.kind == "url" and part.value.startswith("file://"):
        path = allowed_path(state, part.value)
        return str(path), path.name
    if part.kind == "url":
        file = await fetches.video(part.value)
    elif part.kind == "data":
        file = await _sent(state, key, part)
    elif part.kind == "images":
        file = await joined_images(state, key, part, fetches)
    else:
        file = state.files.get(part.value, key.name)
    return str(state.files.path(file)), file.filename


async def indexed_id(state: ServerState, view: StoreView, key: Key, target: str, label: str) -> str:
    """Return the id of a file's video; one that is not in the store is indexed first."""
    names = {path: one for one in (await view.videos()).values() for path in one.paths}
    if target in names:
        return names[target].video.video_id
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
    return job.video_id


async def fetched_video(state: ServerState, key: Key, url: str) -> StoredFile:
    """Return the file behind a URL.

    Raises:
        ApiError: It may not be fetched, or cannot be.
    """
    return await Fetches(state, key).video(url)


class Fetches:
    """What one request has fetched so far, of what it may."""

    def __init__(self, state: ServerState, key: Key) -> None:
        self._state = state
        self._key = key
        self._left = state.settings.limits.fetch_request_bytes

    async def video(self, url: str) -> StoredFile:
        """Return the file behind a URL, which is kept for a while."""
        state, limits = self._state, self._state.settings.limits
        known = state.files.of_origin(self._key.name, url, limits.fetch_reuse_seconds)
        if known is not None:
            return known
        async with fetched(state, url, min(limits.fetch_bytes, self._left)) as found:
            self._left -= found.num_bytes
            name = PurePosixPath(unquote(urlsplit(url).path)).name
            if PurePosixPath(name).suffix.lower() not in VIDEO_SUFFIXES:
                name += _suffix_of(found.media_type)
            return state.files.adopt(self._key.name, name, "user_data", found.path, url)

    async def image(self, url: str) -> bytes:
        """Return the image behind a URL."""
        most = min(self._state.settings.limits.image_bytes, self._left)
        async with fetched(self._state, url, most) as found:
            self._left -= found.num_bytes
            return found.path.read_bytes()


def _suffix_of(media_type: str) -> str:
    """Return the ending for a type.

    Raises:
        ApiError: 415.
    """
    if media_type not in _SUFFIX_OF_TYPE:
        known = ", ".join(_SUFFIX_OF_TYPE)
        sentence = f"{media_type[:80] or 'A file without a type'} is not read; allowed are {known}."
        raise ApiError(415, "container_not_allowed", sentence)
    return _SUFFIX_OF_TYPE[media_type]


async def _sent(state: ServerState, key: Key, part: VideoPart) -> StoredFile:
    """Store the bytes of a data URL once, whoever sends them again."""
    suffix = _suffix_of(part.media_type)
    name = hashlib.blake2b(part.data, digest_size=16).hexdigest() + suffix
    known = state.files.of_origin(key.name, name, math.inf)
    if known is not None:
        return known

    async def whole() -> AsyncIterator[bytes]:
        yield part.data

    return await state.files.write(key.name, name, "user_data", whole(), name)


async def joined_images(
    state: ServerState, key: Key, part: VideoPart, fetches: Fetches
) -> StoredFile:
    """Make a clip of images, once: the same images are the same clip."""
    images = [image.data or await fetches.image(image.url) for image in part.images]
    if not images:
        raise ApiError(400, "image_url_invalid", "A list of images is empty.")
    digest = hashlib.blake2b(str(part.fps).encode(), digest_size=16)
    for image in images:
        digest.update(hashlib.blake2b(image).digest())
    name = f"images-{digest.hexdigest()}.mp4"
    known = state.files.of_origin(key.name, name, math.inf)
    if known is not None:
        return known
    target = state.files.new_path()
    try:
        await asyncio.to_thread(
            join_images, images, part.fps, target, state.settings.limits.image_pixels
        )
        return state.files.adopt(key.name, name, "user_data", target, name)
    except VideoError as error:
        raise ApiError(422, "image_unreadable", str(error)) from error
    finally:
        target.unlink(missing_ok=True)


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
    """Return the local file that a file:// URL or a path means, if it is in an allowed folder.

    Raises:
        ApiError: 403 for everything outside, whether it is there or not.
    """
    refused = ApiError(403, "path_not_allowed", "Files of this place are not served here.")
    parts = urlsplit(url)
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
