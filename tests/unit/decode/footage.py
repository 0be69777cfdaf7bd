"""Videos made for a test, the plain way to decode them, and chunks over them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

from longvid.types import Chunk, Failure, FrameBatch, SegmentPlan, Video


@functools.lru_cache(maxsize=512)
def picture(index: int, height: int = 96, width: int = 128) -> np.ndarray[Any, Any]:
    """Draw a picture that differs from every other: (H, W, 3) uint8."""
    rows, columns = np.mgrid[:height, :width]
    red = (columns * 2 + index * 7) % 256
    green = (rows * 2 + index * 3) % 256
    blue = np.where((rows + columns + 5 * index) // 16 % 2, 200, 40)
    drawn = np.stack([red, green, blue], axis=-1).astype(np.uint8)
    left = (index * 5) % max(1, width - 16)
    drawn[8:24, left : left + 16] = (255, 255 - index * 9 % 256, index * 11 % 256)
    drawn.flags.writeable = False  # many videos are made of it
    return drawn


def encode(
    path: Path,
    num_frames: int = 60,
    *,
    codec: str = "libx264",
    rate: int = 25,
    size: tuple[int, int] = (96, 128),
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    container: str | None = None,
    rotation: tuple[float, bool, bool] | None = None,
) -> Path:
    """Encode drawn pictures.

    Args:
        path: The ending decides the container, where none is named.
        pts: Presentation times in units of 1 / (rate * 100) seconds; None spaces them evenly.
        rotation: Degrees counter-clockwise, horizontal flip, vertical flip.
    """
    height, width = size
    times = pts if pts is not None else [100 * index for index in range(num_frames)]
    with av.open(
        str(path), "w", format=container, container_options=container_options or {}
    ) as output:
        stream = output.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        stream.codec_context.time_base = Fraction(1, rate * (1 if pts is None else 100))
        stream.codec_context.thread_count = 1
        stream.codec_context.options = options or {}
        if rotation is not None:
            stream.set_display_rotation(rotation[0], hflip=rotation[1], vflip=rotation[2])
        for index, time in enumerate(times):
            frame = VideoFrame.from_ndarray(picture(index, height, width), format="rgb24")
            frame.pts = time if pts is not None else index
            frame.time_base = stream.codec_context.time_base
            output.mux(stream.encode(frame.reformat(format=pix_fmt)))
        output.mux(stream.encode(None))
    return path


def as_rgb(frame: VideoFrame, height: int, width: int) -> np.ndarray[Any, Any]:
    """Scale a frame, after turning, to (height, width), the plain way: (H, W, 3) uint8."""
    turned = frame.rotation % 180 != 0
    stored = (height, width) if turned else (width, height)
    rgb = frame.reformat(*stored, "rgb24", interpolation=Interpolation.BICUBIC, threads=1)
    return np.rot90(rgb.to_ndarray(), k=frame.rotation // 90)


def all_frames(path: Path | str) -> Iterator[tuple[float, VideoFrame]]:
    """Decode everything, on one thread, skipping what cannot be decoded: the reference."""
    with av.open(str(path), metadata_errors="ignore") as container:
        stream = container.streams.best("video")
        assert stream is not None
        stream.codec_context.thread_count = 1
        last = -1.0
        for packet in container.demux(stream):
            try:
                decoded_frames: Iterable[VideoFrame] = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in decoded_frames:
                pts_seconds = float(frame.pts * stream.time_base)
                if not frame.is_corrupt and pts_seconds > last:
                    last = pts_seconds
                    yield pts_seconds, frame


def one_segment(video: Video, times: Sequence[float], *, parts: int = 1) -> Chunk:
    """Put wanted times into a chunk of so many segments."""
    segments = []
    for index, some in enumerate(np.array_split(np.array(times), parts)):
        end = video.end_seconds if index == parts - 1 else float(some[-1])
        wanted = tuple(float(time) for time in some)
        slow = tuple(place % 2 == 0 for place in range(len(wanted)))
        segments.append(SegmentPlan(index, wanted[0], end, wanted, slow))
    return Chunk(video, tuple(segments))


def decoded(items: Iterable[FrameBatch | Failure]) -> dict[float, np.ndarray[Any, Any]]:
    """Collect frames by presentation time: (H, W, 3) uint8."""
    found: dict[float, np.ndarray[Any, Any]] = {}
    for item in items:
        if isinstance(item, FrameBatch):
            for pts, data in zip(item.pts_seconds.tolist(), item.data, strict=True):
                found[pts] = data.permute(1, 2, 0).numpy()
    return found


def failures(items: Iterable[FrameBatch | Failure]) -> list[Failure]:
    """Collect the failures."""
    return [item for item in items if isinstance(item, Failure)]
