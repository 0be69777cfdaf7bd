"""Pictures from decord, at times that the packets tell.

decord counts frames and knows no presentation times worth the name, so the scan of `packet_table`
says which frame is on display when; decord must agree on how many there are.

decord takes the place of a keyframe in the file for its place on display. Where pictures that
follow a keyframe in the file are shown before it (an open group of pictures), decord gives a later
frame than the one asked for after each seek. In MPEG-PS and Ogg, where FFmpeg finds a place by
guessing, it gives another one. Such files are read in order from their start. In MPEG-TS its first
frame is not the file's: that is refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

from av.video.frame import VideoFrame

from longvid.decode.container import unusable
from longvid.decode.engine import Progress
from longvid.decode.packet_table import FrameTimes
from longvid.decode.pyav_engine import PyAVEngine, engine_over

_SOUGHT_BY_GUESSING = ("mpeg", "ogg")


def why_no_decord() -> str:
    """Say why decord cannot be used here; "" if it can."""
    try:
        importlib.import_module("decord")
    except (ImportError, OSError, RuntimeError) as error:
        return (
            f"decord cannot be imported ({error}); install it with `pip install longvid[decord]`."
        )
    return ""


def decord_engine(options: dict[str, Any], progress: Progress) -> PyAVEngine:
    """Make an engine whose pictures come from decord."""
    return engine_over(_DecordSource, why_no_decord(), options, progress)


class _DecordSource:
    def __init__(
        self,
        path: str,
        times: FrameTimes,
        keyframes: Sequence[int] | None,
        container: str,
        num_threads: int,
        progress: Progress,
    ) -> None:
        self._times, self._progress = times, progress
        self._path, self._num_threads = path, num_threads
        if container == "mpegts":
            raise unusable(
                path,
                "unsupported",
                "cannot be read by decord, which shows other frames of MPEG-TS than those "
                "asked for; use the decoder pyav.",
            )
        # Its own error is derived from Exception itself.
        own = importlib.import_module("decord._ffi.base").DECORDError
        self._errors = (own, RuntimeError, ValueError, TypeError, IndexError)
        try:
            self._reader = self._opened()
            num_frames = len(self._reader)
        except self._errors as error:
            raise unusable(
                path, "unsupported", f"cannot be opened by decord: {_first_line(error)}."
            ) from error
        if num_frames != len(times):
            raise unusable(
                path,
                "unsupported",
                f"has {len(times)} frames by its packets and {num_frames} by decord, which "
                "then shows wrong ones; use the decoder pyav.",
            )
        keys = list(self._reader.get_key_indices())
        self._may_seek = container not in _SOUGHT_BY_GUESSING and keys == keyframes
        self._next = 0  # the rank that comes next, where it may not seek

    def _opened(self) -> Any:
        decord = importlib.import_module("decord")
        return decord.VideoReader(self._path, num_threads=self._num_threads)

    #: Damage is not looked for.
    doubtful: frozenset[int] = frozenset()

    @property
    def times(self) -> FrameTimes:
        return self._times

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        for rank in ranks:
            self._progress()
            try:
                pixels = self._picture(rank).asnumpy()  # (H, W, 3), upright
            except self._errors:
                yield rank, None
                continue
            yield rank, VideoFrame.from_ndarray(pixels, format="rgb24")

    def _picture(self, rank: int) -> Any:
        if self._may_seek:
            return self._reader[rank]
        if rank < self._next:
            self._reader, self._next = self._opened(), 0
        while self._next < rank:
            self._reader.next()  # `skip_frames` would seek
            self._next += 1
            self._progress()
        self._next += 1
        return self._reader.next()

    def close(self) -> None:
        self._reader = None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
