"""Files with tone bursts at known times, made with PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from longvid.types import Audio


def tone_file(
    path: Path,
    bursts: Sequence[float],
    *,
    seconds: float = 4.0,
    rate: int = 48_000,
    layout: str = "mono",
    codec: str = "aac",
    offset: float = 0.0,
    hole: tuple[float, float] = (0.0, 0.0),
    languages: Sequence[str] = ("",),
    options: dict[str, str] | None = None,
    still_seconds: float = 0.0,
) -> Path:
    """Write bursts of 0.1 s of 1 kHz at times of the sound's own clock, which begins at `offset`.

    The frames in `hole` are left out. A still video goes along, `still_seconds`
    longer than the sound. Track k is k times as loud.
    """
    with av.open(str(path), "w", options=options or {}) as out:
        video = out.add_stream("mpeg4", rate=10)
        video.width = video.height = 32
        video.pix_fmt = "yuv420p"
        tracks = []
        for language in languages:
            track = out.add_stream(codec, rate=rate)
            track.codec_context.layout = layout
            if language:
                track.metadata["language"] = language
            tracks.append(track)
        for index in range(int(10 * (seconds + offset + still_seconds))):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 10)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        times = np.arange(int(seconds * rate)) / rate
        wave = np.zeros(len(times), np.float32)
        for start in bursts:
            inside = (times >= start) & (times < start + 0.1)
            wave[inside] = 0.3 * np.sin(2 * np.pi * 1000 * times[inside])
        channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
        for number, track in enumerate(tracks, start=1):
            size = track.codec_context.frame_size or 1024
            for first in range(0, len(wave), size):
                if hole[0] <= first / rate < hole[1]:
                    continue
                piece = np.tile(wave[first : first + size] * number, (channels, 1))
                kind = "flt" if "pcm" in codec or codec in ("libopus",) else "fltp"
                data = piece.T.reshape(1, -1) if kind == "flt" else piece
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(data), kind, layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = first + int(offset * rate)
                out.mux(track.encode(frame))
            out.mux(track.encode(None))
    return path


def onsets(blocks: Sequence[Audio]) -> list[float]:
    """Return when bursts begin, in presentation time."""
    found: list[float] = []
    last = -1.0
    for block in blocks:
        loud: npt.NDArray[np.bool_] = np.abs(block.data.numpy()) > 0.1
        for place in np.flatnonzero(loud):
            seconds = block.start_seconds + place / block.sample_rate
            if seconds - last > 0.2:
                found.append(seconds)
            last = seconds
    return found
