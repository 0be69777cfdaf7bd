"""Indexing jobs in a process of their own: progress as JSON lines, the report as a job's last one.

python -m longvid.server.index_process LIMITS

LIMITS are the server's, as JSON. Each job is a line of standard input, [STORE, CONFIG, VIDEO]. The
head of a file is read first: what is too long or too large is refused before anything is decoded.
A head may say less than there is, so the length is compared again with what the packets gave.
"""

from __future__ import annotations

import json
import sys
import time

import longvid
from longvid.config import Config, load_config
from longvid.decode.clips import FileFacts, inspect_file
from longvid.errors import LongvidError, VideoError
from longvid.indexing.report import Progress
from longvid.server.lifeline import lines_of_parent
from longvid.server.settings import Limits
from longvid.store import Store

_EVERY_SECONDS = 0.5


def main() -> None:
    """Index what the server names, until it closes standard input."""
    limits = Limits(**json.loads(sys.argv[1]))
    for line in lines_of_parent():
        store_uri, config_name, video = json.loads(line)
        stated = index_video(store_uri, config_name, video, limits)
        _print({**stated, "keep": not _has_gpu()})


def index_video(store_uri: str, config_name: str, video: str, limits: Limits) -> dict[str, str]:
    """Index one video; return its `video_id`, or the `error` and its `kind`.

    Args:
        store_uri: The store.
        config_name: Preset or file for a store that is not there.
        video: The file.
        limits: Of the server.
    """
    last = 0.0

    def show(progress: Progress) -> None:
        nonlocal last
        _require(progress.seconds_known, limits.video_seconds, "seconds")
        now = time.monotonic()
        if now - last < _EVERY_SECONDS:
            return
        last = now
        _print({"done_seconds": progress.seconds_done, "total_seconds": progress.seconds_known})

    try:
        _check_head(video, limits)
        report = longvid.index(
            [video], store=store_uri, config=_config(store_uri, config_name), on_progress=show
        )
    except LongvidError as error:
        kind = error.kind if isinstance(error, VideoError) else "store"
        return {"error": str(error), "kind": kind}
    failed = [failure for failure in report.failures if not failure.is_gap]
    if failed:
        return {"error": failed[0].error, "kind": failed[0].kind}
    return {"video_id": Store.open(store_uri).names().get(video, "")}


def _has_gpu() -> bool:
    """Tell whether this process has memory of a GPU, all of which only its end gives back."""
    torch = sys.modules.get("torch")
    return torch is not None and bool(torch.cuda.is_initialized())


def _check_head(video: str, limits: Limits) -> None:
    try:
        facts = inspect_file(video, limits.probe_seconds)
    except VideoError as error:
        if error.kind in ("decode-timeout", "out-of-memory"):
            raise
        return  # indexing finds the same, and keeps it among the store's failures
    check_video(facts, limits)


def check_video(facts: FileFacts, limits: Limits) -> None:
    """Refuse a video that is more than a server takes in.

    Raises:
        VideoError: It is too long, too large, too fast, or has too many streams.
    """
    _require(facts.duration_seconds, limits.video_seconds, "seconds")
    _require(facts.width * facts.height, limits.video_pixels, "pixels in a frame")
    _require(facts.fps, limits.video_fps, "frames a second")
    _require(facts.num_streams, limits.video_streams, "streams")


def _require(value: float, most: float, what: str) -> None:
    if value > most:
        raise VideoError(
            f"The video has {value:g} {what}; at most {most:g} are indexed here.",
            kind="too-large",
            path="",
            stage="probe",
        )


def _config(store_uri: str, name: str) -> Config:
    """Return the store's own configuration, or the named one for a store that is not there."""
    try:
        return Config.from_dict({**Store.open(store_uri).config, "run": {}})
    except LongvidError:
        return load_config(name)


def _print(line: dict[str, object]) -> None:
    print(json.dumps(line, default=str), flush=True)


if __name__ == "__main__":
    main()
