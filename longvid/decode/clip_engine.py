"""Cut a clip out of a video, or put it into another container: an engine for the child process.

A player cannot show every codec and container. `inspect` says what a browser can do with a file,
`remux` copies its packets into an MP4 file, and `cut` encodes a span as H.264 and AAC, exact to the
frame. Writing is to one named file that does not exist yet.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import av
import av.error
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.stream import Discard
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from longvid.decode.box_drawing import draw_boxes
from longvid.decode.container import FORMATS, clock_start_seconds, may_restart, open_video
from longvid.decode.gop_plan import SLACK_SECONDS
from longvid.decode.pixel_conversion import Orientation, orientation_of
from longvid.decode.pyav_engine import PyAVEngine
from longvid.errors import VideoError
from longvid.types import FrameSize, player_seconds

#: Video codecs that current browsers decode, and containers that they open, without help.
_BROWSER_CODECS = ("h264", "vp8", "vp9", "av1", "libdav1d")
_BROWSER_CONTAINERS = ("mp4", "webm")
_AUDIO_CODECS = (
    *("aac", "mp3", "mp3float", "opus", "vorbis", "ac3", "eac3", "flac", "mp2"),
    *("pcm_s16le", "pcm_s16be", "pcm_u8", "pcm_s24le", "pcm_f32le"),
)
_MOST_HEIGHT = 720
_MOST_WIDTH = 1280
_AUDIO_RATE = 48_000


@dataclass(frozen=True, slots=True)
class ClipFacts:
    """What was found, or written.

    Args:
        playable: "direct", "remux" or "proxy": what a browser needs to play the file.
        num_frames: Frames written.
        start_seconds, end_seconds: Times of the first and last frame written, in the time of a
            player.
        ends_early: Whether the video ends before the span that was asked for does.
        width, height: Size of the written frames, or of the file's, pixels.
        duration_seconds, fps, num_streams: What the head of the file says, 0 for nothing.
    """

    playable: str
    num_frames: int = 0
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    ends_early: bool = False
    width: int = 0
    height: int = 0
    duration_seconds: float = 0.0
    fps: float = 0.0
    num_streams: int = 0


class ClipEngine:
    """Answers `probe` with what its options ask for.

    Args:
        options: mode ("inspect", "remux" or "cut"), target (a path, not for inspect),
            start_seconds, end_seconds (for cut, in the time of a player), clock_start_seconds (as
            of `Video`, None for that of the file), marks (for cut, as of `draw_boxes`), max_pixels.
        tick: Called while it works, so that the parent knows it lives.
    """

    def __init__(self, options: dict[str, Any], tick: Callable[[], None]) -> None:
        self._options = options
        self._tick = tick

    def probe(self, path: str) -> ClipFacts:
        mode = self._options["mode"]
        try:
            if mode == "cut":
                return self._cut(path)
            facts = self._inspect(path)
            if mode == "remux":
                self._remux(path)
            return facts
        except av.error.FFmpegError as error:
            raise _error(path, f"cannot be cut: {error.strerror}.") from error

    def decode(self, *_: object) -> Any:
        raise _error("A clip engine", "gives no frames.")

    def close(self) -> None:
        """Release nothing: no file stays open."""

    def _inspect(self, path: str) -> ClipFacts:
        container, stream = open_video(path, self._options["max_pixels"])
        with container:
            codec = stream.codec_context
            ticks = container.duration or 0
            return ClipFacts(
                _playable(container, stream),
                width=codec.width,
                height=codec.height,
                duration_seconds=max(0.0, ticks / av.time_base),
                fps=float(stream.average_rate or 0),
                num_streams=len(container.streams),
            )

    def _remux(self, path: str) -> None:
        with (
            _open_all(path) as source,
            av.open(self._options["target"], "w", format="mp4", options=_FAST_START) as target,
        ):
            pairs = {}
            clock_start = self._clock_start(path)
            video = source.streams.best("video")
            for stream in (video, source.streams.best("audio")):
                if stream is not None:
                    pairs[stream.index] = target.add_stream_from_template(stream)
            _discard_others(source, pairs)
            packets = source.demux([source.streams[index] for index in pairs])
            for packet in _with_decode_times(packets):
                ticks = round(clock_start / packet.time_base)
                packet.pts = None if packet.pts is None else packet.pts - ticks
                packet.dts -= ticks
                packet.stream = pairs[packet.stream.index]
                target.mux(packet)
                self._tick()

    def _clock_start(self, path: str) -> float:
        stored: float | None = self._options.get("clock_start_seconds")
        if stored is not None:
            return stored
        container, stream = open_video(path, self._options["max_pixels"])
        with container:
            if stream.start_time is None or stream.time_base is None:
                return 0.0
            return clock_start_seconds(container, float(stream.start_time * stream.time_base))

    def _cut(self, path: str) -> ClipFacts:
        clock_start = self._clock_start(path)
        # The first frame of a span that was rounded to a nanosecond belongs to it.
        start = self._options["start_seconds"] + clock_start - SLACK_SECONDS
        end = self._options["end_seconds"] + clock_start - SLACK_SECONDS
        container, stream = open_video(path, self._options["max_pixels"])
        target = av.open(self._options["target"], "w", format="mp4", options=_FAST_START)
        times: list[float] = []
        marks = self._options.get("marks", [])
        with container, target:
            if may_restart(container):
                jumps, pictures = self._carried_on(path, start)
            else:
                jumps, pictures = (), self._sought(container, stream, start)
            # Behind a jump the sound has another clock than the pictures: such a clip is silent.
            is_silent = any(at < end for at, _ in jumps)
            first = next(pictures, None)
            if first is None or first[0] >= end:
                raise _error(
                    path,
                    f"has no frame from {self._options['start_seconds']:g} to "
                    f"{self._options['end_seconds']:g} s.",
                )
            orientation = orientation_of(first[1])
            height, width = orientation.shape(first[1].height, first[1].width)
            size = _clip_size(width, height)
            output = target.add_stream("libx264", rate=30, options={"preset": "ultrafast"})
            output.width, output.height = size
            output.pix_fmt = "yuv420p"
            ratio = stream.sample_aspect_ratio  # of a pixel
            if ratio:
                output.sample_aspect_ratio = 1 / ratio if orientation.transpose else ratio
            output.codec_context.time_base = Fraction(1, 90_000)
            sound = None if is_silent else _Sound(path, target, start, end)
            ends_early = True
            for seconds, frame in itertools.chain((first,), pictures):
                if seconds >= end:
                    ends_early = False
                    break
                at = player_seconds(seconds, clock_start)
                upright = _upright(frame, orientation)
                picture = draw_boxes(upright, marks, at).reformat(*size, format="yuv420p")
                picture.pts = round((seconds - start) * 90_000)
                picture.time_base = Fraction(1, 90_000)
                picture.pict_type = 0  # the encoder decides, whatever the source had here
                times.append(at)
                target.mux(output.encode(picture))
            target.mux(output.encode(None))
            if sound is not None:
                sound.write()
        last = min(self._options["end_seconds"], times[-1])
        return ClipFacts("direct", len(times), times[0], last, ends_early, *size)

    def _sought(
        self, container: InputContainer, stream: VideoStream, start: float
    ) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the pictures from a time on, of a stream whose clock can be sought in."""
        _seek(container, stream, start)
        for frame in container.decode(stream):
            self._tick()
            if frame.time is not None and frame.time >= start:
                yield frame.time, frame

    def _carried_on(
        self, path: str, start: float
    ) -> tuple[tuple[tuple[float, float], ...], Iterator[tuple[float, VideoFrame]]]:
        """Return where the clock jumps, and the pictures from a time of the clock that goes on."""
        options = {**_ENGINE_OPTIONS, "max_pixels": self._options["max_pixels"]}
        engine = PyAVEngine(options, self._tick)
        return engine.probe(path, "").clock_jumps, engine.pictures(path, start, math.inf)


