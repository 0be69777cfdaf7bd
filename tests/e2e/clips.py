"""Real clips, small enough that a run over a few of them takes a second."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


def make_clip(path: Path, seconds: int, seed: int) -> Path:
    """Write an H.264 clip of moving blocks, ten frames a second, a keyframe every four seconds."""
    random = np.random.default_rng(seed)
    picture = random.integers(0, 255, (8, 12, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 96, 64, "yuv420p", 40
        for shift in range(10 * seconds):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, shift, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
