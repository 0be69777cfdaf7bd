"""Read the text of videos on the cluster: one task a video, where Ray has room for it."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from longvid.config import Config
from longvid.indexing.text_reader import TextReader, TextResult
from longvid.store import Store
from longvid.types import Video


def read_text_of(videos: Sequence[Video], config: Config, store_uri: str) -> list[TextResult]:
    """Let the configuration's text sources read finished videos; none in this process.

    Args:
        videos: In the store; each is read once.
        config: Names the text sources, and the processors that a task takes (`ray.decode_cpus`).
        store_uri: Of the store.
    """
    if not config.text_sources:
        return []
    task = ray.remote(num_cpus=config.ray.decode_cpus)(_read)
    shared = ray.put(config)
    once = {video.video_id: video for video in videos}
    found: list[TextResult] = ray.get(
        [task.remote(shared, store_uri, video) for video in once.values()]
    )
    return found


def _read(config: Config, store_uri: str, video: Video) -> TextResult:
    with TextReader(config) as reader:
        return reader.read(Store.open(store_uri), video)