_FAST_START = {"movflags": "+faststart"}
_ENGINE_OPTIONS = {
    "size": asdict(FrameSize()),  # pictures leave as they are
    "approximate": "none",
    "tolerance_seconds": 0.0,
    "loop_filter": True,
    "drop_disposable": True,
    "plan": True,
    "pictures": "none",
}


class _Sound:
    """The sound of a span, if the file has any that may be decoded."""

    def __init__(self, path: str, target: Any, start: float, end: float) -> None:
        self._span = start, end
        self._target = target
        self._source: Any = _open_all(path)
        self._stream = self._source.streams.best("audio")
        codec = None if self._stream is None else self._stream.codec_context
        if codec is None or codec.name not in _AUDIO_CODECS:
            self._source.close()
            self._source = None
            return
        _discard_others(self._source, {self._stream.index})
        self._output = target.add_stream("aac", rate=_AUDIO_RATE, layout="stereo")

    def write(self) -> None:
        """Encode what lies in the span."""
        if self._source is None:
            return
        start, end = self._span
        resampler = av.AudioResampler("fltp", "stereo", _AUDIO_RATE, frame_size=1024)
        with self._source:
            _seek(self._source, self._stream, start)
            for frame in self._source.decode(self._stream):
                if frame.time is None or frame.time < start:
                    continue
                if frame.time >= end:
                    break
                frame.pts = round((frame.time - start) * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                for block in resampler.resample(frame):
                    self._target.mux(self._output.encode(block))
            for block in resampler.resample(None):
                self._target.mux(self._output.encode(block))
            self._target.mux(self._output.encode(None))


def _open_all(path: str) -> Any:
    """Open a file with all its streams, under the same lists as `open_video`."""
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
    return av.open(f"file:{os.path.abspath(path)}", options=options, metadata_errors="ignore")


def _with_decode_times(packets: Iterator[Any]) -> Iterator[Any]:
    """Give times of decoding to packets without: Matroska keeps none for the first of a stream.

    They count back from the first that is known, a duration each.
    """
    waiting: dict[int, list[Any]] = {}
    started: set[int] = set()
    for packet in packets:
        index = packet.stream.index
        if not packet.size:
            continue
        if index not in started:
            waiting.setdefault(index, []).append(packet)
            if packet.dts is None:
                continue
            held = waiting.pop(index)
            step = packet.duration or 1
            for place, earlier in enumerate(held):
                earlier.dts = packet.dts - (len(held) - 1 - place) * step
            started.add(index)
            yield from held
        elif packet.dts is not None:
            yield packet


def _discard_others(container: Any, kept: Any) -> None:
    for stream in container.streams:
        if stream.index not in kept:
            stream.discard = Discard.all


def _seek(container: Any, stream: Any, seconds: float) -> None:
    if seconds > 0 and stream.time_base:
        container.seek(int(seconds / stream.time_base), stream=stream, backward=True)


def _upright(frame: VideoFrame, orientation: Orientation) -> VideoFrame:
    """Turn a picture that is stored rotated or mirrored; a clip has no display matrix."""
    if orientation == Orientation():
        return frame
    width, height = frame.width // 2 * 2, frame.height // 2 * 2
    picture = frame.reformat(width, height, format="yuv420p")
    stored: npt.NDArray[np.uint8] = np.asarray(picture.to_ndarray(), np.uint8)
    flat, luma = stored.reshape(-1), width * height
    planes = (
        flat[:luma].reshape(height, width, 1),
        *flat[luma:].reshape(2, height // 2, width // 2, 1),
    )
    turned = [orientation.upright(plane).reshape(-1) for plane in planes]
    _, upright_width = orientation.shape(height, width)
    pixels = np.concatenate(turned).reshape(-1, upright_width)
    return VideoFrame.from_ndarray(pixels, format="yuv420p")


def _clip_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a clip's frames: as the source, at most 1280x720, even.

    >>> _clip_size(1920, 1080)
    (1280, 720)
    """
    scale = min(1.0, _MOST_WIDTH / width, _MOST_HEIGHT / height)
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def _playable(container: InputContainer, stream: VideoStream) -> str:
    """Return what a browser needs: the file itself, another container, or other pictures."""
    codec = stream.codec_context
    eight_bits = codec.pix_fmt in (None, "yuv420p", "yuvj420p")
    if codec.name not in _BROWSER_CODECS or not eight_bits:
        return "proxy"
    formats = container.format.name.split(",")
    if codec.name == "h264" and "mp4" not in formats:
        return "remux"
    return "direct" if any(name in formats for name in _BROWSER_CONTAINERS) else "remux"


def _error(path: str, sentence: str) -> VideoError:
    return VideoError(f"{path} {sentence}", kind="corrupt", path=path, stage="clip")
