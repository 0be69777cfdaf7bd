"""What the routes of one server share: settings, keys, tables, workers, and views of the stores."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from starlette.requests import Request

from longvid.errors import ConfigError, LongvidError, StoreError
from longvid.server.api_errors import ApiError, api_error_of
from longvid.server.auth import Key, Keys, RateLimiter, key_of
from longvid.server.files import FileTable
from longvid.server.jobs import JobRunner, JobTable
from longvid.server.metrics import Metrics
from longvid.server.model_worker import ModelWorker
from longvid.server.settings import ServerSettings
from longvid.server.upload_table import UploadTable
from longvid.store import Store, StoredVideo
from longvid.store.tags import tags_text


class StoreView:
    """One store as the routes read it; opened when it is first needed.

    Args:
        name: Under which the server knows it.
        uri: Folder or URI.
        files: Uploads, whose names people see in place of paths.
    """

    def __init__(self, name: str, uri: str, files: FileTable) -> None:
        self.name = name
        self.uri = uri
        self._files = files
        self._store: Store | None = None

    def open(self) -> Store:
        """Return the store, opened once.

        Raises:
            StoreError: There is none yet, or it cannot be read.
        """
        if self._store is None:
            self._store = Store.open(self.uri)
        return self._store

    async def videos(self) -> dict[str, StoredVideo]:
        """Return the stored videos by id; none while there is no store."""
        return await asyncio.to_thread(self._videos)

    def _videos(self) -> dict[str, StoredVideo]:
        try:
            return {stored.video.video_id: stored for stored in self.open().videos()}
        except StoreError:
            if self._store is not None:
                raise
            return {}  # no store yet: nothing was indexed

    async def video(self, name: str) -> StoredVideo:
        """Return one video by its id, path or name.

        Raises:
            ApiError: There is no such video.
        """
        videos = await self.videos()
        if name in videos:
            return videos[name]
        try:
            return videos[await asyncio.to_thread(lambda: self.open().find(name))]
        except (LongvidError, KeyError):
            raise ApiError(
                404, "video_not_found", f"This store holds no video {name[:80]!r}."
            ) from None

    async def tagged(self, tags: dict[str, str], among: tuple[str, ...]) -> tuple[str, ...]:
        """Return the ids of the videos with these tags, of some videos where any are named.

        Raises:
            ApiError: 400, there is none.
        """
        videos = (await self.videos()).values()
        found = tuple(
            stored.video.video_id
            for stored in videos
            if tags.items() <= dict(stored.tags).items()
            and (not among or stored.video.video_id in among)
        )
        if not found:
            sentence = f"No video that is asked about has the tags {tags_text(tags)}."
            raise ApiError(400, "invalid_value", sentence, "tags")
        return found

    def tag(self, video_id: str, tags: dict[str, str]) -> None:
        """Change the tags of a video; blocks.

        Raises:
            ApiError: 400, they are too many.
        """
        try:
            self.open().tag(video_id, tags)
        except StoreError as error:
            raise api_error_of(error) from error

    def label(self, path: str) -> str:
        """Return the name that people see for a path."""
        file = self._files.of_path(path)
        return file.filename if file is not None else Path(path).name

    def described(self, stored: StoredVideo) -> dict[str, Any]:
        """Return a video as clients see it."""
        video = stored.video
        source = Path(stored.paths[0]) if stored.paths else None
        return {
            "video_id": video.video_id,
            "filename": self.label(stored.paths[0]) if stored.paths else video.video_id,
            "names": [self.label(path) for path in stored.paths],
            "duration_seconds": video.duration_seconds,
            "average_fps": video.average_fps,
            "width": video.width,
            "height": video.height,
            "num_segments": stored.num_segments,
            "num_tokens": stored.num_tokens,
            "num_bytes": stored.num_bytes,
            "source_bytes": stored.source_bytes,
            "source_exists": source is not None and source.is_file(),
            "tags": dict(stored.tags),
            "gaps": [
                {"start_seconds": gap.start_seconds, "end_seconds": gap.end_seconds}
                for gap in stored.gaps
            ],
        }


@dataclass(slots=True)
class ServerState:
    """Everything the routes need."""

    settings: ServerSettings
    keys: Keys = field(init=False)
    files: FileTable = field(init=False)
    uploads: UploadTable = field(init=False)
    jobs: JobRunner = field(init=False)
    metrics: Metrics = field(init=False)
    stores: dict[str, StoreView] = field(init=False)
    workers: dict[str, ModelWorker] = field(init=False)
    question_rate: RateLimiter = field(init=False)
    upload_rate: RateLimiter = field(init=False)
    started: float = field(init=False)
    draining: bool = False
    clip_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    event_clients: dict[str, int] = field(default_factory=dict)
    _lock: FileLock = field(init=False)

    def __post_init__(self) -> None:
        settings, limits = self.settings, self.settings.limits
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self.keys = Keys(settings.api_key_file)
        self._lock = _held_lock(settings.data_dir)
        self.files = FileTable(settings.data_dir, limits)
        self.uploads = UploadTable(self.files, limits)
        self.metrics = Metrics()
        self.stores = {
            name: StoreView(name, uri, self.files) for name, uri in settings.stores.items()
        }
        self.workers = {
            name: ModelWorker(uri, settings.config, limits) for name, uri in settings.stores.items()
        }
        table = JobTable(settings.data_dir / "jobs.sqlite")
        self.jobs = JobRunner(table, settings.stores, settings.config, limits, self._store_changed)
        self.question_rate = RateLimiter(limits.questions_per_minute, 60.0)
        self.upload_rate = RateLimiter(limits.uploads_per_hour, 3600.0)
        self.started = time.time()

    def close(self) -> None:
        """Close the tables, and let another server use the data folder."""
        self.files.close()
        self._lock.release()

    async def _store_changed(self, name: str) -> None:
        """Let the models see what a job has changed."""
        worker = self.workers[name]
        if not worker.is_ready:
            await worker.start()
            return
        # Models that are busy or gone see the change when they next read the store.
        with contextlib.suppress(ApiError):
            await worker.call("refresh", "")

    def store_of(self, request: Request, name: str = "") -> StoreView:
        """Return the store that a request means, if its key opens it.

        Raises:
            ApiError: 404 for one that is not served and for one of somebody else alike.
        """
        key = key_of(request)
        if not name:
            allowed = [store for store in self.stores if key.may_use(store)]
            name = allowed[0] if allowed else ""
        if name not in self.stores or not key.may_use(name):
            raise ApiError(404, "store_not_found", f"There is no store {name[:80]!r} here.")
        return self.stores[name]

    def share_of(self, key: Key) -> str:
        """Return the name under which a key has a share of a queue; "" for the one without keys."""
        return "" if self.keys.open_to_all else key.name

    def take_question(self, key: Key) -> None:
        """Count a question against its key's rate.

        Raises:
            ApiError: 429.
        """
        if self.draining:
            raise ApiError(503, "draining", "The server is being stopped.", None, 30)
        after = self.question_rate.take(key.name)
        if after:
            raise ApiError(429, "rate_limited", "Too many questions a minute.", None, after)

    def take_upload(self, key: Key) -> None:
        """Count an upload against its key's rate.

        Raises:
            ApiError: 429.
        """
        after = self.upload_rate.take(key.name)
        if after:
            raise ApiError(429, "rate_limited", "Too many uploads an hour.", None, after)


def _held_lock(data_dir: Path) -> FileLock:
    """Return a lock on a data folder, held until it is released or this process ends."""
    lock = FileLock(data_dir / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(
            f"The data folder {data_dir} is used by another server; give this one its own with "
            "--data."
        ) from None
    return lock


def state_of(request: Request) -> ServerState:
    """Return the state of the application that a request came to."""
    state: ServerState = request.app.state.longvid
    return state
