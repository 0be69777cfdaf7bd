"""The three verbs of longvid, for a program: index, ask, search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from longvid.config import Config, load_config
from longvid.errors import QuestionError
from longvid.indexing.local_runner import run_local
from longvid.indexing.report import IndexReport, Progress
from longvid.inputs import Listing, input_names
from longvid.paths import cache_home
from longvid.qa.arguments import store_name, video_name
from longvid.qa.video_qa import VideoQA
from longvid.types import Answer, Evidence


def index(
    videos: str | Path | Iterable[str | Path],
    *,
    store: str | Path,
    config: str | Path | Config = "mini",
    on_progress: Callable[[Progress], None] | None = None,
    tags: Mapping[str, str] | None = None,
) -> IndexReport:
    """Index videos into a store, on this machine.

    Videos that the store holds already are not decoded again, whatever their name. A broken video
    becomes a row of `failures`; the others go on.

    Args:
        videos: Files, folders, globs, or @file with a path a line; one, or several.
        store: Folder or URI; made when it does not exist.
        config: A preset's name, a TOML file, or a Config.
        on_progress: Called in this thread whenever something was finished.
        tags: Values by key that every one of the videos is given, as {"camera": "2"}.

    Returns:
        The report.

    Raises:
        ConfigError: The configuration is wrong, or no video is given.
        StoreError: The store was made by another configuration, or cannot be written.
        ModelError: A checkpoint is missing.
    """
    uri = store_name(store)
    names = input_names(videos)
    if not isinstance(config, Config):
        config = load_config(config)
    return run_local(Listing(names), uri, config, on_progress, tags=tags)


def ask(
    text: str,
    *,
    store: str | Path | None = None,
    video: str | Path | None = None,
    choices: Sequence[str] = (),
    config: str | Path | Config | None = None,
    paths: str = "",
    tags: Mapping[str, str] | None = None,
) -> Answer:
    """Answer one question; without a store, the video is indexed into the user's cache first.

    Args:
        text: The question.
        store: Folder or URI of a store.
        video: With a store, which of its videos is asked; without one, the file to index.
        choices: For multiple choice.
        config: None takes the store's own, or "mini" without a store.
        paths, tags: With a store, only videos with a path like the pattern, and with these values
            by key.

    Raises:
        QuestionError: Neither a store nor a video is named, or the video could not be indexed.
    """
    if store is None:
        if video is None:
            raise QuestionError("Name a store, or a video to ask about.")
        if paths or tags:
            raise QuestionError("paths and tags choose videos of a store; name it.")
        store, video = index_into_cache(video_name(video), config)
    qa = VideoQA(store, config)
    return qa.ask(text, video=video, choices=choices, paths=paths, tags=tags)


def search(
    text: str,
    *,
    store: str | Path,
    video: str | Path | None = None,
    top_k: int = 5,
    paths: str = "",
    span: tuple[float, float] | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[Evidence]:
    """Find the segments of a store nearest to a text.

    Args:
        text: What to look for.
        store: Folder or URI of a store.
        video: Restricts the search to one stored video.
        top_k: How many segments.
        paths, span, tags: Only videos with a path like the pattern, only segments that overlap
            this start and end in seconds, only videos with these values by key.

    Raises:
        QuestionError: The text is empty, top_k is below 1, or the filters leave nothing.
        StoreError: There is no such store, or no such video in it.
    """
    qa = VideoQA(store)
    return qa.search(text, video=video, top_k=top_k, paths=paths, span=span, tags=tags)


def index_into_cache(video: str, config: str | Path | Config | None) -> tuple[str, str]:
    """Index one file into the user's cache, where a second question finds it.

    Args:
        video: A local file.
        config: None takes "mini".

    Returns:
        The store in the cache, and the name under which it knows the video.

    Raises:
        QuestionError: The video could not be indexed; the sentence says why.
    """
    if config is None:
        config = "mini"
    if not isinstance(config, Config):
        config = load_config(config)
    store = str(cache_home() / "stores" / config.fingerprint())
    report = index([video], store=store, config=config)
    if report.videos_failed:
        raise QuestionError(f"The video could not be indexed. {report.failures[0].error}")
    return store, video
