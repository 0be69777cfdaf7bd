"""One indexing job in a process of its own: progress as JSON lines, the report as the last one.

python -m longvid.server.index_process STORE CONFIG VIDEO LIMITS

LIMITS are the server's, as JSON. The head of the file is read first: what is too long or too large
is refused before anything is decoded. A head may say less than there is, so the length is compared
again with what the packets gave.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

import longvid
from longvid.config import Config, load_config
from longvid.decode.clips import FileFacts, inspect_file
from longvid.errors import LongvidError, VideoError
from longvid.indexing.report import Progress
from longvid.server.lifeline import end_with_parent
from longvid.server.settings import Limits
from longvid.store import Store

_EVERY_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Index one video; exit status 0 when it is in the store."""
    if arguments is None:
        end_with_parent()
    store_uri, config_name, video, limits_text = sys.argv[1:] if arguments is None else arguments
    limits = Limits(**json.loads(limits_text))
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
        _print({"error": str(error), "kind": kind})
        return 1
    failed = [failure for failure in report.failures if not failure.is_gap]
    if failed:
        _print({"error": failed[0].error, "kind": failed[0].kind})
        return 1
    names = Store.open(store_uri).names()
    _print({"video_id": names.get(video, "")})
    return 0


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

    Args:
        facts: Of its head.
        limits: Of the server.

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
    raise SystemExit(main())
