"""Make the video that decoders are compared on: 1280x720, 30 fps, H.264, at most 250 frames a GOP.

A minute or so is encoded, from real clips or from a moving pattern with noise, and its packets
are repeated. The same arguments give the same file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.filter import Graph
from av.video.frame import PictureType, VideoFrame

from benchmarks.speed.footage import loop_clip
from longvid.errors import ConfigError

_RATE = 30
_BASE_SECONDS = 60.0
_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi")


def make_footage(target: str, seconds: float, clips: str | None) -> None:
    """Write the video, unless it is there.

    Args:
        target: An mp4 file.
        seconds: How long it is at least.
        clips: A folder of videos to cut it from; None draws a pattern.
    """
    if Path(target).exists():
        return
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    base_seconds = min(seconds, _BASE_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        base = str(Path(folder) / "base.mp4")
        _encode(base, _from_clips(clips, base_seconds) if clips else _pattern(base_seconds))
        loop_clip(base, target, seconds)


def _encode(target: str, frames: Iterator[VideoFrame]) -> None:
    with av.open(target, "w") as container:
        stream = container.add_stream("libx264", rate=_RATE)
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        stream.codec_context.options = {"preset": "medium", "crf": "23", "g": "250"}
        stream.codec_context.thread_count = 2  # the number of threads changes the result
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, Fraction(1, _RATE)
            frame.pict_type = PictureType.NONE  # a decoded frame would impose its own type
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _pattern(seconds: float) -> Iterator[VideoFrame]:
    graph = Graph()
    source = graph.add("testsrc2", f"size=1280x720:rate={_RATE}:duration={seconds}")
    noise = graph.add("noise", "alls=6:allf=t:all_seed=7")
    shape = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    graph.link_nodes(source, noise, shape, sink).configure()
    while True:
        try:
            yield graph.vpull()
        except (EOFError, av.error.EOFError):
            return


def _from_clips(folder: str, seconds: float) -> Iterator[VideoFrame]:
    """Take as many seconds of each clip that is large enough, at 30 fps."""
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix in _SUFFIXES)
    share = max(2.0, seconds / max(1, len(paths)))
    used = 0
    for path in paths:
        try:
            with av.open(str(path), metadata_errors="ignore") as container:
                stream = container.streams.best("video")
                if stream is None or stream.codec_context.height < 240:
                    continue
                used += 1
                yield from _resampled(container, stream, share)
        except av.error.FFmpegError:
            continue  # a broken clip is there to test decoders, not to measure them
    if not used:
        raise ConfigError(f"{folder} holds no video of 240 lines or more.")


def _resampled(
    container: av.container.InputContainer, stream: object, seconds: float
) -> Iterator[VideoFrame]:
    written = 0
    first: float | None = None
    for frame in container.decode(stream):
        if frame.time is None:
            continue
        first = frame.time if first is None else first
        passed = frame.time - first  # the encoder writes its own time into the frame
        if passed > seconds:
            return
        while written <= passed * _RATE:
            yield frame.reformat(1280, 720, "yuv420p", interpolation="BICUBIC")
            written += 1
