"""Pictures from torchcodec, at times that the packets tell.

torchcodec seeks by presentation time, and FFmpeg seeks in MPEG-TS by decoding time: with B-frames
it then misses every keyframe, the first too. Such a file is refused, and so is one whose packets
foretell no pictures: it has to be decoded in order, and torchcodec seeks.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from av.video.frame import VideoFrame

from longvid.decode.container import unusable
from longvid.decode.engine import Progress
from longvid.decode.packet_table import FrameTimes
from longvid.decode.pyav_engine import PyAVEngine, engine_over

#: torchcodec holds every frame of one call at full size.
_FRAMES_A_CALL = 8
_SAME_SECONDS = 1e-4


def why_no_torchcodec() -> str:
    """Say why torchcodec cannot be used here; "" if it can."""
    try:
        importlib.import_module("torchcodec.decoders")
    except (ImportError, OSError, RuntimeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[0] if lines else type(error).__name__
        return (
            f"torchcodec cannot be imported ({reason}); it needs FFmpeg's shared libraries and a "
            "release that fits the installed torch."
        )
    return ""


def torchcodec_engine(options: dict[str, Any], progress: Progress) -> PyAVEngine:
    """Make an engine whose pictures come from torchcodec."""
    return engine_over(_TorchcodecSource, why_no_torchcodec(), options, progress)


class _TorchcodecSource:
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
        if keyframes is None:
            raise unusable(
                path,
                "unsupported",
                "cannot be read by torchcodec: its pictures have to be decoded in order "
                "from the first, and torchcodec seeks; use the decoder pyav.",
            )
        decoders = importlib.import_module("torchcodec.decoders")
        try:
            self._decoder: Any = decoders.VideoDecoder(
                path, dimension_order="NHWC", num_ffmpeg_threads=num_threads, seek_mode="exact"
            )
        except (RuntimeError, ValueError) as error:
            raise unusable(
                path,
                "unsupported",
                f"cannot be opened by torchcodec: {str(error).splitlines()[0]}.",
            ) from error
        if self._by_index(0) == [None]:
            raise unusable(
                path,
                "unsupported",
                "cannot be read by torchcodec: asked for the first frame, it gives another "
                "or none, as in MPEG-TS with B-frames; use the decoder pyav.",
            )

    #: Damage is not looked for.
    doubtful: frozenset[int] = frozenset()

    @property
    def times(self) -> FrameTimes:
        return self._times

    def frames(self, ranks: Sequence[int]) -> Iterator[tuple[int, VideoFrame | None]]:
        for first in range(0, len(ranks), _FRAMES_A_CALL):
            some = ranks[first : first + _FRAMES_A_CALL]
            pictures = self._batch(some)
            if pictures is None:  # one bad frame fails the whole call
                pictures = [(self._batch([rank]) or self._by_index(rank))[0] for rank in some]
            yield from zip(some, pictures, strict=True)

    def _batch(self, ranks: Sequence[int]) -> list[VideoFrame | None] | None:
        # The middle of a frame's time: no rounding leads to its neighbour.
        middles = [
            (self._times.pts_seconds(rank) + self._times.end_seconds(rank)) / 2 for rank in ranks
        ]
        return self._pictures(ranks, lambda: self._decoder.get_frames_played_at(seconds=middles))

    def _by_index(self, rank: int) -> list[VideoFrame | None]:
        """Ask for a frame by its number.

        torchcodec takes the last frame of some files for one without a duration, in whose middle
        it is not shown any more.
        """
        found = self._pictures([rank], lambda: self._decoder.get_frames_at(indices=[rank]))
        return found or [None]

    def _pictures(
        self, ranks: Sequence[int], read: Callable[[], Any]
    ) -> list[VideoFrame | None] | None:
        """Return pictures, None in place of one of another time; None if reading fails."""
        self._progress()
        try:
            batch = read()
        except (RuntimeError, IndexError, ValueError):
            return None
        return [
            VideoFrame.from_ndarray(picture.numpy(), format="rgb24")
            if abs(pts - self._times.pts_seconds(rank)) < _SAME_SECONDS
            else None
            for rank, picture, pts in zip(
                ranks, batch.data, batch.pts_seconds.tolist(), strict=True
            )
        ]

    def close(self) -> None:
        self._decoder = None
